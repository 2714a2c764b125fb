"""The meanings of the exit codes of ``pollux-sync durable``."""

from __future__ import annotations

from pollux_sync.commands import DONE, FAILED, INTERRUPTED, REFUSED, describe_exit_codes

MEANINGS = {
    DONE: "done; for worker and dev: ended by SIGINT or SIGTERM",
    FAILED: "failed; for doctor: there is a problem",
    REFUSED: "bad usage or configuration, or a run, a step or a database that is not there: nothing was changed",
    INTERRUPTED: "interrupted by Ctrl-C; for worker: by the second one, which does not wait for steps in flight",
}

#: The end of a command's help.
EXIT_CODES = describe_exit_codes(MEANINGS)
