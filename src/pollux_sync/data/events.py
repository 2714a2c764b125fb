"""The events that observers receive while a call runs.

The repr of an event shows no key, although the configuration inside a plan holds one.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from pollux_sync._values import Value
from pollux_sync.data.handles import Asset, CacheHandle  # noqa: TC001 - part of the events' public types
from pollux_sync.data.jobs import DeferredHandle, DeferredSnapshot  # noqa: TC001 - part of the events' public types
from pollux_sync.data.reply import Outcome  # noqa: TC001
from pollux_sync.data.request import Call, Plan  # noqa: TC001
from pollux_sync.errors import Attempt  # noqa: TC001


@attrs.frozen(eq=False, repr=False)
class PlanBuilt(Value):
    """A plan is complete; nothing has been sent for it yet."""

    plan: Plan


@attrs.frozen(eq=False, repr=False)
class FileUploaded(Value):
    """A file was uploaded; ``identifier`` is that of its source."""

    identifier: str
    asset: Asset


@attrs.frozen(eq=False, repr=False)
class UploadDeleted(Value):
    """A file was deleted at the provider, or could not be deleted if ``error`` is set."""

    asset: Asset
    error: str | None = None


@attrs.frozen(eq=False, repr=False)
class CallStarted(Value):
    """A call is about to be sent for the first time."""

    call: Call


@attrs.frozen(eq=False, repr=False)
class AttemptFailed(Value):
    """A physical attempt failed. A `RetryScheduled` follows if the call is sent again."""

    call: Call
    attempt: Attempt


@attrs.frozen(eq=False, repr=False)
class RetryScheduled(Value):
    """A call will be sent again after ``delay_s`` seconds."""

    call: Call
    delay_s: float


@attrs.frozen(eq=False, repr=False)
class CallFinished(Value):
    """A call has its outcome, whether it was answered or failed."""

    call: Call
    outcome: Outcome


@attrs.frozen(eq=False, repr=False)
class CacheCreated(Value):
    """A cache was created at the provider."""

    handle: CacheHandle


@attrs.frozen(eq=False, repr=False)
class DeferredSubmitted(Value):
    """All jobs of deferred requests have been submitted."""

    handle: DeferredHandle


@attrs.frozen(eq=False, repr=False)
class DeferredChanged(Value):
    """A deferred job was inspected for the first time, or its state has changed since."""

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
