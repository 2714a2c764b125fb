"""Plan -> Prepared: every file delivered, stored ones deleted when the scope ends."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Self

from pollux_sync.data.request import InlinePart, Prepared, UploadPart
from pollux_sync.engine.delivering import (
    InlineFiles,
    choose_ways,
    collect_files,
    deliver_inline,
    read_inline,
    replace_files,
)
from pollux_sync.engine.retrying import request_with_retries
from pollux_sync.engine.telling import tell_upload
from pollux_sync.engine.threads import WorkerThreads, map_workers, wait_for
from pollux_sync.errors import STOPS, APIError, PolluxError, copy_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from pollux_sync.data.handles import Asset
    from pollux_sync.data.request import Call, FileKey, Plan, Request
    from pollux_sync.engine.delivering import FileStorage
    from pollux_sync.hooks.relay import Hooks

log = logging.getLogger("pollux_sync")

#: After how many seconds the provider may delete a file itself, for a process that died before it could.
_LIFETIME_S = 86_400.0
#: A file that expires this soon is uploaded again.
_MARGIN_S = 600.0
_DELETE_TIMEOUT_S = 10.0
_GRACE_S = 1.0
#: How long a stop is held back by a server that does not answer.
STOPPED_S = 2.0
#: How long to wait for an uploaded file to be processed. A file that takes longer counts as failed.
_MAX_PROCESSING_S = 300.0


def connect_for_files(request: Request, hooks: Hooks) -> None:
    """Have the client connect, if files are to be read, which takes as long as a handshake."""
    if any(source.source_type == "file" for source in request.sources):
        hooks.connect()


class PendingUploads:
    """The uploads in flight of one plan. When it ends they get a second to land; a later one deletes its own file.

    So Ctrl-C neither waits for a slow upload nor leaves its file behind.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        #: Whether any upload was begun.
        self.has_run = False
        self._count = 0
        self._is_over = False
        self._lock = threading.Lock()
        self._last_landed: threading.Condition | None = None

    def run(self, upload: Callable[[], Asset], keep: Callable[[Asset], None]) -> Asset:
        """Return the file that ``upload`` stores, after it was passed to ``keep``, which then owns it."""
        with self._lock:
            self.has_run = True
            self._count += 1
        asset = None
        try:
            asset = upload()
            return asset
        finally:
            # Nobody else knows of a file that lands after the end.
            if self._land(asset, keep) and asset is not None:
                delete_upload(asset, self._hooks)

    def _land(self, asset: Asset | None, keep: Callable[[Asset], None]) -> bool:
        """Count one upload less, and hand its file on; return whether that is too late."""
        with self._lock:
            self._count -= 1
            is_late = self._is_over
            if asset is not None and not is_late:
                keep(asset)
            if self._last_landed is not None and not self._count:
                self._last_landed.notify_all()
            return is_late

    def end(self) -> None:
        """Wait a moment for uploads in flight. From then on files are not handed on any more."""
        with self._lock:
            # A normal end has nothing in flight, so it makes no condition and does not wait.
            if self._count:
                self._last_landed = threading.Condition(self._lock)
                self._last_landed.wait_for(lambda: not self._count, timeout=_GRACE_S)
            self._is_over = True


class UploadScope:
    """The files uploaded for one plan. Leaving the scope deletes them, after success and failure alike."""

    #: The calls of one plan are all that need its files.
    expected_uses = 1

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._assets: list[Asset] = []
        self._pending = PendingUploads(hooks)
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Checked first, before any lock: another thread of the parent may hold it in the copy.
        if self._process != os.getpid():  # a forked child ends: the files belong to its parent
            return
        self._pending.end()
        assets, self._assets = self._assets, []
        delete_uploads(assets, self._hooks, is_stopped=isinstance(error, STOPS))

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        """Store one file and wait until it is ready. Raises APIError with phase "upload"."""
        name = part.source.file_name or "file"
        store = partial(upload_part, part, self._hooks, stop, name=name, lifetime_s=_LIFETIME_S)
        asset = self._pending.run(store, self._assets.append)
        # In the scope by now, so that it is deleted even if it never becomes ready.
        return wait_until_ready(asset, part, self._hooks, stop)


