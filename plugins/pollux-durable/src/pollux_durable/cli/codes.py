"""The exit codes of ``pollux-sync durable``, which are those of the core."""

from __future__ import annotations

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130

MEANINGS = {
    DONE: "done; for worker and dev: ended by SIGINT or SIGTERM",
    FAILED: "failed; for doctor: there is a problem",
    REFUSED: "bad usage or configuration, or a run, a step or a database that is not there: nothing was changed",
    INTERRUPTED: "interrupted by Ctrl-C; for worker: by the second one, which does not wait for steps in flight",
}

#: The end of a command's help.
EXIT_CODES = "\n".join(["exit codes:", *(f"  {code:<3}  {meaning}" for code, meaning in MEANINGS.items())])
