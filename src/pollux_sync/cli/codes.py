"""The exit codes of the commands, and what they mean."""

from __future__ import annotations

from pollux_sync.signals import SIGTERM_STATUS

# As shells have it: 130 is 128 + SIGINT. A reader that goes away would be 128 + SIGPIPE = 141, but Python ignores that
# signal and raises BrokenPipeError.
DONE, FAILED, REFUSED, PENDING, INTERRUPTED, READER_GONE = 0, 1, 2, 3, 130, 141
TERMINATED = SIGTERM_STATUS

MEANINGS = {
    DONE: "done; for run: every prompt was answered",
    FAILED: "failed; for run: a prompt has no answer, or one that does not fit --schema",
    REFUSED: "bad usage or configuration: nothing was sent",
    PENDING: "for deferred jobs: not ended yet",
    INTERRUPTED: "interrupted by Ctrl-C; the answers so far are printed",
    READER_GONE: "the program that read the output has ended",
    TERMINATED: "terminated by SIGTERM; the answers so far are printed",
}

#: The end of a command's help.
EXIT_CODES = "\n".join(["exit codes:", *(f"  {code:<3}  {meaning}" for code, meaning in MEANINGS.items())])
