"""Mail, by the standard library: its head, its text, and the names of its attachments."""

from __future__ import annotations

from email import policy
from email.parser import BytesParser
from typing import TYPE_CHECKING

from pollux_convert import markup
from pollux_convert.markdown import list_item, squeeze
from pollux_convert.tasks import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import MIMEPart

    from pollux_convert.tasks import Task

_FIELDS = ("From", "To", "Cc", "Date", "Subject")


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the head, the body and the attachments."""
    mail = BytesParser(policy=policy.default).parsebytes(data)
    lines = [f"{name}: {squeeze(str(mail[name]))}" for name in _FIELDS if mail[name]]
    if not lines:
        raise ReadError("it is no mail: it has neither a sender nor a subject", hint="pass its true mime_type")
    yield "\n".join(lines)
    body = mail.get_body(("plain", "html"))
    if body is not None:
        yield from _iter_body(body)
    yield from _iter_attachments(mail)


def _iter_body(body: MIMEPart) -> Iterator[str]:
    text = body.get_content()
    if body.get_content_subtype() == "html":
        yield from markup.iter_blocks(text)
    elif text.strip():
        yield text.strip()


def _iter_attachments(mail: MIMEPart) -> Iterator[str]:
    attached = [part for part in mail.iter_attachments() if part.get_filename()]
    if attached:
        yield "Attachments, which are not included:"
    for part in attached:
        yield list_item(0, "-", f"{part.get_filename()} ({part.get_content_type()})")
