"""The meanings of the exit codes of ``pollux-sync batch``."""

from __future__ import annotations

from pollux_sync.commands import DONE, FAILED, INTERRUPTED, PENDING, REFUSED, describe_exit_codes

MEANINGS = {
    DONE: "done; for run: every item was answered",
    FAILED: "failed; for run: an item has no answer",
    REFUSED: "bad usage or configuration: nothing was sent",
    PENDING: "for run: stopped before the end, by a budget, a deadline or a deferred job; run it again to go on",
    INTERRUPTED: "interrupted by Ctrl-C; the answers so far are in the journal",
}

#: The end of a command's help.
EXIT_CODES = describe_exit_codes(MEANINGS)
