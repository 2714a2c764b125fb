"""The interface of a strategy: how one prompt is answered, whatever the provider."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import attrs

from pollux_batch.data.usage import TokenUsage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_batch.data.categories import ErrorClassifier
    from pollux_batch.data.state import RetryState
    from pollux_sync.plugin import TokenEstimate

TOutput = TypeVar("TOutput")

#: What `LLMCallStrategy.execute` returns.
Executed: TypeAlias = "tuple[TOutput, TokenUsage] | tuple[TOutput, TokenUsage, dict[str, Any] | None]"

_SHOWN_CHARS = 50


@attrs.frozen
class CallOutcome(Generic[TOutput]):
    """The answer of a function for `CallableStrategy` that knows more than its output."""

    output: TOutput
    token_usage: Mapping[str, int] = attrs.field(factory=dict)
    metadata: Mapping[str, Any] | None = None


class LLMCallStrategy(ABC, Generic[TOutput]):
    """A way to answer one prompt. Only `execute` must be written.

    One instance may serve all items of a job, and is called from many threads at once; with ``thread_safe = False`` it
    is called by one at a time.
    """

    #: False if two threads must not be in `execute` at once.
    thread_safe: bool = True

    def prepare(self) -> None:
        """Get ready: called once for an instance, before its first `execute`; others wait for it."""

    @abstractmethod
    def execute(self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None) -> Executed[TOutput]:
        """Ask once; return ``(output, usage)`` or ``(output, usage, metadata)``.

        ``attempt`` begins at 1, and stays the same after a refusal for the rate. ``timeout`` is the seconds after which
        nobody waits for this try any more: hand it to the client that you call.
        """

    def on_error(self, exception: Exception, attempt: int, state: RetryState | None = None) -> None:
        """Learn from a failed `execute`, before it is decided whether there is another try."""

    def cleanup(self) -> None:
        """Let go of what `prepare` got: called once for a prepared instance, when its processor shuts down."""

    def dry_run(self, prompt: str) -> tuple[TOutput, TokenUsage]:
        """Return a made-up output; called in place of `execute` in a dry run."""
        output: Any = f"[DRY-RUN] Mock output for prompt: {prompt[:_SHOWN_CHARS]}..."
        return output, TokenUsage(input_tokens=100, output_tokens=50, total_tokens=150)

    def estimate_tokens(self, prompt: str, attempt: int, state: RetryState | None = None) -> TokenEstimate | None:
        """Return the tokens that a try may take, for a token limit; None leaves it to the processor."""
        return None

    @property
    def max_concurrency(self) -> int | None:
        """The most calls that may be in flight in this strategy's `concurrency_scope`; None sets no limit."""
        return None

    @property
    def concurrency_scope(self) -> object:
        """The object whose calls in flight are counted together, compared by identity; by default this strategy."""
        return self

    @property
    def quota_scope(self) -> object:
        """The object whose strategies spend one quota and pause together; by default `concurrency_scope`."""
        return self.concurrency_scope

    def recommended_error_classifier(self) -> ErrorClassifier | None:
        """Return the classifier that knows this strategy's errors; None takes the default one."""
        return None

    def request_concurrency(self, concurrency: int) -> bool:
        """Make room for so many calls at once, before the first; return whether this was possible."""
        return False
