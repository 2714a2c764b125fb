"""The meanings of the exit codes of the built-in commands."""

from __future__ import annotations

from pollux_sync.commands import (
    DONE,
    FAILED,
    INTERRUPTED,
    PENDING,
    READER_GONE,
    REFUSED,
    describe_exit_codes,
)
from pollux_sync.signals import SIGTERM_STATUS

MEANINGS = {
    DONE: "done; for run: every prompt was answered",
    FAILED: "failed; for run: a prompt has no answer, or one that does not fit --schema",
    REFUSED: "bad usage or configuration: nothing was sent",
    PENDING: "for deferred jobs: not ended yet",
    INTERRUPTED: "interrupted by Ctrl-C; the answers so far are printed",
    READER_GONE: "the program that read the output has ended",
    SIGTERM_STATUS: "terminated by SIGTERM; the answers so far are printed",
}

#: The end of a command's help.
EXIT_CODES = describe_exit_codes(MEANINGS)
