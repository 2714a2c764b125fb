"""Stored files: resumable uploads, and the requests of the Files API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from pollux_gemini.batching import decode_asset, decode_uploads, parse_lines, read_page_token
from pollux_gemini.parts import as_object
from pollux_gemini.paths import build_list_path, build_resource_path
from pollux_sync.plugin import (
    APIError,
    ConfigurationError,
    HttpError,
    HttpRequest,
    RawPayload,
    ReplyError,
    as_text,
    error_message,
    iter_pages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import Asset, HttpResponse, Source

#: The page size of the list of files.
_PAGE_SIZE = 100
#: The statuses of a deletion whose file is already gone. 403 means "no permission, or it may not exist".
_GONE_STATUSES = frozenset({403, 404})


def store_file(client: Any, source: Source, timeout_s: float, name: str) -> Asset:
    """Store a source's content, streamed. Gemini keeps it for two days, and may have to process it before it is ready.

    ``client`` also has a ``base_url``. Raises ConfigurationError for a client of Vertex AI.
    """
    if getattr(client, "is_vertex", False):
        raise ConfigurationError(
            f"Vertex AI stores no files, so {source.identifier!r} cannot be uploaded",
            hint="put it into Cloud Storage and pass Source.from_uri('gs://...', mime_type=...)",
        )
    deadline = time.monotonic() + timeout_s
    address = _begin_upload(client, source, timeout_s, name)
    response = client.send(_build_content_request(address, source), _find_left_s(deadline))
    stored = as_object(as_object(response.body).get("file"))
    if not as_text(stored.get("name")):
        raise ReplyError("the answer describes no file", hint="check base_url", response=response)
    return decode_asset(stored)


def inspect_file(client: Any, asset: Asset, timeout_s: float) -> Asset:
    """Return a stored file in its current state. Raises APIError for content that the service cannot process."""
    response = client.send(HttpRequest(method="GET", path=build_resource_path(asset.id)), timeout_s)
    stored = as_object(response.body)
    if as_text(stored.get("state")) == "FAILED":
        reason = error_message(stored.get("error") or "no reason given")
        raise APIError(
            f"Gemini could not process {as_text(stored.get('displayName')) or asset.id!r}: {reason}",
            kind="invalid_request",
            hint="check that the file is complete and of the declared type",
        )
    state = as_text(stored.get("state"))
    # A call that refers to a file which is not ready fails, but may be paid.
    if stored.get("name") != asset.id or state not in {"ACTIVE", "PROCESSING"}:
        raise ReplyError(
            f"the answer does not say that {asset.id!r} is ready", hint="check base_url", response=response
        )
    return attrs.evolve(asset, is_ready=state == "ACTIVE")


def delete_file(client: Any, name: str, timeout_s: float) -> None:
    """Delete a stored file. Succeed also when it is already gone."""
    try:
        client.send(HttpRequest(method="DELETE", path=build_resource_path(name), is_answer_optional=True), timeout_s)
    except HttpError as error:
        if error.response.status not in _GONE_STATUSES:
            raise


def find_files(client: Any, mark: str, timeout_s: float) -> list[tuple[str, Asset]]:
    """Return the files whose display names begin with the mark, each after its display name."""

    def fetch_page(token: str | None) -> HttpResponse:
        path = build_list_path("/files", _PAGE_SIZE, token)
        page: HttpResponse = client.send(HttpRequest(method="GET", path=path), timeout_s)
        return page

    return [found for page in iter_pages(fetch_page, read_page_token) for found in decode_uploads(page, mark)]


def iter_file_rows(client: Any, name: str, timeout_s: float) -> Iterator[Any]:
    """Yield the JSON value of each line of a stored file, None for a line that is not JSON, as they arrive."""
    request = HttpRequest(method="GET", path=build_resource_path(name, ":download?alt=media"))
    return parse_lines(client.read_lines(request, timeout_s))


def _begin_upload(client: Any, source: Source, timeout_s: float, name: str) -> str:
    """Announce a file; return the address that its content goes to."""
    headers = {
        "X-Goog-Upload-Protocol": "resumable",
        "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Length": str(source.size_bytes),
        "X-Goog-Upload-Header-Content-Type": source.mime_type,
    }
    # The path of uploads begins before the version of the API.
    root, _, version = client.base_url.rpartition("/")
    file = {"displayName": name, "mimeType": source.mime_type, "sizeBytes": str(source.size_bytes)}
    request = HttpRequest(
        path=f"{root}/upload/{version}/files", body={"file": file}, headers=headers, is_answer_optional=True
    )
    response = client.send(request, timeout_s)
    address = response.headers.get("x-goog-upload-url")
    if not address:
        raise ReplyError("the answer names no address for the upload", hint="check base_url", response=response)
    try:
        return _move_to_host(address, client.base_url)
    except ValueError as error:
        raise ReplyError(
            f"the answer names an address for the upload that cannot be used: {error}",
            hint="check base_url",
            response=response,
        ) from error


def _build_content_request(address: str, source: Source) -> HttpRequest:
    # The whole content in one request: a second one would only resume what was broken off, which is never done here.
    headers = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
    return HttpRequest(path=address, payload=RawPayload(source.mime_type, (source,)), headers=headers)


def _move_to_host(address: str, base_url: str) -> str:
    """Return the address at the host of ``base_url``: a gateway may pass on Google's own address unchanged.

    Raises ValueError if it is not the address of an upload.
    """
    parts, base = urlsplit(address), urlsplit(base_url)
    is_path = address.startswith("/") and not address.startswith("//")
    if not (is_path or (parts.scheme in {"http", "https"} and parts.hostname)):
        raise ValueError(f"{address!r} is not an address")
    parts.port  # noqa: B018 - urlsplit itself does not check the port; reading it raises ValueError
    if parts.netloc == base.netloc and parts.scheme == base.scheme:
        return address
    # The prefix of a gateway's own paths comes before those of Google.
    prefix = base.path.rpartition("/")[0]
    return f"{base.scheme}://{base.netloc}{prefix}{parts.path}?{parts.query}"


def _find_left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the upload did not end within the time limit")
    return left_s
