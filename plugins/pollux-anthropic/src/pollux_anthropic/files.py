"""Stored files: requests of the Files API, sent and decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pollux_anthropic.batching import build_next_query, parse_timestamp, read_list
from pollux_anthropic.encoding import BETA_HEADER, FILES_BETA, VERSION, VERSION_HEADER
from pollux_sync.plugin import Asset, FormPayload, HttpError, HttpRequest, ReplyError, as_text, iter_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import Client, HttpResponse, Source

#: The headers of every request of the Files API, and of batches whose requests may refer to files.
HEADERS = {VERSION_HEADER: VERSION, BETA_HEADER: FILES_BETA}
_PATH = "/v1/files"
#: The largest page that the lists have, for as few requests as possible.
_PAGE_SIZE = 1000
_NOT_FOUND = 404


def store_source(source: Source, client: Client, timeout_s: float, name: str, lifetime_s: float) -> Asset:
    """Store a source's content, streamed."""
    form = FormPayload(
        # A file that an aborted call leaves behind expires.
        fields={"expires_in_seconds": str(round(lifetime_s))},
        file_name=name,
        file_type=source.mime_type,
        content=source,
    )
    response = client.send(HttpRequest(path=_PATH, payload=form, headers=HEADERS), timeout_s)
    stored = response.body if isinstance(response.body, dict) else {}
    file_id = as_text(stored.get("id"))
    if not file_id:
        hint = "check that base_url leads to a Files API"
        raise ReplyError("the answer has no file id", hint=hint, response=response)
    return Asset(id=file_id, mime_type=source.mime_type, expires_at=parse_timestamp(stored.get("expires_at")))


def delete_upload(asset: Asset, client: Client, timeout_s: float) -> bool:
    """Delete a stored file. Succeed also when it is already gone."""
    try:
        request = HttpRequest(
            method="DELETE", path=build_path(_PATH, asset.id), headers=HEADERS, is_answer_optional=True
        )
        client.send(request, timeout_s)
    except HttpError as error:
        if error.response.status != _NOT_FOUND:
            raise
    return True


def find_uploads(mark: str, client: Client, timeout_s: float) -> list[Asset]:
    """Return the stored files whose names begin with the mark."""
    entries = (_require_object(entry) for entry in iter_entries(client, _PATH, timeout_s))
    stored = ((as_text(file.get("id")), file) for file in entries)
    return [
        Asset(
            id=file_id,
            mime_type=as_text(file.get("mime_type")) or "",
            expires_at=parse_timestamp(file.get("expires_at")),
        )
        for file_id, file in stored
        if file_id and (as_text(file.get("filename")) or "").startswith(mark)
    ]


def iter_entries(client: Client, path: str, timeout_s: float) -> Iterator[Any]:
    """Yield the entries of a list, whatever they are. Each page is requested when the one before has been read."""

    def fetch_page(next_query: tuple[tuple[str, str], ...] | None) -> HttpResponse:
        query = {"limit": str(_PAGE_SIZE)} | dict(next_query or ())
        return client.send(
            HttpRequest(method="GET", path=f"{path}?{urlencode(query, errors='replace')}", headers=HEADERS), timeout_s
        )

    for page in iter_pages(fetch_page, lambda page: build_next_query(page.body)):
        yield from read_list(page.body)


def _require_object(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ReplyError("the list of files has entries that are no objects", hint="try again")
    return entry


def build_path(collection: str, object_id: str, action: str = "") -> str:
    """Return the path of an object in a collection, such as /v1/files."""
    # Ids come from answers and job files: one that holds a slash must not lead elsewhere, and half a character is no
    # reason to fail before the service can say that it knows no such object.
    return f"{collection}/{quote(object_id, safe='', errors='replace')}{action}"
