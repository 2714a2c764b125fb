"""The errors of bulk work, below those of the core.

PolluxError
├── JournalError            the journal cannot be read or written
├── DriftError              requests are rendered otherwise than those whose answers the journal holds
├── RowError                a row of the input cannot be asked
└── BatchBudgetExceeded     the budget does not allow a call
"""

from __future__ import annotations

from pollux_sync.errors import ConfigurationError, PolluxError


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


class BatchBudgetExceeded(PolluxError):  # noqa: N818 - the name that users of other bulk packages know
    """The budget does not allow the call."""
