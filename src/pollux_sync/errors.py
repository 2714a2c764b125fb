"""Every error this SDK raises, in one tree.

    PolluxError
    ├── ConfigurationError (also a ValueError)   what was asked for cannot work; nothing was sent
    │   └── PluginLoadError                      a plugin is missing, broken, ambiguous or too new
    ├── SourceError                              a source cannot be read or used
    ├── PlanningError                            a source's loader failed while the plan was built
    ├── ToolCallParseError (also a ValueError)   the model wrote arguments that are no JSON object
    ├── InternalError                            a defect in this SDK, or
    │   └── ProviderBugError                     a defect in a plugin
    ├── DeferredNotReadyError                    the deferred job has not ended yet
    └── APIError                                 the provider, or the way to it, failed
        ├── RateLimitError                       status 429
        ├── ContextOverflowError                 the request does not fit into the model's context
        └── CacheError                           in phase "cache", other than these, or the cache is gone

    KeyboardInterrupt
    └── Interrupted                              Ctrl-C ended calls; it carries the answers so far

Each carries a message (what failed, on what), a ``hint`` (the next step) and its facts as attributes.
All of them survive pickling and copying: only the message is positional, the rest has defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.handles import DeferredSnapshot
    from pollux_sync.data.reply import Attempt, Outcome

FaultKind = Literal[
    "auth",
    "rate_limit",
    "capacity",
    "context_overflow",
    "invalid_request",
    "not_found",
    "cache_missing",
    "timeout",
    "connection",
    "malformed",
    "refused",
    "unknown",
]
_TOO_MANY = 429
#: The same request meets them again, whatever the status says.
_PERMANENT_KINDS: frozenset[FaultKind] = frozenset({"auth", "context_overflow", "cache_missing"})

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


@attrs.frozen(kw_only=True)
class Fault:
    """The facts of one failed physical attempt, as a classifier read them.

    ``retryable`` says whether sending the same request again may help, which is never so for kinds "auth",
    "context_overflow" and "cache_missing"; whether it *is* sent again is the retry policy's decision alone.
    ``retry_after_s`` is the server's wish in seconds. ``n_tokens`` and ``n_ctx`` belong to "context_overflow".
    """

    kind: FaultKind
    message: str
    retryable: bool = False
    status_code: int | None = None
    retry_after_s: float | None = None
    request_id: str | None = None
    hint: str | None = None
    n_tokens: int | None = None
    n_ctx: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.kind in _PERMANENT_KINDS:
            object.__setattr__(self, "retryable", False)


#: 4xx statuses after which the request may have been carried out all the same: a time-out behind a gateway, a
#: conflict with an earlier attempt that did arrive, a replay that was refused.
_AMBIGUOUS_STATUSES = frozenset({408, 409, 425})


def is_refusal(status_code: int | None) -> bool:
    """Return whether a status proves that the request was not carried out, so that nothing was created by it.

    True for redirects, which are never followed, and for 4xx except 408, 409 and 425; 429 is a refusal. False
    without a status: a broken connection proves nothing.
    """
    return status_code is not None and 300 <= status_code < 500 and status_code not in _AMBIGUOUS_STATUSES  # noqa: PLR2004


class PolluxError(Exception):
    """Base of every error raised on purpose. ``str(error)`` is the message and, below it, the hint."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        #: The envelope of the whole call, when other prompts were answered although this one failed.
        self.partial_result: ResultEnvelope | None = None
        #: Index of the call (with one source set: of the prompt) that failed.
        self.call_idx: int | None = None
        #: What had come of a streamed answer before it failed.
        self.partial_text = ""
        #: The ledger of every physical attempt made for that call.
        self.attempts: tuple[Attempt, ...] = ()

    @property
    def message(self) -> str:
        """The message without the hint."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigurationError(PolluxError, ValueError):
    """What was asked for cannot work as given; raised before anything is sent."""


class PluginLoadError(ConfigurationError):
    """A plugin that was asked for cannot be used; other plugins are unaffected."""

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
    """A source is missing, unreadable, or not something the call can use."""


class PlanningError(PolluxError):
    """The plan could not be built, e.g. because a source's loader raised."""


class InternalError(PolluxError):
    """A defect: please report it. The cause is chained."""


class ProviderBugError(InternalError):
    """A plugin's hook raised something unexpected or answered with the wrong type."""

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
    """The model wrote arguments for ``tool`` that are no JSON object; ``arguments`` is what it wrote."""

    def __init__(self, message: str, *, hint: str | None = None, tool: str = "", arguments: str = "") -> None:
        super().__init__(message, hint=hint)
        self.tool = tool
        self.arguments = arguments


class DeferredNotReadyError(PolluxError):
    """The deferred job has not ended; ``snapshot`` says how far it is."""

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
    """The provider refused or failed, or could not be reached.

    ``kind`` is the category of the failure, one of `FaultKind`; ``attempts`` and ``call_idx`` are as in PolluxError.
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
        phase: Phase | None = None,
        call_idx: int | None = None,
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.retryable = retryable
        self.status_code = status_code
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.provider = provider
        self.phase = phase
        self.call_idx = call_idx
        self.attempts = attempts


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a call whose requests were being sent.

    ``outcomes`` has one outcome a call, in call order; ``partial_result`` is the envelope of the answers so far.
    A KeyboardInterrupt, so that handlers for Ctrl-C and the interpreter treat it as one.
    """

    def __init__(self, *, outcomes: tuple[Outcome, ...] = (), partial_result: ResultEnvelope | None = None) -> None:
        super().__init__()
        self.outcomes = outcomes
        self.partial_result = partial_result


class RateLimitError(APIError):
    """The provider answered 429: too many requests, or a quota is used up."""


class ContextOverflowError(APIError):
    """The request does not fit into the model's context; sent again as it is, it never will.

    ``n_tokens`` is what the request needs, with the output it asks for where the provider counts that too;
    ``n_ctx`` is what the model holds. None where the provider did not say. An answer that ends at
    ``max_tokens`` is no error: its finish reason is "length".
    """

    def __init__(self, message: str, *, n_tokens: int | None = None, n_ctx: int | None = None, **facts: Any) -> None:
        super().__init__(message, **{"kind": "context_overflow"} | facts)
        self.n_tokens = n_tokens
        self.n_ctx = n_ctx


class CacheError(APIError):
    """Creating, extending, listing or deleting a provider-side cache failed, or (kind "cache_missing") it is gone."""


def build_api_error(
    fault: Fault,
    *,
    provider: str,
    phase: Phase,
    attempts: tuple[Attempt, ...] = (),
    call_idx: int | None = None,
) -> APIError:
    """Return the error of the tree for a fault."""
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
        phase=phase,
        call_idx=call_idx,
        attempts=attempts,
        **facts,
    )


def _choose_type(fault: Fault, phase: Phase) -> tuple[type[APIError], dict[str, Any]]:
    if fault.status_code == _TOO_MANY or fault.kind == "rate_limit":
        return RateLimitError, {}
    if fault.kind == "context_overflow":
        return ContextOverflowError, {"n_tokens": fault.n_tokens, "n_ctx": fault.n_ctx}
    return (CacheError if phase == "cache" or fault.kind == "cache_missing" else APIError), {}
