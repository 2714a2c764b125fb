"""Every error this SDK raises, in one tree.

    PolluxError
    ├── ConfigurationError (also a ValueError)   the arguments cannot work; nothing was sent
    │   └── PluginLoadError                      a plugin is missing, broken, ambiguous or too new
    ├── SourceError                              a source cannot be read or used, or its loader failed
    ├── PlanningError                            the plan of the calls cannot be built or carried out
    ├── ToolCallParseError (also a ValueError)   the model wrote arguments that are not a JSON object
    ├── InternalError                            a defect in this SDK, or
    │   └── ProviderBugError                     a defect in a plugin
    ├── DeferredNotReadyError                    the deferred job has not ended yet
    └── APIError                                 the provider, or the way to it, failed
        ├── RateLimitError                       status 429
        ├── ContextOverflowError                 the request does not fit into the model's context
        └── CacheError                           another error in phase "cache", or the cache is gone

    KeyboardInterrupt
    └── Interrupted                              Ctrl-C ended the calls; it carries the answers so far
    SystemExit
    └── Terminated                               sys.exit ended the calls, or SIGTERM did; it carries the same

Every error has a message (what failed, and on what), a ``hint`` (the next step) and its facts as attributes.
Every error can be pickled and copied: only the message is positional, all other arguments have defaults.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_sync._values import Value

if TYPE_CHECKING:
    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.jobs import DeferredSnapshot
    from pollux_sync.data.reply import Outcome

#: The categories of a failure, the same for all providers. docs/reference/errors.md describes each.
FaultKind = Literal[
    "auth",
    "rate_limit",
    "quota",
    "capacity",
    "context_overflow",
    "invalid_request",
    "not_found",
    "cache_missing",
    "timeout",
    "connection",
    "malformed",
    "empty",
    "refused",
    "unknown",
]
_TOO_MANY = 429
#: Kinds that sending the same request again cannot cure, whatever status a server sends with them.
_PERMANENT_KINDS: frozenset[FaultKind] = frozenset({"auth", "quota", "context_overflow", "cache_missing"})

#: The operations that can fail with an APIError.
Phase = Literal[
    "generate",
    "upload",
    "cache",
    "metadata",
    "batch_upload",
    "batch_submit",
    "batch_inspect",
    "batch_collect",
    "batch_cancel",
]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Fault(Value):
    """The facts of one failed physical attempt, as a classifier read them.

    ``retryable`` says that sending the same request again may help; it is always False for the kinds "auth", "quota",
    "context_overflow" and "cache_missing". The retry policy alone decides about sending it again.
    ``retry_after_s`` is the wait in seconds that the server asks for. ``unread_answer`` is the beginning of a
    successful answer that cannot be read, or the model's answer that the service refused itself; it may be paid for.
    ``n_tokens`` and ``n_ctx`` belong to "context_overflow". ``provider_code`` is the name of the failure in the
    provider's own words, such as "overloaded_error".
    """

    kind: FaultKind
    message: str
    retryable: bool = False
    status_code: int | None = None
    retry_after_s: float | None = None
    request_id: str | None = None
    hint: str | None = None
    unread_answer: bytes | None = attrs.field(default=None, repr=False)
    n_tokens: int | None = None
    n_ctx: int | None = None
    provider_code: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.kind in _PERMANENT_KINDS:  # a classifier that goes by the status alone must not override this
            object.__setattr__(self, "retryable", False)


@attrs.frozen(kw_only=True, weakref_slot=False, eq=False, repr=False)
class Attempt(Value):
    """One physical attempt of a call. ``started_at`` is in seconds since the epoch.

    ``wait_s`` is the time that the retry loop waited *before* this attempt. ``kind`` and ``reason`` are None for an
    attempt that succeeded.
    """

    started_at: float
    duration_s: float
    wait_s: float = 0.0
    status_code: int | None = None
    kind: FaultKind | None = None
    reason: str | None = None
    request_id: str | None = None


#: Statuses below 500 after which the request may still have been carried out: the answer to a POST is elsewhere (303),
#: a time-out behind a gateway (408), a conflict with an earlier attempt that did arrive (409), a replay that was
#: refused (425), a gateway whose client left (499).
_AMBIGUOUS_STATUSES = frozenset({303, 408, 409, 425, 499})


def is_refusal(status_code: int | None) -> bool:
    """Return whether a status proves that the request was not carried out, so that nothing was created by it.

    True for redirects, which are never followed, and for most 4xx, 429 among them. False without a status: a broken
    connection proves nothing.
    """
    return status_code is not None and 300 <= status_code < 500 and status_code not in _AMBIGUOUS_STATUSES  # noqa: PLR2004


class PolluxError(Exception):
    """The base of all errors that this SDK raises on purpose. ``str(error)`` is the message and, below it, the hint."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        #: The envelope of the whole call, if other prompts were answered although this one failed.
        self.partial_result: ResultEnvelope | None = None
        #: The index of the call that failed; without ``per_source`` it is the index of the prompt.
        self.call_idx: int | None = None
        #: The identifier of the source that cannot be used, or that the call which failed was about.
        self.source: str | None = None
        #: Where several sources cannot be used: the error of each, in their order.
        self.source_errors: tuple[PolluxError, ...] = ()
        #: The text of a streamed answer that arrived before it failed.
        self.partial_text = ""
        #: The ledger of all physical attempts of that call.
        self.attempts: tuple[Attempt, ...] = ()

    @property
    def message(self) -> str:
        """The message without the hint."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigurationError(PolluxError, ValueError):
    """The arguments cannot work; raised before anything is sent."""


class PluginLoadError(ConfigurationError):
    """A requested plugin cannot be used; other plugins are not affected."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        name: str = "",
        distribution: str | None = None,
        version: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.distribution = distribution
        self.version = version


