"""The process of a reader: a task and a document on its standard input, the converted parts on its standard output.

It runs apart because readers can hang, crash, or take all memory: libraries of C parse what strangers wrote.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from pollux_convert.kinds import get_kind
from pollux_convert.markdown import join_blocks
from pollux_convert.recognizing import check_content
from pollux_convert.tasks import ReadError, dump_error, dump_parts, load_task

if TYPE_CHECKING:
    from pollux_convert.tasks import Part, Task

_SAVE_AGAIN = "open it in its program, and save it again"


def read_document(data: bytes, task: Task) -> list[Part]:
    """Return the parts of a converted document, in order. Raises ReadError."""
    try:
        check_content(data, task.kind)
        reader = import_module(f"pollux_convert.readers.{task.kind}")
        parts = join_blocks(reader.iter_blocks(data, task), task)
    except MemoryError:
        raise ReadError(
            f"it takes more than {task.max_memory_bytes / 1e6:,.0f} MB of memory",
            hint="pass a part of it, or raise Convert(max_memory_bytes=...)",
        ) from None
    except RecursionError:
        raise ReadError("its parts are nested too deeply", hint=_SAVE_AGAIN) from None
    except ReadError:
        raise
    except Exception as error:
        title = get_kind(task.kind).title
        raise ReadError(f"it is a damaged {title}: {type(error).__name__}: {error}", hint=_SAVE_AGAIN) from error
    if not parts:
        raise ReadError("it has no text", hint="leave it out, or pass its pages as pictures")
    return parts


def limit_memory(n_bytes: int) -> None:
    """Limit the memory of this process, where the system can."""
    with contextlib.suppress(ImportError):  # of Windows
        import resource

        with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
            resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def main() -> None:
    """Read the one document of this process."""
    # What a library prints must not end up in the answer.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    task, data = load_task(sys.stdin.buffer.read())
    limit_memory(task.max_memory_bytes)
    try:
        answer = dump_parts(read_document(data, task))
    except ReadError as error:
        answer = dump_error(error)
    with output:
        output.write(answer)


if __name__ == "__main__":
    main()
