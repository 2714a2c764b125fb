"""The program ``pollux-sync``: it finds the command by name and passes it the rest of the arguments."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pollux_sync._version import VERSION
from pollux_sync.cli.codes import EXIT_CODES
from pollux_sync.cli.commands import list_commands, load_command
from pollux_sync.cli.exits import run_command
from pollux_sync.commands import REFUSED, CommandParser, escape_controls
from pollux_sync.hooks.loading import STRICT_VARIABLE, is_strict_mode

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRACEBACK = "--traceback"
#: ``help run`` is ``run --help``, unless an installed package has a command of that name.
HELP = "help"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names and return its exit code; ``argv`` is by default that of the process."""
    words = list(sys.argv[1:] if argv is None else argv)
    # After -- every word belongs to the command, even one that looks like our option.
    options, verbatim = _split(words, words.index("--") if "--" in words else len(words))
    show_traceback = _TRACEBACK in options or is_strict_mode()
    words = [word for word in options if word != _TRACEBACK] + verbatim
    return run_command(lambda: _dispatch(words), show_traceback=show_traceback)


def _dispatch(words: list[str]) -> object:
    is_name = [not word.startswith("-") for word in words]
    flags, command = _split(words, is_name.index(True) if any(is_name) else len(words))
    # Built only where it is needed: its help lists all commands.
    if flags or not command:
        parser = build_root_parser()
        parser.parse_args(flags)
        if not command:
            parser.print_help(sys.stderr)
            return REFUSED
    if command[0] == HELP and HELP not in [name for name, _ in list_commands()]:
        return _dispatch([*command[1:2], "--help"])
    return load_command(command[0])(command[1:])


def _split(words: list[str], position: int) -> tuple[list[str], list[str]]:
    return words[:position], words[position:]


def build_root_parser() -> CommandParser:
    """Return the parser of the words before the name of a command."""
    # argparse's subparsers would need the parser of every command, and so import them all.
    parser = CommandParser(
        prog="pollux-sync",
        usage="pollux-sync [-h] [--version] [--traceback] COMMAND ...",
        description="Ask large language models about text, files and media.",
        epilog=f"{_describe_commands()}\n\n{EXIT_CODES}",
    )
    parser.add_argument("--version", action="version", version=f"pollux-sync {VERSION}")
    parser.add_argument(
        _TRACEBACK,
        action="store_true",
        help=f"show where an error comes from; allowed anywhere before --. {STRICT_VARIABLE}=1 does the same",
    )
    return parser


def _describe_commands() -> str:
    commands = list_commands()
    width = max((len(name) for name, _ in commands), default=0)
    lines = [f"  {name.ljust(width)}  {about}".rstrip() for name, about in commands]
    listed = "\n".join(["commands (COMMAND --help shows its options):", *(lines or ["  no command is installed"])])
    return escape_controls(listed)  # the names are those of installed packages