class SourceError(PolluxError):
    """A source is missing or unreadable, or the call cannot use it."""


class PlanningError(PolluxError):
    """The plan of the calls cannot be built or carried out, for instance because a plugin changed it wrongly."""


class InternalError(PolluxError):
    """A defect in this SDK; please report it. The cause is chained."""


class ProviderBugError(InternalError):
    """A plugin's hook raised an unexpected exception or returned a value of the wrong type."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        hook: str = "",
        distribution: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.hook = hook
        self.distribution = distribution


class ToolCallParseError(PolluxError, ValueError):
    """The model wrote ``arguments`` for ``tool`` that are not a JSON object."""

    def __init__(self, message: str, *, hint: str | None = None, tool: str = "", arguments: str = "") -> None:
        super().__init__(message, hint=hint)
        self.tool = tool
        self.arguments = arguments


class DeferredNotReadyError(PolluxError):
    """The deferred job has not ended; ``snapshot`` is its progress."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        snapshot: DeferredSnapshot | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.snapshot = snapshot


class APIError(PolluxError):
    """The provider refused the request, failed, or could not be reached.

    ``kind`` is the category of the failure, one of `FaultKind`; ``provider_code`` is its name in the provider's own
    words. ``attempts`` and ``call_idx`` are as in PolluxError. ``unread_answer`` is the beginning, at most 1 MiB, of a
    successful answer that could not be read, but may be paid for; or the model's answer that the service refused
    itself, such as Groq's ``failed_generation``.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        kind: FaultKind = "unknown",
        retryable: bool = False,
        status_code: int | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        provider: str | None = None,
        provider_code: str | None = None,
        phase: Phase | None = None,
        call_idx: int | None = None,
        attempts: tuple[Attempt, ...] = (),
        unread_answer: bytes | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.retryable = retryable
        self.status_code = status_code
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.provider = provider
        self.provider_code = provider_code
        self.phase = phase
        self.call_idx = call_idx
        self.attempts = attempts
        self.unread_answer = unread_answer


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a call while its requests were being sent.

    ``outcomes`` has one outcome per call, in call order; ``partial_result`` is the envelope of the answers so far.
    It is a KeyboardInterrupt, so that ``except Exception`` does not catch it and handlers for Ctrl-C do.
    """

    def __init__(self, *, outcomes: tuple[Outcome, ...] = (), partial_result: ResultEnvelope | None = None) -> None:
        super().__init__()
        self.outcomes = outcomes
        self.partial_result = partial_result


