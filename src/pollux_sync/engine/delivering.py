"""The delivery of files: inside each request, or stored once and referred to, whichever costs less."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from pollux_sync.data.request import AssetPart, InlinePart, UploadPart
from pollux_sync.engine.threads import map_workers
from pollux_sync.errors import STOPS, APIError, ConfigurationError, PolluxError, SourceError, copy_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pollux_sync.data.handles import Asset
    from pollux_sync.data.request import Call, FileKey, Part, Plan
    from pollux_sync.data.rules import InlineLimits
    from pollux_sync.hooks.relay import Hooks

Way: TypeAlias = Literal["inline", "upload"]

#: How many bytes more a file may cost inside requests than an upload would send, before the upload is cheaper. The
#: upload and the deletion are two more requests, and the first is waited for: at 100 Mbit/s and some 150 ms a request,
#: that time sends about 4 MB.
_MAX_SURPLUS_BYTES = 4_000_000
#: The statuses with which a server answers that it stores no files.
_NO_FILES_STATUSES = frozenset({404, 405, 501})
_TOO_LARGE = 413
_BAD_REQUEST = 400
#: A refusal of a request for its size. Services also say so with a 400.
_SIZE_MESSAGE = (
    r"(?is)too (?:large|big)\b|\bbytes\b|megabyte|\d ?Mi?B\b|\bsize\b"
    r"|\b(?:file|image|document|pdf|payload|request|body|content)s?\b.{0,60}\b(?:exceeds?|larger|limit|maximum)"
)


class FileStorage(Protocol):
    """A place that stores files, and knows how many requests are expected to need each."""

    @property
    def expected_uses(self) -> int:
        """The factor by which the calls of a plan are multiplied: above 1 where a conversation goes on."""
        ...

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        """Store one file. Raises APIError with phase "upload"."""
        ...


def collect_files(plan: Plan) -> dict[FileKey, UploadPart]:
    """Return the files of a plan that are to be delivered, each content once."""
    return {part.key: part for call in plan.calls for part in call.all_parts if isinstance(part, UploadPart)}


def choose_ways(
    plan: Plan, files: Mapping[FileKey, UploadPart], hooks: Hooks, *, expected_uses: int = 1
) -> dict[FileKey, Way]:
    """Return how each of the ``files`` of a plan travels.

    Raises ConfigurationError with ``Config(uploads="never")`` for a file that the provider does not take inside a
    request.
    """
    mode = hooks.config.uploads
    if mode == "always" or not files:
        return dict.fromkeys(files, "upload")
    limits = {key: _find_limits(part, hooks) for key, part in files.items()}
    uses = _count_uses(plan)
    ways: dict[FileKey, Way] = {}
    inline_bytes = allowed_bytes = 0
    for key, part in files.items():
        limit, n_bytes = limits[key], part.size_bytes * uses[key]
        # In base64 four characters stand for three bytes; an upload sends every byte once.
        is_cheap = 4 / 3 * n_bytes * expected_uses - part.size_bytes <= _MAX_SURPLUS_BYTES
        if limit and part.size_bytes <= limit.max_bytes and (is_cheap or mode == "never"):
            ways[key] = "inline"
            inline_bytes += n_bytes
            allowed_bytes = min(allowed_bytes or limit.max_request_bytes, limit.max_request_bytes)
        else:
            ways[key] = "upload"
    # What would fit into one request all together need not be looked at for each call.
    if inline_bytes > allowed_bytes:
        for call in plan.calls:
            _move_surplus(call, ways, limits)
    if mode == "never":
        _require_inline(ways, files, limits, hooks)
    return ways


def _count_uses(plan: Plan) -> dict[FileKey, int]:
    uses: dict[FileKey, int] = {}
    for call in plan.calls:
        for part in call.all_parts:
            if isinstance(part, UploadPart):
                uses[part.key] = uses.get(part.key, 0) + 1
    return uses


def _find_limits(part: UploadPart, hooks: Hooks) -> InlineLimits | None:
    rule = hooks.info.find_rule(part.source)
    return rule.inline if rule else None


def _move_surplus(call: Call, ways: dict[FileKey, Way], limits: Mapping[FileKey, InlineLimits | None]) -> None:
    """Upload the largest files of a call until the rest fits into one request."""
    files = [part for part in call.all_parts if isinstance(part, UploadPart)]
    while inline := [part for part in files if ways[part.key] == "inline"]:
        allowed = min(limit.max_request_bytes for part in inline if (limit := limits[part.key]))
        # A file that the call holds twice, as a conversation may, is sent twice.
        if sum(part.size_bytes for part in inline) <= allowed:
            return
        ways[max(inline, key=lambda part: part.size_bytes).key] = "upload"


def _require_inline(
    ways: Mapping[FileKey, Way],
    files: Mapping[FileKey, UploadPart],
    limits: Mapping[FileKey, InlineLimits | None],
    hooks: Hooks,
) -> None:
    for key, way in ways.items():
        if way == "inline":
            continue
        part, limit = files[key], limits[key]
        most = f"up to {limit.max_bytes} bytes a file, {limit.max_request_bytes} a request" if limit else "no such file"
        raise ConfigurationError(
            f"uploads='never', but {part.source.identifier!r} ({part.source.mime_type}, {part.size_bytes} bytes) "
            f"cannot go inside a request: provider {hooks.info.name!r} takes {most}",
            hint="pass a smaller file, or let it be uploaded with Config(uploads='auto')",
        )


def read_inline(part: UploadPart) -> InlinePart:
    """Return a file as it goes inside a request. Raises SourceError if it can no longer be read as it was planned."""
    if part.data is not None:
        return InlinePart(part.source, part.data)
    from pollux_sync.data.source import convert_read_errors

    with convert_read_errors(part.source):
        return InlinePart(part.source, part.pin_source().load())


def replace_files(call: Call, delivered: Mapping[FileKey, Asset | InlinePart]) -> Call:
    """Return the call with its delivered files in place of those to deliver; others stay."""

    def replace(part: Part) -> Part:
        if not isinstance(part, UploadPart):
            return part
        found = delivered.get(part.key)
        if isinstance(found, InlinePart):
            return found
        return part if found is None else AssetPart(part.source, found, part.identity)

    return call.map_parts(replace)


def stores_no_files(error: PolluxError) -> bool:
    """Return whether an upload failed because the service has no Files API, as some compatible servers have none."""
    if isinstance(error, APIError):
        return error.status_code in _NO_FILES_STATUSES
    return isinstance(error, ConfigurationError)


def refuses_size(error: APIError) -> bool:
    """Return whether a request was refused for its size, which a guess of the service's limit can cause."""
    # Other kinds with these statuses are about the key, the tokens or a cache.
    if error.kind != "invalid_request":
        return False
    is_named = error.status_code == _BAD_REQUEST and bool(re.search(_SIZE_MESSAGE, error.message))
    return error.status_code == _TOO_LARGE or is_named


