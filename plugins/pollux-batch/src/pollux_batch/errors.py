"""The errors of bulk work, below those of the core.

PolluxError
├── JournalError            the journal cannot be read or written
├── DriftError              requests are rendered otherwise than those whose answers the journal holds
├── RowError                a row of the input cannot be asked
├── WrongTypeError          an argument has the wrong type (also a TypeError)
├── TokenTrackingError      a try failed after its tokens were billed
│   └── EmptyResponseError  the answer is empty
├── StrategyPrepareError    prepare() of a strategy failed
├── FrameworkTimeoutError   a try took too long (also a TimeoutError)
├── ItemDeadlineExceeded    all tries of an item together took too long (also a TimeoutError)
├── RateLimitRetriesExceeded  an item was refused too often for its rate
├── TokenEstimationError    the tokens of an item cannot be estimated
├── QuotaScopeError         the quota of a strategy cannot be read
├── MiddlewareContractError a middleware returned what it must not
├── BatchAbortedError       the job was ended while the item was in flight
├── ProcessorStateError     the processor cannot do this now (also a RuntimeError)
│   └── BatchAdmissionClosedError  it takes no more items
├── AdmissionTimeoutError   a pool had no place or no result in time (also a TimeoutError)
└── LLMCallError            a single call failed; it carries the result
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from pollux_batch.data.results import WorkItemResult
    from pollux_batch.data.usage import TokenUsage


class JournalError(PolluxError):
    """The journal cannot be read or written. What it holds is kept."""


class DriftError(ConfigurationError):
    """A question that is answered in the journal is rendered as another request now.

    ``path`` is the first difference, ``old`` and ``new`` what stands there; None where the old request was not kept.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        path: str | None = None,
        old: str | None = None,
        new: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.old = old
        self.new = new


class RowError(ConfigurationError):
    """A row of the input cannot be asked. ``line`` is the number of the line on which it begins, counted from 1."""

    def __init__(self, message: str, *, hint: str | None = None, line: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.line = line


class WrongTypeError(ConfigurationError, TypeError):
    """An argument has the wrong type."""


class TokenTrackingError(PolluxError):
    """A try failed after its tokens were billed: raise it ``from`` the error, which then counts as that of the try.

    ``token_usage`` is added to the usage of the item.
    """

    def __init__(self, message: str, *, hint: str | None = None, token_usage: TokenUsage | None = None) -> None:
        super().__init__(message, hint=hint)
        self.token_usage: TokenUsage = token_usage or {}


class EmptyResponseError(TokenTrackingError, ValueError):
    """The answer is empty, but was billed."""


class StrategyPrepareError(PolluxError):
    """``prepare`` of a strategy failed; the cause is chained. All items of the strategy fail with it."""


class FrameworkTimeoutError(PolluxError, TimeoutError):
    """A try took longer than it may. What it still answers is used, as long as its item is open."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        item_id: str | None = None,
        elapsed: float | None = None,
        timeout_limit: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.item_id = item_id
        self.elapsed = elapsed
        self.timeout_limit = timeout_limit


class ItemDeadlineExceeded(PolluxError, TimeoutError):  # noqa: N818 - the name that users of other bulk packages know
    """All tries of an item together took longer than they may."""


class RateLimitRetriesExceeded(PolluxError):  # noqa: N818 - as above
    """An item was refused too often for its rate; the last refusal is chained."""


class TokenEstimationError(PolluxError):
    """The tokens of an item cannot be estimated, so that a token limit cannot be kept."""


class QuotaScopeError(PolluxError):
    """The ``quota_scope`` of a strategy cannot be read."""


class MiddlewareContractError(PolluxError):
    """A middleware failed, or returned what it must not."""


class BatchAbortedError(PolluxError):
    """The job was ended while the item was in flight."""


class ProcessorStateError(PolluxError, RuntimeError):
    """The processor cannot do this now, or no more: it is used once."""


class BatchAdmissionClosedError(ProcessorStateError):
    """The processor takes no more items."""


class AdmissionTimeoutError(PolluxError, TimeoutError):
    """A pool had no place for a prompt, or no result, in time."""


class LLMCallError(PolluxError):
    """A single call failed; ``result`` has all that is known of it."""

    def __init__(self, message: str, *, hint: str | None = None, result: WorkItemResult | None = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result
