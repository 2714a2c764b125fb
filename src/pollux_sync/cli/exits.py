"""How a command ends: its exit code, and what is said about an error."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from pollux_sync.cli.terminal import abandon_output, flush, say
from pollux_sync.errors import ConfigurationError, DeferredNotReadyError, PlanningError, PolluxError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

DONE = 0
FAILED = 1
REFUSED = 2
PENDING = 3
INTERRUPTED = 130
READER_GONE = 141

EXIT_CODES = """\
exit codes:
  0    done; for run: every prompt was answered
  1    failed; for run: some or all prompts have no answer, or one that does not fit --schema
  2    bad usage or configuration: nothing was sent
  3    for deferred jobs: not ended yet
  130  interrupted by Ctrl-C; the answers so far are printed
  141  whoever read the output went away"""


def finish(work: Callable[[], object], *, shows_traceback: bool) -> int:
    """The exit code of ``work``; what it raises is said on stderr, what it wrote has left stdout."""
    try:
        code = _code_of_work(work, shows_traceback=shows_traceback)
        flush()
    except BrokenPipeError:
        code = READER_GONE
    except OSError as error:
        say(f"error: cannot write the output: {error}")
        code = FAILED
    else:
        return code
    abandon_output()
    return code


def _code_of_work(work: Callable[[], object], *, shows_traceback: bool) -> int:
    try:
        return _exit_code(work())
    except BrokenPipeError:
        raise
    except SystemExit as leaving:
        return _exit_code(leaving.code)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the end of the line: a command may raise anything
        say(_traceback(error) if shows_traceback else _message(error))
        return _code_of_error(error)


def _exit_code(result: object) -> int:
    """As `sys.exit` reads it: None is success, a text is said and is a failure."""
    if isinstance(result, int):
        return int(result)
    if result is not None:
        say(str(result))
    return DONE if result is None else FAILED


def _code_of_error(error: Exception) -> int:
    if isinstance(error, DeferredNotReadyError):
        return PENDING
    was_sent = getattr(error, "partial_result", None) is not None
    is_refusal = isinstance(error, ConfigurationError | SourceError | PlanningError)
    return REFUSED if is_refusal and not was_sent else FAILED


def _message(error: Exception) -> str:
    if isinstance(error, PolluxError):
        return f"error: {error}"
    return f"error: {type(error).__name__}: {error}\n  hint: --traceback shows where it fails"


def _traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
