"""A toolbox for subcommands: a parser, exit codes, and lines, tables and JSON on the standard streams.

A command is an entry point of the group of the same name, ``pollux_sync.commands``: a callable ``main(argv) -> int``.
The program ``pollux-sync`` calls it, reports what it raises, and exits with what it returns.
"""

from __future__ import annotations

from pollux_sync._lazy import build_getattr
from pollux_sync.commands.codes import (
    DONE,
    FAILED,
    INTERRUPTED,
    PENDING,
    READER_GONE,
    REFUSED,
    describe_exit_codes,
)
from pollux_sync.commands.parsing import CommandParser, declare_parser, read_parser, run_subcommand
from pollux_sync.commands.terminal import (
    escape_controls,
    escape_line,
    flush_output,
    write_error,
    write_json,
    write_line,
    write_remark,
    write_table,
    write_text,
)

TYPE_CHECKING = False  # as in typing, whose import would cost more than everything here
if TYPE_CHECKING:
    from pollux_sync.showing import StatusLine

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "PENDING",
    "READER_GONE",
    "REFUSED",
    "CommandParser",
    "StatusLine",
    "declare_parser",
    "describe_exit_codes",
    "escape_controls",
    "escape_line",
    "flush_output",
    "read_parser",
    "run_subcommand",
    "write_error",
    "write_json",
    "write_line",
    "write_remark",
    "write_table",
    "write_text",
]

__getattr__ = build_getattr(__name__, {"showing": ("StatusLine",)})
