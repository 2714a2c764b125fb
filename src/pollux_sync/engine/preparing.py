"""Plan -> Prepared: every file uploaded once, and deleted when the scope ends."""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, Self

import attrs

from pollux_sync.data.events import FileUploaded, UploadDeleted
from pollux_sync.data.request import Asset, AssetPart, Prepared, UploadPart
from pollux_sync.engine.retrying import with_retries
from pollux_sync.engine.sending import map_threads
from pollux_sync.errors import PolluxError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from pollux_sync.data.request import Call, Part, Plan
    from pollux_sync.hooks.relay import Hooks

log = logging.getLogger("pollux_sync")

#: Equal keys are one file at the provider: (hex SHA-256 of the content, MIME type).
UploadKey = tuple[str, str]

#: A file that is not deleted, because the process died, may go by itself after a day.
_LIFETIME_S = 86_400.0
#: What goes this soon is not relied on.
_MARGIN_S = 600.0
_DELETE_TIMEOUT_S = 10.0
_GRACE_S = 1.0


class UploadScope:
    """The files uploaded for one plan. Leaving the scope deletes them, after success and failure alike.

    An upload still in flight then gets a second to end; should it end later it deletes itself.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._assets: list[Asset] = []
        self._in_flight = 0
        self._is_over = False
        self._lock = threading.Lock()
        self._last_is_in: threading.Condition | None = None
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process != os.getpid():  # a forked child ends: the files are its parent's
            return
        with self._lock:
            if self._in_flight:
                self._last_is_in = threading.Condition(self._lock)
                self._last_is_in.wait_for(lambda: not self._in_flight, timeout=_GRACE_S)
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
            asset = upload(part, self._hooks, stop, name=name, lifetime_s=_LIFETIME_S)
        finally:
            is_late = self._settle(asset)
        if is_late:
            delete_upload(asset, self._hooks)
        return asset

    def _settle(self, asset: Asset | None) -> bool:
        with self._lock:
            self._in_flight -= 1
            if asset is not None and not self._is_over:
                self._assets.append(asset)
            if self._last_is_in is not None and not self._in_flight:
                self._last_is_in.notify_all()
            return self._is_over


class SharedUploads(UploadScope):
    """The files of many plans, from any thread: equal content is stored once, and again only once it has expired."""

    def __init__(self, hooks: Hooks) -> None:
        super().__init__(hooks)
        self._slots: dict[UploadKey, _Slot] = {}

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        """The stored file. Raises APIError with phase "upload", after which the next call tries again."""
        with self._lock:
            slot = self._slots.setdefault(_key(part), _Slot())
        with slot.lock:
            if slot.asset is None or _expires_soon(slot.asset):
                slot.asset = super().upload(part, stop)
            return slot.asset


@attrs.define
class _Slot:
    """Where one content is; who holds the lock is storing it."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    asset: Asset | None = None


def _expires_soon(asset: Asset) -> bool:
    return asset.expires_at is not None and asset.expires_at < time.time() + _MARGIN_S


class Uploads(Protocol):
    """Where a plan's files are stored."""

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        """Store one file. Raises APIError with phase "upload"."""
        ...


def delete_uploads(assets: Sequence[Asset], hooks: Hooks) -> None:
    """Delete stored files; a failure is told to observers and changes nothing."""
    concurrency = hooks.config.request_concurrency
    map_threads(lambda asset: delete_upload(asset, hooks), assets, concurrency, threading.Event(), [None] * len(assets))


def delete_upload(asset: Asset, hooks: Hooks) -> None:
    """Delete a stored file; a failure is told to observers and changes nothing."""
    failed = None
    try:
        hooks.delete_upload(asset, min(hooks.config.timeout_s, _DELETE_TIMEOUT_S))
    except Exception as error:  # noqa: BLE001 - cleaning up must not mask the result
        failed = hooks.scrub(f"{type(error).__name__}: {error}")
        log.debug("deleting %s failed: %s", asset.id, failed)
    hooks.emit(UploadDeleted(asset, failed))


def prepare_plan(plan: Plan, hooks: Hooks, scope: Uploads) -> Prepared:
    """Upload what the calls need, each content once; a call whose file failed is blocked, not raised."""
    wanted = wanted_uploads(plan)
    if not wanted:
        return Prepared(plan=plan, provider=hooks.info.name, calls=plan.calls, blocked={})
    stop = threading.Event()
    results: list[Asset | PolluxError | None] = [None] * len(wanted)
    map_threads(
        lambda part: _asset_or_error(part, scope, stop),
        [*wanted.values()],
        hooks.config.request_concurrency,
        stop,
        results,
    )
    stored = {key: result for key, result in zip(wanted, results, strict=True) if result is not None}
    blocked = {call.index: error for call in plan.calls if (error := _blocking(call, stored))}
    calls = tuple(with_assets(call, stored) for call in plan.calls)
    return Prepared(plan=plan, provider=hooks.info.name, calls=calls, blocked=blocked)


def wanted_uploads(plan: Plan) -> dict[UploadKey, UploadPart]:
    """What is to be uploaded for the plan, each content once."""
    return {_key(part): part for call in plan.calls for part in call.all_parts if isinstance(part, UploadPart)}


def _key(part: UploadPart) -> UploadKey:
    return part.identity, part.source.mime_type


def _asset_or_error(part: UploadPart, scope: Uploads, stop: threading.Event) -> Asset | PolluxError:
    try:
        return scope.upload(part, stop)
    except PolluxError as error:
        return error


def upload(part: UploadPart, hooks: Hooks, stop: threading.Event, *, name: str, lifetime_s: float) -> Asset:
    """Store one file. Raises APIError with phase "upload"."""

    def attempt() -> tuple[Asset, None]:
        return hooks.upload(part.source, hooks.config.timeout_s, name=name, lifetime_s=lifetime_s), None

    asset, _ = with_retries(attempt, hooks, stop, phase="upload", is_repeatable=False)
    hooks.emit(FileUploaded(part.source.identifier, asset))
    return asset


def _blocking(call: Call, stored: dict[UploadKey, Asset | PolluxError]) -> PolluxError | None:
    """Why the call cannot be sent: its own copy of the error of its first failed file."""
    for part in call.all_parts:
        result = stored[_key(part)] if isinstance(part, UploadPart) else None
        if isinstance(result, PolluxError):
            error = copy.copy(result)
            error.__cause__ = result.__cause__
            error.call_idx = call.index
            return error
    return None


def with_assets(call: Call, stored: Mapping[UploadKey, Asset | PolluxError]) -> Call:
    """The call with its files as they are stored; those that failed stay as they are."""

    def replaced(part: Part) -> Part:
        asset = stored[_key(part)] if isinstance(part, UploadPart) else None
        return AssetPart(part.source, asset) if isinstance(part, UploadPart) and isinstance(asset, Asset) else part

    return call.with_parts(replaced)
