"""What observers are told while a call runs. No event shows a key, although a plan's configuration holds it."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from pollux_sync.data.handles import (  # noqa: TC001 - part of the events' public types
    CacheHandle,
    DeferredHandle,
    DeferredSnapshot,
)
from pollux_sync.data.reply import Attempt, Outcome  # noqa: TC001
from pollux_sync.data.request import Asset, Call, Plan  # noqa: TC001


@attrs.frozen
class PlanBuilt:
    """The plan is final; nothing has been sent yet."""

    plan: Plan


@attrs.frozen
class FileUploaded:
    """A file arrived at the provider; ``identifier`` is the source's."""

    identifier: str
    asset: Asset


@attrs.frozen
class UploadDeleted:
    """A file was deleted at the provider, or could not be (``error`` says why)."""

    asset: Asset
    error: str | None = None


@attrs.frozen
class CallStarted:
    """A call is about to be sent for the first time."""

    call: Call


@attrs.frozen
class AttemptFailed:
    """A physical attempt failed; whether it is tried again is told by `RetryScheduled`."""

    call: Call
    attempt: Attempt


@attrs.frozen
class RetryScheduled:
    """The call will be sent again in ``delay_s`` seconds."""

    call: Call
    delay_s: float


@attrs.frozen
class CallFinished:
    """The call has its outcome."""

    call: Call
    outcome: Outcome


@attrs.frozen
class CacheCreated:
    """A cache was made at the provider."""

    handle: CacheHandle


@attrs.frozen
class DeferredSubmitted:
    """All jobs of a deferred request have been submitted."""

    handle: DeferredHandle


@attrs.frozen
class DeferredChanged:
    """A deferred job was looked at, and is further than before."""

    snapshot: DeferredSnapshot


Event: TypeAlias = (
    PlanBuilt
    | FileUploaded
    | UploadDeleted
    | CallStarted
    | AttemptFailed
    | RetryScheduled
    | CallFinished
    | CacheCreated
    | DeferredSubmitted
    | DeferredChanged
)
