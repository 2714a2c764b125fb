"""Stored files: requests of the Files API, sent and decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pollux_sync.plugin import (
    OCTET_STREAM,
    Asset,
    FormPayload,
    HttpError,
    HttpRequest,
    ReplyError,
    as_text,
    iter_pages,
    read_count,
    read_objects,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import Client, HttpResponse, Readable

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
    body = require_object(response)
    return Asset(id=read_id(response), mime_type=mime_type, expires_at=read_count(body, "expires_at"))


def delete_file(client: Client, file_id: str, timeout_s: float) -> None:
    """Delete a stored file. Succeed also when it is already gone."""
    try:
        client.send(HttpRequest(method="DELETE", path=build_path("files", file_id)), timeout_s)
    except HttpError as error:
        if error.response.status != _NOT_FOUND:
            raise


def find_files(client: Client, mark: str, timeout_s: float) -> list[Asset]:
    """Return the stored files whose names begin with the mark."""
    stored = iter_objects(client, f"/files?limit={_FILES_PER_PAGE}", timeout_s)
    names = ((as_text(file.get("id")), as_text(file.get("filename")) or "") for file in stored)
    return [Asset(id=file_id, mime_type=OCTET_STREAM) for file_id, name in names if file_id and name.startswith(mark)]


def iter_objects(client: Client, path: str, timeout_s: float) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list. Each page is requested when the one before it has been read."""

    def fetch_page(cursor: str | None) -> HttpResponse:
        after = f"&after={quote(cursor, safe='')}" if cursor else ""
        return client.send(HttpRequest(method="GET", path=path + after), timeout_s)

    for page in iter_pages(fetch_page, _read_cursor):
        yield from read_objects(page, "data")


def build_path(collection: str, object_id: str, action: str = "") -> str:
    """Return the path of an object. Ids come from answers and job files: a slash in one must not lead elsewhere."""
    return f"/{collection}/{quote(object_id, safe='')}{action}"


def require_object(response: HttpResponse) -> dict[str, Any]:
    """Return the body of an answer that must be a JSON object. Raises ReplyError for another one."""
    if not isinstance(response.body, dict):
        raise ReplyError(f"the answer is a JSON {type(response.body).__name__}, not an object", response=response)
    return response.body


def read_id(response: HttpResponse) -> str:
    """Return the id of an object that the service created. Raises ReplyError if it has none."""
    object_id = as_text(require_object(response).get("id"))
    if not object_id:
        raise ReplyError(
            "the answer has no id", hint="check that base_url leads to the Files and Batches API", response=response
        )
    return object_id


def _read_cursor(page: HttpResponse) -> str | None:
    """Return the id after which the next page begins; None after the last page."""
    items = read_objects(page, "data")
    return as_text(items[-1].get("id")) if items and page.body.get("has_more") else None
