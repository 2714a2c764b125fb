"""Plan -> Prepared: every file uploaded once, and deleted when the scope ends."""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, Self

import attrs

from pollux_sync.data.events import FileUploaded, UploadDeleted
from pollux_sync.data.handles import Asset
from pollux_sync.data.request import AssetPart, Prepared, UploadPart
from pollux_sync.engine.retrying import request_with_retries
from pollux_sync.engine.threads import map_threads
from pollux_sync.errors import PolluxError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from pollux_sync.data.request import Call, Part, Plan
    from pollux_sync.hooks.relay import Hooks

log = logging.getLogger("pollux_sync")

#: Equal keys are one file at the provider: (hex SHA-256 of the content, MIME type).
UploadKey = tuple[str, str]

#: After how many seconds the provider may delete a file itself, for a process that died before it could.
_LIFETIME_S = 86_400.0
#: A file that expires this soon is uploaded again.
_MARGIN_S = 600.0
_DELETE_TIMEOUT_S = 10.0
_GRACE_S = 1.0


class UploadScope:
    """The files uploaded for one plan. Leaving the scope deletes them, after success and failure alike.

    An upload that is in flight then gets a second to end. One that ends later deletes its file itself, so that
    Ctrl-C neither waits for a slow upload nor leaves its file behind.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._assets: list[Asset] = []
        self._in_flight = 0
        self._is_over = False
        self._lock = threading.Lock()
        self._last_landed: threading.Condition | None = None
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Checked first, before the lock: another thread of the parent may hold it in the copy.
        if self._process != os.getpid():  # a forked child ends: the files belong to its parent
            return
        with self._lock:
            # A normal end has nothing in flight, so it makes no condition and does not wait.
            if self._in_flight:
                self._last_landed = threading.Condition(self._lock)
                self._last_landed.wait_for(lambda: not self._in_flight, timeout=_GRACE_S)
            self._is_over = True
            assets, self._assets = self._assets, []
        if assets:
            delete_uploads(assets, self._hooks)

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        """Store one file. Raises APIError with phase "upload"."""
        with self._lock:
            self._in_flight += 1
        asset = None
        try:
            name = PurePath(part.source.identifier).name or "file"
            asset = upload_part(part, self._hooks, stop, name=name, lifetime_s=_LIFETIME_S)
        finally:
            is_late = self._settle(asset)
        # The scope is over and has deleted the others already: nobody else knows of this file.
        if is_late:
            delete_upload(asset, self._hooks)
        return asset

    def _settle(self, asset: Asset | None) -> bool:
        with self._lock:
            self._in_flight -= 1
            if asset is not None and not self._is_over:
                self._assets.append(asset)
            if self._last_landed is not None and not self._in_flight:
                self._last_landed.notify_all()
            return self._is_over


class SharedUploads(UploadScope):
    """The files of many plans, from any thread: equal content is stored once, and again only after it has expired."""

    def __init__(self, hooks: Hooks) -> None:
        super().__init__(hooks)
        self._slots: dict[UploadKey, _Slot] = {}

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        """Return the stored file, stored now if need be. Raises APIError with phase "upload"; the next call retries."""
        with self._lock:
            slot = self._slots.setdefault(_build_key(part), _Slot())
        # Other content goes on meanwhile: the lock is held for one content during its upload.
        with slot.lock:
            # A session may live longer than the provider keeps files.
            if slot.asset is None or _expires_soon(slot.asset):
                slot.asset = super().upload(part, stop)
            return slot.asset


@attrs.define
class _Slot:
    """The place of one content. The thread that holds the lock is storing it."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    asset: Asset | None = None


def _expires_soon(asset: Asset) -> bool:
    return asset.expires_at is not None and asset.expires_at < time.time() + _MARGIN_S


class UploadStore(Protocol):
    """Stores the files of a plan, and decides how long they live."""

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        """Store one file. Raises APIError with phase "upload"."""
        ...


