"""Traces of the provider's own tools in an answer: citations, calls and files."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync._values import Value
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

#: The fields of a Reply that hold these values.
FINDING_FIELDS = ("citations", "hosted_calls", "files")


@attrs.frozen(kw_only=True, weakref_slot=False, eq=False, repr=False)
class Citation(Value):
    """The source of a passage of an answer.

    ``start`` and ``end`` are the passage in characters of the answer's text, None where the provider names none.
    ``source`` is the id of a file or store, or the place of a document among those of the call. ``text`` is the
    passage of the source, as far as the provider shows it.
    """

    url: str | None = None
    title: str | None = None
    source: str | None = None
    text: str | None = None
    start: int | None = None
    end: int | None = None


@attrs.frozen(kw_only=True, weakref_slot=False, eq=False, repr=False)
class HostedCall(Value):
    """One use of a tool that the provider ran: ``name`` is the provider's word for it, ``kind`` ours, None without one.

    ``input`` and ``output`` are JSON-ready, as the provider writes them; None where it shows none.
    """

    kind: str | None
    name: str
    id: str | None = None
    input: Any = None
    output: Any = None
    is_error: bool = False


@attrs.frozen(kw_only=True, weakref_slot=False, eq=False, repr=False)
class AnswerFile(Value):
    """A file that an answer holds, such as an image. ``data`` is base64; None where the answer has an ``id`` alone."""

    mime_type: str | None = None
    name: str | None = None
    data: str | None = attrs.field(default=None, repr=False)
    id: str | None = None

    @property
    def content(self) -> bytes:
        """The bytes. Raises ConfigurationError where the answer has an id alone."""
        if self.data is None:
            raise ConfigurationError(
                f"the answer has the id of {self.name or 'a file'} alone: {self.id!r}",
                hint="download it from the provider under this id",
            )
        return base64.b64decode(self.data)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the bytes to a file. Raises OSError, and ConfigurationError as `content` does."""
        content = self.content
        with open(path, "wb") as file:  # noqa: PTH123 - pathlib is not loaded for every answer
            file.write(content)


def forget_places(citations: Iterable[Citation] | None) -> tuple[Citation, ...] | None:
    """Return citations without their places, which a change of the answer's text has made wrong."""
    return tuple(attrs.evolve(one, start=None, end=None) for one in citations or ()) or None


def dump_findings(findings: Iterable[Citation | HostedCall | AnswerFile] | None) -> list[dict[str, Any]]:
    """Return findings as JSON-ready data, without what is not known."""
    return [attrs.asdict(one, recurse=False, filter=_is_known) for one in findings or ()]


def _is_known(_: object, value: object) -> bool:
    return value is not None
