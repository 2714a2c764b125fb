"""The words that a command line can continue with, by the parsers of the commands."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser
from typing import TYPE_CHECKING, NamedTuple

from pollux_sync.cli import templating
from pollux_sync.cli.commands import list_commands, load_command
from pollux_sync.cli.conversations import list_conversations
from pollux_sync.cli.dispatching import HELP, build_root_parser
from pollux_sync.commands import read_parser
from pollux_sync.hooks.loading import MIDDLEWARE, PROVIDERS, list_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

#: The names that an argument takes, by its ``dest``.
_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "provider": lambda: list_names(PROVIDERS),
    "plugins": lambda: list_names(MIDDLEWARE),
    "template": templating.list_names,
    "conversation": list_conversations,
}


class Candidate(NamedTuple):
    """A word, and a line about it."""

    word: str
    about: str = ""


def list_candidates(words: Sequence[str]) -> list[Candidate]:
    """Return the words that begin as the last of ``words`` does; these follow the program's name.

    The list is empty for a word that is not a known name, such as that of a file. Imports the command that is named,
    and raises what that raises.
    """
    *before, current = words or [""]
    return [candidate for candidate in _list_all(before, current) if candidate.word.startswith(current)]


def _list_all(before: Sequence[str], current: str) -> Iterable[Candidate]:
    is_name = [not word.startswith("-") for word in before]
    if not any(is_name):
        return _list_options(build_root_parser()) if current.startswith("-") else _list_commands()
    position = is_name.index(True)
    if before[position] == HELP:
        return _list_commands()
    parser = read_parser(load_command(before[position]))
    return [] if parser is None else _list_arguments(parser, before[position + 1 :], current)


def _list_commands() -> list[Candidate]:
    commands = [Candidate(*command) for command in list_commands()]
    return [*commands, Candidate(HELP, "show the help of a command")]


def _list_arguments(parser: ArgumentParser, before: Sequence[str], current: str) -> Iterable[Candidate]:
    parser = _find_subparser(parser, before)
    option = parser._option_string_actions.get(before[-1]) if before else None  # noqa: SLF001 - argparse has no way to ask
    if "--" in before:  # what follows is verbatim
        return []
    if option is not None and option.nargs != 0:
        return _list_values(option)
    if current.startswith("-"):
        name, equals, _ = current.partition("=")
        return _list_assignments(parser, name) if equals else _list_options(parser)
    return [value for action in parser._get_positional_actions() for value in _list_values(action)]  # noqa: SLF001


def _find_subparser(parser: ArgumentParser, words: Sequence[str]) -> ArgumentParser:
    """Return the parser of the subcommand that the words name, or the parser itself."""
    for position, word in enumerate(words):
        for action in parser._get_positional_actions():  # noqa: SLF001
            if isinstance(action.choices, dict) and word in action.choices:
                return _find_subparser(action.choices[word], words[position + 1 :])
    return parser


def _list_options(parser: ArgumentParser) -> Iterator[Candidate]:
    for action in parser._actions:  # noqa: SLF001
        if action.help != SUPPRESS:
            yield from (Candidate(name, action.help or "") for name in action.option_strings)


def _list_assignments(parser: ArgumentParser, name: str) -> list[Candidate]:
    action = parser._option_string_actions.get(name)  # noqa: SLF001
    return [] if action is None else [Candidate(f"{name}={value.word}") for value in _list_values(action)]


def _list_values(action: Action) -> list[Candidate]:
    names = _NAMES[action.dest]() if action.dest in _NAMES else action.choices or ()
    # Only an action with subcommands knows lines about its choices.
    lines = {choice.dest: choice.help or "" for choice in getattr(action, "_choices_actions", ())}
    return [Candidate(str(name), lines.get(name, "")) for name in names]