def delete_uploads(assets: Sequence[Asset], hooks: Hooks) -> None:
    """Delete stored files. A failure is reported to observers and changes nothing."""
    # Deleting a hundred files one by one would hold the result back for many round trips.
    concurrency = hooks.config.request_concurrency
    map_threads(lambda asset: delete_upload(asset, hooks), assets, concurrency, threading.Event(), [None] * len(assets))


def delete_upload(asset: Asset, hooks: Hooks) -> None:
    """Delete a stored file. A failure is reported to observers and changes nothing."""
    failure = None
    try:
        hooks.delete_upload(asset, min(hooks.config.timeout_s, _DELETE_TIMEOUT_S))
    except Exception as error:  # noqa: BLE001 - cleaning up must not mask the result
        failure = hooks.scrub(f"{type(error).__name__}: {error}")
        log.debug("deleting %s failed: %s", asset.id, failure)
    hooks.emit(UploadDeleted(asset, failure))


def prepare_plan(plan: Plan, hooks: Hooks, store: UploadStore) -> Prepared:
    """Upload what the calls need, each content once; a call whose file failed is blocked, not raised."""
    wanted = collect_uploads(plan)
    if not wanted:
        return Prepared(plan=plan, provider=hooks.info.name, calls=plan.calls, blocked={})
    stop = threading.Event()
    # Errors are kept as values: one bad file must not stop the calls that do not use it.
    results: list[Asset | PolluxError | None] = [None] * len(wanted)
    map_threads(
        lambda part: _upload_or_catch(part, store, stop),
        [*wanted.values()],
        hooks.config.request_concurrency,
        stop,
        results,
    )
    stored = {key: result for key, result in zip(wanted, results, strict=True) if result is not None}
    blocked = {call.index: error for call in plan.calls if (error := _find_blocker(call, stored))}
    calls = tuple(replace_uploads(call, stored) for call in plan.calls)
    return Prepared(plan=plan, provider=hooks.info.name, calls=calls, blocked=blocked)


def collect_uploads(plan: Plan) -> dict[UploadKey, UploadPart]:
    """Return what has to be uploaded for the plan, each content once."""
    return {_build_key(part): part for call in plan.calls for part in call.all_parts if isinstance(part, UploadPart)}


def _build_key(part: UploadPart) -> UploadKey:
    return part.identity, part.source.mime_type


def _upload_or_catch(part: UploadPart, store: UploadStore, stop: threading.Event) -> Asset | PolluxError:
    try:
        return store.upload(part, stop)
    except PolluxError as error:
        return error


def upload_part(part: UploadPart, hooks: Hooks, stop: threading.Event, *, name: str, lifetime_s: float) -> Asset:
    """Store one file. Raises APIError with phase "upload"."""
    upload = partial(hooks.upload, part.source, hooks.config.timeout_s, name=name, lifetime_s=lifetime_s)
    asset = request_with_retries(upload, hooks, phase="upload", is_repeatable=False, stop=stop)
    hooks.emit(FileUploaded(part.source.identifier, asset))
    return asset


def _find_blocker(call: Call, stored: dict[UploadKey, Asset | PolluxError]) -> PolluxError | None:
    """Return the error of the call's first file that failed, as a copy of its own; None when it can be sent."""
    for part in call.all_parts:
        result = stored[_build_key(part)] if isinstance(part, UploadPart) else None
        if isinstance(result, PolluxError):
            # Each call gets its own copy: a shared exception could carry one call_idx only.
            error = copy.copy(result)
            error.__cause__ = result.__cause__
            error.call_idx = call.index
            return error
    return None


def replace_uploads(call: Call, stored: Mapping[UploadKey, Asset | PolluxError]) -> Call:
    """Return the call with its uploaded files in place of those to upload; failed ones stay."""

    def replace(part: Part) -> Part:
        asset = stored[_build_key(part)] if isinstance(part, UploadPart) else None
        return AssetPart(part.source, asset) if isinstance(part, UploadPart) and isinstance(asset, Asset) else part

    return call.map_parts(replace)