class InlineFiles:
    """The files that travel inside the requests of a plan, and the way on when a service refuses them there.

    Each is then stored once, for all calls of the plan.
    """

    def __init__(self, storage: FileStorage, files: Sequence[tuple[InlinePart, UploadPart]]) -> None:
        self._storage = storage
        self._files = files
        self._lock = threading.Lock()
        #: Failures too: what could not be stored for one call is not sent again for each of the others.
        self._stored: dict[FileKey, Asset | PolluxError] = {}

    def store_inline_parts(self, call: Call, stop: threading.Event) -> Call | None:
        """Return the call with its inline files stored; None if it has none that can be. Raises APIError."""
        inline = (part for part in call.all_parts if isinstance(part, InlinePart))
        files = {file.key: file for part in inline if (file := self._find_file(part))}
        if not files:
            return None
        # One thread stores for all: the others wait, and find the files stored.
        with self._lock:
            if missing := {key: file for key, file in files.items() if key not in self._stored}:
                self._stored |= self._store_files(missing, stop)
        for key in files:
            if isinstance(failure := self._stored[key], PolluxError):
                raise copy_error(failure)
        return self.use_stored_parts(call)

    def _store_files(
        self, files: Mapping[FileKey, UploadPart], stop: threading.Event
    ) -> dict[FileKey, Asset | PolluxError]:
        """Store files in threads of their own: a stop must not cut off an upload whose file the answer would name."""

        def store(file: UploadPart) -> Asset | PolluxError:
            try:
                return self._storage.upload(file, stop)
            except PolluxError as error:
                return error

        results: list[Asset | PolluxError | None] = [None] * len(files)
        try:
            map_workers(store, [*files.values()], len(files), threading.Event(), results)
        except STOPS:
            stop.set()
            raise
        return {key: result for key, result in zip(files, results, strict=True) if result is not None}

    def use_stored_parts(self, call: Call) -> Call:
        """Return the call with those of its inline files replaced that have been stored already."""
        if not self._stored:
            return call

        def replace(part: Part) -> Part:
            file = self._find_file(part) if isinstance(part, InlinePart) else None
            asset = self._stored.get(file.key) if file else None
            if file is None or asset is None or isinstance(asset, PolluxError):
                return part
            return AssetPart(file.source, asset, file.identity)

        return call.map_parts(replace)

    def _find_file(self, part: InlinePart) -> UploadPart | None:
        """Return the file of this content; None for content that cannot be stored, or that a plugin has changed."""
        # By content, which is compared at once where it is the same object, and needs no hash.
        equal = (file for inline, file in self._files if (inline.data, inline.mime_type) == (part.data, part.mime_type))
        return next(equal, None)


def deliver_inline(part: UploadPart, error: PolluxError, hooks: Hooks) -> InlinePart | PolluxError:
    """Return a file as it goes inside a request, if the service stores no files and takes it so, else the error."""
    limit = _find_limits(part, hooks)
    fits = limit is not None and part.size_bytes <= limit.max_bytes
    if hooks.config.uploads != "auto" or not fits or not stores_no_files(error):
        return error
    try:
        return read_inline(part)
    except SourceError as unreadable:
        return unreadable
