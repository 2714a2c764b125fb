"""The end of a command: its exit code, and the report of an error."""

from __future__ import annotations

import signal
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pollux_sync.cli.terminal import discard_output
from pollux_sync.commands import (
    DONE,
    FAILED,
    INTERRUPTED,
    PENDING,
    READER_GONE,
    REFUSED,
    flush_output,
    write_error,
    write_remark,
)
from pollux_sync.errors import (
    ConfigurationError,
    DeferredNotReadyError,
    PlanningError,
    PolluxError,
    SourceError,
    Terminated,
)
from pollux_sync.signals import exit_on_sigterm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def run_command(work: Callable[[], object], *, show_traceback: bool) -> int:
    """Call ``work`` and return its exit code. Report what it raises on stderr; flush stdout.

    SIGTERM ends ``work`` as Ctrl-C does.
    """
    try:
        with _handle_sigterm():
            code = _run_work(work, show_traceback=show_traceback)
        flush_output()
    except BrokenPipeError:
        code = READER_GONE
    except OSError as error:
        write_error(f"error: cannot write the output: {error}")
        code = FAILED
    else:
        return code
    discard_output()
    return code


@contextmanager
def _handle_sigterm() -> Iterator[None]:
    """Exit on SIGTERM inside the block, where that is possible. Afterwards the handlers are those from before."""
    # `main` may be called by another program, which keeps its own handlers, and in a thread, which can have none.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    exit_on_sigterm()
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set from Python cannot be set again, and was left alone
                signal.signal(number, handler)


def _run_work(work: Callable[[], object], *, show_traceback: bool) -> int:
    try:
        return _read_exit_code(work())
    except BrokenPipeError:  # it is about stdout: `run_command` answers it
        raise
    except Terminated as stop:
        write_remark("terminated")
        return _read_exit_code(stop.code)
    except SystemExit as leaving:  # argparse leaves so, after --help and on bad usage
        return _read_exit_code(leaving.code)
    except KeyboardInterrupt:
        write_remark("interrupted")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nothing is above this, and a command may raise anything
        write_error(_format_traceback(error) if show_traceback else _describe_error(error))
        return _choose_exit_code(error)


def _read_exit_code(result: object) -> int:
    # The rules of `sys.exit`: None is success, a text is printed and is a failure.
    if isinstance(result, int):
        return int(result)
    if result is not None:
        write_error(str(result))
    return DONE if result is None else FAILED


def _choose_exit_code(error: Exception) -> int:
    if isinstance(error, DeferredNotReadyError):
        return PENDING
    # REFUSED promises that nothing was sent. A bad source can be found only after other prompts were answered.
    was_sent = getattr(error, "partial_result", None) is not None
    is_usage_error = isinstance(error, ConfigurationError | SourceError | PlanningError)
    return REFUSED if is_usage_error and not was_sent else FAILED


def _describe_error(error: Exception) -> str:
    if isinstance(error, PolluxError):
        return format_error(error.message, error.hint)
    return f"error: {type(error).__name__}: {error}\n  hint: add --traceback to see where it fails"


def format_error(message: str, hint: str | None) -> str:
    """Return the lines that show an error and its hint."""
    # Imported here: no command that goes well pays for it.
    from pollux_sync.cli.hints import translate_hint

    return f"error: {message}\n  hint: {translate_hint(hint)}" if hint else f"error: {message}"


def _format_traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
