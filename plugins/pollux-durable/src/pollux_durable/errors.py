"""The errors of durable workflows, below those of the core.

PolluxError
├── ConfigurationError
│   ├── DuplicateStepError      a step key is used twice in one run
│   ├── PayloadError            a payload, result or state has no JSON form, or does not fit (also a TypeError)
│   └── RequestChangedError     a recorded model call is rendered as another request now
├── StepOrderError              the run has recorded other steps than its code makes now
├── ToolRejectedError           a person did not approve a call of a tool
├── StoredDataError             what the database holds cannot be read, and is not run
├── StepExecutionError          a step failed; the failure is recorded
├── WorkflowTimeoutError        a run did not end in time (also a TimeoutError)
└── RunFailedError              the run that was waited for failed (also a RuntimeError)
    └── RunCancelledError       it was cancelled

BaseException
└── RunStopped                  leaves the function of a run that waits or was cancelled
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from pollux_durable.data.runs import JsonObject


class DuplicateStepError(ConfigurationError):
    """A step key is used twice in one run. Each step needs a key of its own: its result is recorded under it."""


class PayloadError(ConfigurationError, TypeError):
    """A payload, a result or a state has no JSON form, or does not fit its type."""


class RequestChangedError(ConfigurationError):
    """A model call is recorded in this run, and the code asks for something else now.

    ``step_key`` is the step, ``path`` the first difference; ``old`` and ``new`` are what stands there.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        step_key: str | None = None,
        path: str | None = None,
        old: str | None = None,
        new: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.step_key = step_key
        self.path = path
        self.old = old
        self.new = new


class StepOrderError(PolluxError):
    """The run has recorded other steps than its code makes now: the code was changed while the run went on."""


class ToolRejectedError(PolluxError):
    """A person did not approve a call of a tool. The model receives this, with the feedback."""


class StoredDataError(PolluxError):
    """Stored data cannot be read: another program wrote it, or its codec is missing."""


class StepExecutionError(PolluxError):
    """A step failed, and so does each replay of it: the failure is recorded.

    ``step_key`` is the step, ``error_type`` the class of the exception that ended it.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        step_key: str | None = None,
        error_type: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.step_key = step_key
        self.error_type = error_type


class WorkflowTimeoutError(PolluxError, TimeoutError):
    """A run did not end in the time that was given to wait for it. It goes on."""


class RunFailedError(PolluxError, RuntimeError):
    """The run that was waited for failed. ``error_type`` is the class of the exception that ended it."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        execution_id: str | None = None,
        error_type: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.execution_id = execution_id
        self.error_type = error_type


class RunCancelledError(RunFailedError):
    """The run that was waited for was cancelled."""


class RunStopped(BaseException):
    """Leaves the function of a run that waits, or that was cancelled. It begins again when the run goes on."""


class RunFailure(Exception):  # noqa: N818 - it carries an error, and is none by itself
    """Ends a run for its engine. ``error`` is the JSON form of its failure, see `describe_error`."""

    def __init__(self, error: JsonObject) -> None:
        super().__init__(error)
        self.error = error


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return the JSON form of an error: its class, its message, and the hint if it has one."""
    described = {"type": type(error).__name__, "message": str(getattr(error, "message", error))}
    hint = getattr(error, "hint", None)
    return {**described, "hint": hint} if isinstance(hint, str) else described
