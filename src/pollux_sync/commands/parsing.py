"""The parser of a command, and the call of the subcommand that its arguments name."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from pollux_sync.commands.codes import REFUSED
from pollux_sync.commands.terminal import escape_line

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction
    from collections.abc import Callable, Mapping, Sequence

Main = TypeVar("Main", bound="Callable[..., object]")
#: The attribute of a command in which `declare_parser` keeps what builds its parser.
_BUILD_PARSER = "build_parser"
#: That of a terminal that does not tell it.
_USUAL_WIDTH = 80


class _HelpFormatter(RawDescriptionHelpFormatter):
    """Keeps the line ends of the texts.

    argparse makes a formatter for each argument, and asks shutil for the width, which is slow to import.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.setdefault("width", _find_width() - 2)
        super().__init__(*args, **settings)


def _find_width() -> int:
    """Return the columns of the terminal, as `shutil.get_terminal_size` finds them."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or _USUAL_WIDTH  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):  # no terminal
        return _USUAL_WIDTH


class CommandParser(ArgumentParser):
    """argparse's parser, and its keyword arguments.

    Unless they say otherwise, its help keeps the line ends of the texts, and options cannot be abbreviated. Its errors
    do not repeat control characters of the arguments.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", _HelpFormatter)
        # An abbreviation would break scripts on the day when a second option begins the same.
        settings.setdefault("allow_abbrev", False)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        """Exit with the usage and the message on stderr."""
        super().error(escape_line(message))

    def add_subcommand(self, name: str, about: str, *, epilog: str = "") -> Self:
        """Return the parser of a new subcommand. ``about`` is a line for the list of subcommands and for its help."""
        sentence = f"{about[0].upper()}{about[1:]}."
        return self._subcommands.add_parser(name, help=about, description=sentence, epilog=epilog)

    @cached_property
    def _subcommands(self) -> _SubParsersAction[Self]:
        return self.add_subparsers(dest="command", metavar="COMMAND")


def run_subcommand(
    parser: CommandParser, subcommands: Mapping[str, Callable[[Namespace], int]], argv: Sequence[str]
) -> int:
    """Call the subcommand that ``argv`` names with the parsed arguments; return its exit code.

    Without a name, show the help on stderr and return REFUSED. Raises what the subcommand raises, and SystemExit as
    argparse does.
    """
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return REFUSED
    return subcommands[arguments.command](arguments)


def declare_parser(build_parser: Callable[[], ArgumentParser]) -> Callable[[Main], Main]:
    """Decorate the ``main`` of a command with what builds its parser, so that shells can complete its arguments."""

    def declare(main: Main) -> Main:
        setattr(main, _BUILD_PARSER, build_parser)
        return main

    return declare


def read_parser(main: Callable[..., object]) -> ArgumentParser | None:
    """Return the parser that a command has declared, None if it has not."""
    build_parser: Callable[[], ArgumentParser] | None = getattr(main, _BUILD_PARSER, None)
    return None if build_parser is None else build_parser()
