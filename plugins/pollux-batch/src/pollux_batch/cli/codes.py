"""The exit codes of ``pollux-sync batch``, which are those of the core."""

from __future__ import annotations

DONE, FAILED, REFUSED, PENDING, INTERRUPTED = 0, 1, 2, 3, 130

MEANINGS = {
    DONE: "done; for run: every item was answered",
    FAILED: "failed; for run: an item has no answer",
    REFUSED: "bad usage or configuration: nothing was sent",
    PENDING: "for run: stopped before the end, by a budget, a deadline or a deferred job; run it again to go on",
    INTERRUPTED: "interrupted by Ctrl-C; the answers so far are in the journal",
}

#: The end of a command's help.
EXIT_CODES = "\n".join(["exit codes:", *(f"  {code:<3}  {meaning}" for code, meaning in MEANINGS.items())])
