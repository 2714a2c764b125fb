"""The installed commands: listed from package metadata without an import, loaded one at a time."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import TYPE_CHECKING, Any

from pollux_sync.commands import CommandParser
from pollux_sync.errors import PluginLoadError
from pollux_sync.hooks.loading import COMMANDS, list_entry_points, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_sync.hooks.loading import EntryPoint

    Command = Callable[[Sequence[str]], object]

_CORE = "pollux-sync"

#: One line about each built-in command, for the list of commands and for its own help. They are not in the modules of
#: the commands, because the list must not import these.
DESCRIPTIONS = {
    "run": "ask questions about files, URLs, papers, videos or piped text",
    "chat": "hold a conversation in the terminal, with answers as they arrive",
    "defer": "submit questions for answers within a day, usually at half the price",
    "status": "show the progress of deferred jobs",
    "wait": "wait until deferred jobs have ended",
    "collect": "print the answers of a deferred job that has ended",
    "cancel": "ask the provider to cancel a deferred job",
    "templates": "list, show and edit the prompts of `run -t`",
    "models": "list the models that a provider offers to your account",
    "completion": "print the script by which bash, zsh or fish completes the words of this program",
    "plugins": "list the installed plugins and commands, and whether they load",
    "doctor": "look for what is missing or broken in this installation",
    "new-provider": "write a package with a provider to begin from",
    "new-middleware": "write a package with middleware to begin from",
}


class BuiltInParser(CommandParser):
    """The parser of a built-in command, which can be asked for its options."""

    def list_flags(self) -> dict[str, tuple[str, bool]]:
        """Return for each field that an option sets the option's long name, and whether it takes a value."""
        shown = (action for action in self._actions if action.option_strings and action.help != SUPPRESS)
        return {action.dest: (action.option_strings[-1], action.nargs != 0) for action in shown}

    def takes_value(self, word: str) -> bool:
        """Return whether ``word`` is an option whose value is the next word."""
        action = self._option_string_actions.get(word)
        return action is not None and action.nargs != 0


def build_parser(name: str, usage: str | None = None, *, details: str = "", epilog: str = "") -> BuiltInParser:
    """Return a parser for the built-in command ``name``, without its arguments.

    Its description is the line of `DESCRIPTIONS`, then ``details``.
    """
    line = DESCRIPTIONS[name]
    return BuiltInParser(
        prog=f"{_CORE} {name}",
        usage=usage and f"{_CORE} {name} {usage}",
        description=f"{line[0].upper()}{line[1:]}. {details}".rstrip(),
        epilog=epilog,
    )


def list_commands() -> list[tuple[str, str]]:
    """Return the name by which each command is called, with a line about it."""
    entries = list_entry_points(COMMANDS)
    return [(_choose_name(entry, entries), _describe_entry(entry)) for entry in entries]


def load_command(name: str) -> Command:
    """Return the command ``name``; a built-in one takes precedence. Raises PluginLoadError."""
    # Otherwise an installed package could replace `run`, or disable it by offering a second command of that name.
    is_built_in = any((entry.name, entry.distribution) == (name, _CORE) for entry in list_entry_points(COMMANDS))
    return load_exact_command(f"{_CORE}:{name}" if is_built_in else name)


def load_exact_command(name: str) -> Command:
    """Return the command ``name`` or ``distribution:name``. Raises PluginLoadError, also when several offer it."""
    loaded = load(COMMANDS, name)
    command: Any = loaded.plugin
    if not callable(command):
        raise PluginLoadError(
            f"command {loaded.name!r} of {loaded.origin} is a {type(command).__name__}, not a function",
            hint="report this to its author: the entry point must name a function main(argv) -> int",
            name=loaded.name,
            distribution=loaded.distribution,
            version=loaded.version,
        )
    return command  # type: ignore[no-any-return]


def _choose_name(entry: EntryPoint, entries: Sequence[EntryPoint]) -> str:
    """Return the entry's name, or ``distribution:name`` where the name alone is ambiguous or built in."""
    is_unique = [other.name for other in entries].count(entry.name) == 1
    return entry.name if is_unique or entry.distribution == _CORE else f"{entry.distribution}:{entry.name}"


def _describe_entry(entry: EntryPoint) -> str:
    return DESCRIPTIONS.get(entry.name, "") if entry.distribution == _CORE else f"from {entry.origin}"
