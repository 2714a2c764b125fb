"""The installed commands: listed from the index without an import, loaded one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pollux_sync.errors import PluginLoadError
from pollux_sync.hooks.loading import entry_points, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_sync.hooks.loading import EntryPoint

    Command = Callable[[Sequence[str]], object]

COMMANDS: Final = "pollux_sync.commands"

_OURS = "pollux-sync"
_ABOUT = {
    "run": "ask questions about files, URLs, papers, videos or piped text",
    "defer": "ask for answers within a day, at half the price; a job file stands for them",
    "status": "how far deferred jobs are",
    "wait": "wait until deferred jobs have ended",
    "collect": "print the answers of a deferred job",
    "cancel": "ask for a deferred job to be cancelled",
    "models": "list the models that may be asked at a provider",
    "plugins": "list what is installed, and whether it loads",
    "doctor": "look for what is missing or broken in this installation",
}


def listing() -> list[tuple[str, str]]:
    """Every command as it is called, and a line about it."""
    entries = entry_points(COMMANDS)
    return [(_called(entry, entries), _about(entry)) for entry in entries]


def load_command(wanted: str) -> Command:
    """The command called ``wanted``; of several of one name, the built-in one. Raises PluginLoadError."""
    is_built_in = any((entry.name, entry.distribution) == (wanted, _OURS) for entry in entry_points(COMMANDS))
    return checked_command(f"{_OURS}:{wanted}" if is_built_in else wanted)


def checked_command(wanted: str) -> Command:
    """The command that ``wanted`` (``name`` or ``distribution:name``) means. Raises PluginLoadError."""
    loaded = load(COMMANDS, wanted)
    command: Any = loaded.plugin
    if not callable(command):
        raise PluginLoadError(
            f"command {loaded.name!r} of {loaded.origin} is a {type(command).__name__}, not a function",
            hint="report this to its author: the entry point must name main(argv) -> int",
            name=loaded.name,
            distribution=loaded.distribution,
            version=loaded.version,
        )
    return command  # type: ignore[no-any-return]


def _called(entry: EntryPoint, entries: Sequence[EntryPoint]) -> str:
    """The entry's name, or ``distribution:name`` where the name alone means another one or none."""
    is_alone = [other.name for other in entries].count(entry.name) == 1
    return entry.name if is_alone or entry.distribution == _OURS else f"{entry.distribution}:{entry.name}"


def _about(entry: EntryPoint) -> str:
    return _ABOUT.get(entry.name, "") if entry.distribution == _OURS else f"from {entry.origin}"