class SharedUploads(UploadScope):
    """The files of many plans, from any thread: equal content is stored once, and again only after it has expired."""

    #: A session sends the files of earlier turns along: how often is not known, several times is likely.
    expected_uses = 8

    def __init__(self, hooks: Hooks) -> None:
        super().__init__(hooks)
        self._lock = threading.Lock()
        self._slots: dict[FileKey, _Slot] = {}

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        """Return the stored file, stored now if need be. Raises APIError with phase "upload"; the next call retries."""
        with self._lock:
            slot = self._slots.setdefault((part.identity, part.source.mime_type), _Slot())
        # Other content goes on meanwhile: the lock is held for one content during its upload.
        with slot.lock:
            # A session may live longer than the provider keeps files.
            if slot.asset is None or _expires_soon(slot.asset):
                slot.asset = super().upload(part, stop)
            return slot.asset


class _Slot:
    """The place of one content. The thread that holds the lock is storing it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asset: Asset | None = None


def _expires_soon(asset: Asset) -> bool:
    return asset.expires_at is not None and asset.expires_at < time.time() + _MARGIN_S


def delete_uploads(assets: Sequence[Asset], hooks: Hooks, *, is_stopped: bool = False) -> bool:
    """Delete stored files; return whether all are gone. A failure is reported to observers and changes nothing.

    After a stop, also one that comes meanwhile, it is left once no file was deleted for two seconds.
    """
    if not assets:
        return True
    results: list[bool | None] = [None] * len(assets)
    workers = WorkerThreads(lambda asset: delete_upload(asset, hooks), assets, threading.Event(), results)
    # Deleting a hundred files one by one would hold the result back for many round trips. Even one is deleted in a
    # thread of its own, so that Ctrl-C does not cut it off.
    try:
        workers.start(min(hooks.config.request_concurrency, len(assets)))
        if not is_stopped:
            workers.wait()
    except STOPS:
        is_stopped = True
        # It may have come before any thread was started.
        workers.start(1)
        raise
    finally:
        if is_stopped:
            _wait_while_deleting(workers, results)
    return all(results)


def _wait_while_deleting(workers: WorkerThreads, results: Sequence[bool | None]) -> None:
    n_left = None
    while n_left != (n_left := results.count(None)) and n_left:
        workers.wait(STOPPED_S)


def delete_upload(asset: Asset, hooks: Hooks) -> bool:
    """Delete a stored file; return whether it is gone. A failure is reported to observers and changes nothing."""
    failure = None
    try:
        hooks.delete_upload(asset, min(hooks.config.timeout_s, _DELETE_TIMEOUT_S))
    except Exception as error:  # noqa: BLE001 - cleaning up must not mask the result
        failure = hooks.scrub(f"{type(error).__name__}: {error}")
        log.debug("deleting %s failed: %s", asset.id, failure)
    if hooks.has_observers:
        from pollux_sync.data.events import UploadDeleted

        hooks.emit(UploadDeleted(asset, failure))
    return failure is None


def prepare_plan(plan: Plan, hooks: Hooks, storage: FileStorage) -> Prepared:
    """Deliver the files of a plan, each content once; a call whose file failed is blocked, not raised."""
    files = collect_files(plan)
    if not files:
        return Prepared(plan=plan, provider=hooks.info.name, calls=plan.calls, blocked=plan.refused)
    ways = choose_ways(plan, files, hooks, expected_uses=storage.expected_uses)
    results = _read_inline_files({key: part for key, part in files.items() if ways[key] == "inline"})
    results |= _store_files({key: part for key, part in files.items() if ways[key] == "upload"}, hooks, storage)
    delivered = {key: result for key, result in results.items() if not isinstance(result, PolluxError)}
    failed = {key: result for key, result in results.items() if isinstance(result, PolluxError)}
    blocked = {call.index: error for call in plan.calls if (error := _find_blocker(call, failed))}
    inline = [(result, files[key]) for key, result in delivered.items() if isinstance(result, InlinePart)]
    return Prepared(
        plan=plan,
        provider=hooks.info.name,
        calls=tuple(replace_files(call, delivered) for call in plan.calls),
        blocked={**blocked, **plan.refused},
        redelivery=InlineFiles(storage, inline) if inline and hooks.config.uploads == "auto" else None,
    )


def _read_inline_files(files: Mapping[FileKey, UploadPart]) -> dict[FileKey, Asset | InlinePart | PolluxError]:
    results: dict[FileKey, Asset | InlinePart | PolluxError] = {}
    for key, part in files.items():
        # Errors are kept as values: one bad file must not stop the calls that do not use it.
        try:
            results[key] = read_inline(part)
        except PolluxError as error:
            results[key] = error
    return results


def _store_files(
    files: Mapping[FileKey, UploadPart], hooks: Hooks, storage: FileStorage
) -> dict[FileKey, Asset | InlinePart | PolluxError]:
    """Store files at the provider; what the service does not store goes inside the requests, where it may."""
    if not files:
        return {}
    stop = threading.Event()
    hooks.link_stop(stop)
    results: list[Asset | InlinePart | PolluxError | None] = [None] * len(files)

    def store(part: UploadPart) -> Asset | InlinePart | PolluxError:
        try:
            return storage.upload(part, stop)
        except PolluxError as error:
            return deliver_inline(part, error, hooks)

    # Always in threads of their own, even one file: Ctrl-C must not cut off an upload whose file the answer would name.
    map_workers(store, [*files.values()], hooks.config.request_concurrency, stop, results)
    return {key: result for key, result in zip(files, results, strict=True) if result is not None}


def upload_part(part: UploadPart, hooks: Hooks, stop: threading.Event, *, name: str, lifetime_s: float) -> Asset:
    """Store one file. Raises APIError with phase "upload"; its message names the file."""
    # Once stopped, the content is not sent to its end, so that the provider stores nothing.
    source = part.pin_source(stop.is_set)
    upload = partial(hooks.upload, source, hooks.config.timeout_s, name=name, lifetime_s=lifetime_s)
    with _name_file(part):
        asset = request_with_retries(upload, hooks, phase="upload", is_repeatable=False, stop=stop)
    tell_upload(asset, hooks)
    if hooks.has_observers:
        from pollux_sync.data.events import FileUploaded

        hooks.emit(FileUploaded(part.source.identifier, asset))
    return asset


def wait_until_ready(asset: Asset, part: UploadPart, hooks: Hooks, stop: threading.Event) -> Asset:
    """Return a stored file when the provider has processed it. Raises APIError with phase "upload"."""
    deadline = time.monotonic() + min(hooks.config.timeout_s, _MAX_PROCESSING_S)
    for wait_s in _iter_poll_waits():
        if asset.is_ready:
            return asset
        left_s = deadline - time.monotonic()
        if left_s <= 0 or wait_for(stop.wait, min(wait_s, left_s)):
            raise APIError(
                f"{part.source.identifier!r} was uploaded, but not ready in time",
                kind="timeout",
                phase="upload",
                provider=hooks.info.name,
                hint=f"raise Config(timeout_s=...); a file has at most {_MAX_PROCESSING_S:g} s",
            )
        inspect = partial(hooks.inspect_upload, asset, hooks.config.timeout_s)
        with _name_file(part):
            asset = request_with_retries(inspect, hooks, phase="upload", stop=stop)
    return asset


def _iter_poll_waits() -> Iterator[float]:
    """Yield the waits between requests for a file's state, in seconds: short at first, growing to five."""
    # Images are ready almost at once, films take minutes.
    return (min(0.1 * 1.5**attempt, 5.0) for attempt in count())


@contextmanager
def _name_file(part: UploadPart) -> Iterator[None]:
    """Put the name of the file into the message of an APIError."""
    try:
        yield
    except APIError as error:
        error.args = (f"uploading {part.source.identifier!r} failed: {error.message}",)
        error.source = part.source.identifier
        raise


def _find_blocker(call: Call, failed: Mapping[FileKey, PolluxError]) -> PolluxError | None:
    """Return the error of the call's first file that failed, as a copy of its own; None when it can be sent."""
    for part in call.all_parts:
        result = failed.get(part.key) if isinstance(part, UploadPart) else None
        if result is not None:
            return copy_error(result, call_idx=call.index)
    return None
