"""Stored files: requests of the Files API, sent and decoded."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pollux_openai.batching import read_remote_id
from pollux_sync.plugin import (
    OCTET_STREAM,
    Asset,
    FormPayload,
    HttpError,
    HttpRequest,
    ReplyError,
    as_text,
    error_message,
    iter_pages,
    read_count,
    read_list,
    require_objects,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import Client, HttpResponse, Readable, Source

_NOT_FOUND = 404
#: The largest page that the list of files has.
_FILES_PER_PAGE = 10_000


def store_file(
    client: Client, content: Readable, timeout_s: float, *, name: str, mime_type: str, purpose: str, lifetime_s: float
) -> Asset:
    """Store a file for a purpose of the API, streamed. It expires ``lifetime_s`` seconds after it was stored."""
    fields = {
        "purpose": purpose,
        # A file that an aborted call leaves behind expires.
        "expires_after[anchor]": "created_at",
        "expires_after[seconds]": str(round(lifetime_s)),
    }
    form = FormPayload(fields=fields, file_name=name, file_type=mime_type, content=content)
    response = client.send(HttpRequest(path="/files", payload=form), timeout_s)
    asset = Asset(
        id=read_id(response), mime_type=mime_type, expires_at=read_count(require_object(response), "expires_at")
    )
    problem = _find_problem(response.body)
    if problem is not None:
        with suppress(Exception):
            delete_file(client, asset.id, timeout_s)
        hint = "check that the file is complete and of the declared type, then ask again"
        raise ReplyError(f"the service did not store the file: {problem}", hint=hint, response=response)
    return asset


def _find_problem(stored: dict[str, Any]) -> str | None:
    """Return why a stored file cannot be used, or None. A field that a gateway leaves out says nothing."""
    # "bytes" is not compared: what was sent is counted, and gateways that convert files report sizes of their own.
    if stored.get("status") == "error" or stored.get("error"):
        return error_message(stored.get("error") or stored.get("status_details") or "no reason given")
    if stored.get("deleted") is True:
        return "it is deleted"
    return None


def delete_file(client: Client, file_id: str, timeout_s: float) -> None:
    """Delete a stored file. Succeed also when it is already gone."""
    try:
        request = HttpRequest(method="DELETE", path=build_path("files", file_id), is_answer_optional=True)
        client.send(request, timeout_s)
    except HttpError as error:
        if error.response.status != _NOT_FOUND:
            raise


def store_source(source: Source, client: Client, timeout_s: float, name: str, lifetime_s: float) -> Asset:
    """Store a source's content, streamed."""
    facts = {"name": name, "mime_type": source.mime_type, "purpose": "user_data"}
    return store_file(client, source, timeout_s, **facts, lifetime_s=lifetime_s)


def delete_upload(asset: Asset, client: Client, timeout_s: float) -> bool:
    """Delete a stored file."""
    delete_file(client, asset.id, timeout_s)
    return True


def find_uploads(mark: str, client: Client, timeout_s: float) -> list[Asset]:
    """Return the stored files whose names begin with the mark."""
    return [Asset(id=file_id, mime_type=OCTET_STREAM) for file_id, _ in find_files(client, mark, timeout_s)]


def find_files(client: Client, beginning: str, timeout_s: float) -> list[tuple[str, str]]:
    """Return the id and the name of each stored file whose name begins so."""
    pages = iter_list_pages(client, f"/files?limit={_FILES_PER_PAGE}", timeout_s)
    stored = (file for page in pages for file in require_objects(page, "data"))
    names = ((as_text(file.get("id")), as_text(file.get("filename")) or "") for file in stored)
    return [(file_id, name) for file_id, name in names if file_id and name.startswith(beginning)]


def iter_list_pages(client: Client, path: str, timeout_s: float) -> Iterator[HttpResponse]:
    """Yield the pages of a list. Each is requested when the one before it has been read."""

    def fetch_page(cursor: str | None) -> HttpResponse:
        after = f"&after={quote(cursor, safe='', errors='replace')}" if cursor else ""
        return client.send(HttpRequest(method="GET", path=path + after), timeout_s)

    return iter_pages(fetch_page, _read_cursor)


def build_path(collection: str, object_id: str, action: str = "") -> str:
    """Return the path of an object. Ids come from answers and job files: a slash in one must not lead elsewhere."""
    return f"/{collection}/{quote(object_id, safe='', errors='replace')}{action}"


def require_object(response: HttpResponse) -> dict[str, Any]:
    """Return the body of an answer that must be a JSON object. Raises ReplyError for another one."""
    if not isinstance(response.body, dict):
        raise ReplyError(f"the answer is a JSON {type(response.body).__name__}, not an object", response=response)
    return response.body


def read_id(response: HttpResponse) -> str:
    """Return the id of an object that the service created. Raises ReplyError if it has none."""
    return read_remote_id(require_object(response))


def _read_cursor(page: HttpResponse) -> str | None:
    """Return the id after which the next page begins; None after the last page."""
    items = read_list(page, "data")
    if not page.body.get("has_more"):
        return None
    # A list that goes on after nothing, or after an entry without id, cannot be read to its end: it proves nothing.
    if not items or not isinstance(items[-1], dict):
        raise ReplyError("the list goes on, but its page does not say where", hint="check base_url", response=page)
    return read_remote_id(items[-1])
