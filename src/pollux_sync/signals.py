"""SIGTERM as a stop like Ctrl-C."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from pollux_sync.errors import ConfigurationError, Terminated

if TYPE_CHECKING:
    from types import FrameType

#: The status by which shells report a process that SIGTERM has ended: 128 + 15.
SIGTERM_STATUS = 128 + signal.SIGTERM


def exit_on_sigterm(*, replace: bool = False) -> bool:
    """Let SIGTERM end this process as Ctrl-C does: it raises `Terminated`, a SystemExit, in the main thread.

    Service managers and ``kill`` send SIGTERM, which by default leaves no time for anything. With this handler a call
    raises with the answers so far, uploaded files are deleted, exit handlers run, and the exit status is 143. A second
    SIGTERM or Ctrl-C then ends the process at once.

    Return whether SIGTERM is handled so from now on. A handler that the process has set for SIGTERM itself stays, and
    so does SIGTERM that was ignored from the start, unless ``replace`` is True. Raises ConfigurationError outside of
    the main thread, which alone may set signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError(
            "exit_on_sigterm was called outside of the main thread", hint="call it once, where the script begins"
        )
    if replace or signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, _exit):
        signal.signal(signal.SIGTERM, _exit)
        return True
    return False


def _exit(_number: int, _frame: FrameType | None) -> None:
    # Whoever sends a second signal does not want to wait for the clean-up.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise Terminated(SIGTERM_STATUS)