class Terminated(SystemExit):
    """A signal handler, or a tool, called ``sys.exit`` while requests were being sent.

    ``code`` is the exit status that was asked for. ``outcomes`` and ``partial_result`` are those of `Interrupted`.
    It is a SystemExit: unhandled, it ends the script with that status and without a traceback.
    """

    def __init__(
        self,
        code: str | int | None = None,
        *,
        outcomes: tuple[Outcome, ...] = (),
        partial_result: ResultEnvelope | None = None,
    ) -> None:
        super().__init__(code)
        self.outcomes = outcomes
        self.partial_result = partial_result


#: What ends a script from outside. It may be raised between any two instructions of the main thread.
STOPS = (KeyboardInterrupt, SystemExit)


def build_stop(
    cause: BaseException, outcomes: tuple[Outcome, ...], partial_result: ResultEnvelope | None = None
) -> Interrupted | Terminated:
    """Return the exception that stands for ``cause``, one of `STOPS`, and carries the answers so far.

    Without ``outcomes`` those of the cause are kept.
    """
    outcomes = outcomes or getattr(cause, "outcomes", ())
    if isinstance(cause, SystemExit):
        return Terminated(cause.code, outcomes=outcomes, partial_result=partial_result)
    return Interrupted(outcomes=outcomes, partial_result=partial_result)


def copy_error(error: PolluxError, *, call_idx: int | None = None) -> PolluxError:
    """Return a copy of an error that several calls share, with the ``call_idx`` of one of them if it is given."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    copied.call_idx = error.call_idx if call_idx is None else call_idx
    return copied


class RateLimitError(APIError):
    """The provider returned status 429: too many requests, or a quota is used up."""


class ContextOverflowError(APIError):
    """The request does not fit into the model's context; sending it again cannot help.

    ``n_tokens`` is the size of the request, including the requested output if the provider counts that too;
    ``n_ctx`` is the size of the context. Each is None if the provider did not report it. An answer that ends at
    ``max_tokens`` raises no error: its finish reason is "length".
    """

    def __init__(self, message: str, *, n_tokens: int | None = None, n_ctx: int | None = None, **facts: Any) -> None:
        # A default and not a fixed value, because build_api_error passes the kind to every error type.
        super().__init__(message, **{"kind": "context_overflow"} | facts)
        self.n_tokens = n_tokens
        self.n_ctx = n_ctx


class CacheError(APIError):
    """A cache could not be created, extended, listed or deleted, or it is gone (kind "cache_missing")."""


def build_api_error(
    fault: Fault,
    *,
    provider: str,
    phase: Phase,
    attempts: tuple[Attempt, ...] = (),
    call_idx: int | None = None,
) -> APIError:
    """Return the error that stands for a fault."""
    error_type, facts = _choose_type(fault, phase)
    return error_type(
        fault.message,
        hint=fault.hint,
        kind=fault.kind,
        retryable=fault.retryable,
        status_code=fault.status_code,
        retry_after_s=fault.retry_after_s,
        request_id=fault.request_id,
        provider=provider,
        provider_code=fault.provider_code,
        phase=phase,
        call_idx=call_idx,
        attempts=attempts,
        unread_answer=fault.unread_answer,
        **facts,
    )


def _choose_type(fault: Fault, phase: Phase) -> tuple[type[APIError], dict[str, Any]]:
    # A rate limit stays a RateLimitError in every phase, so that one ``except`` catches it; CacheError comes last.
    if fault.status_code == _TOO_MANY or fault.kind == "rate_limit":
        return RateLimitError, {}
    if fault.kind == "context_overflow":
        return ContextOverflowError, {"n_tokens": fault.n_tokens, "n_ctx": fault.n_ctx}
    return (CacheError if phase == "cache" or fault.kind == "cache_missing" else APIError), {}
