"""``pollux-sync COMMAND ...``: the command is found by its name and gets the rest of the line."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from pollux_sync._version import VERSION
from pollux_sync.cli.commands import listing, load_command
from pollux_sync.cli.exits import EXIT_CODES, REFUSED, finish
from pollux_sync.hooks.loading import STRICT_VARIABLE, is_strict

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRACEBACK = "--traceback"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: this process's arguments) names; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    ours, verbatim = _split(words, words.index("--") if "--" in words else len(words))
    shows_traceback = _TRACEBACK in ours or is_strict()
    words = [word for word in ours if word != _TRACEBACK] + verbatim
    return finish(lambda: _dispatch(words), shows_traceback=shows_traceback)


def _dispatch(words: list[str]) -> object:
    is_name = [not word.startswith("-") for word in words]
    flags, command = _split(words, is_name.index(True) if any(is_name) else len(words))
    parser = _parser()
    parser.parse_args(flags)
    if not command:
        parser.print_help(sys.stderr)
        return REFUSED
    return load_command(command[0])(command[1:])


def _split(words: list[str], at: int) -> tuple[list[str], list[str]]:
    return words[:at], words[at:]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="pollux-sync",
        usage="pollux-sync [-h] [--version] [--traceback] COMMAND ...",
        description="Ask large language models about text, files and media.",
        epilog=f"{_commands()}\n\n{EXIT_CODES}",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pollux-sync {VERSION}")
    parser.add_argument(
        _TRACEBACK,
        action="store_true",
        help=f"show where an error comes from; may stand anywhere before --, {STRICT_VARIABLE}=1 does the same",
    )
    return parser


def _commands() -> str:
    commands = listing()
    width = max((len(name) for name, _ in commands), default=0)
    lines = [f"  {name.ljust(width)}  {about}".rstrip() for name, about in commands]
    return "\n".join(["commands (COMMAND --help says more):", *(lines or ["  none is installed"])])
