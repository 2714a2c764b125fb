"""Settings from outside the script: environment variables, a ``.env`` file, a ``pyproject.toml``."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pollux_sync.data.checks import check_keys
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS_VARIABLE = "POLLUX_SYNC_PLUGINS"


def read_variable(name: str) -> str | None:
    """Return a variable's value from the environment, else from the nearest ``.env``; None if unset or blank.

    The ``.env`` file is searched for from the working directory upwards. Only this one variable is read.
    """
    # os.environ stays unchanged, so that child processes and other libraries do not inherit what the file holds.
    return (os.environ.get(name) or "").strip() or _read_dotenv(name)


def read_enabled_plugins() -> tuple[str, ...]:
    """Return the names of middleware in POLLUX_SYNC_PLUGINS, else in ``[tool.pollux-sync] plugins``."""
    # A variable that is set but empty switches off what the project lists.
    listed = os.environ.get(PLUGINS_VARIABLE)
    if listed is not None:
        return tuple(name.strip() for name in listed.split(",") if name.strip())
    file = _find_nearest("pyproject.toml")
    return () if file is None else _parse_plugins(_read_text(file), file)


# Parsing takes milliseconds, and every Config would do it. The content is part of the key: the file may change.
@lru_cache(maxsize=8)
def _parse_plugins(content: str, file: Path) -> tuple[str, ...]:
    """Return the names that the content of a ``pyproject.toml`` lists."""
    # Most projects do not mention us, and need neither the parser nor valid TOML.
    if "pollux-sync" not in content:
        return ()
    import tomllib

    hint = 'write [tool.pollux-sync] and plugins = ["name", ...]'
    try:
        table = tomllib.loads(content).get("tool", {}).get("pollux-sync", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file} is not valid TOML: {error}", hint=hint) from error
    if isinstance(table, dict):
        check_keys(f"[tool.pollux-sync] in {file}", table, {"plugins"}, hint=hint)
    names = table.get("plugins", []) if isinstance(table, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"plugins in {file} must be a list of names", hint=hint)
    return tuple(names)


def _read_dotenv(name: str) -> str | None:
    file = _find_nearest(".env")
    latest = None
    for line in _read_text(file).splitlines() if file else ():
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and key.strip() == name:
            # As in a shell, the last line wins.
            latest = _unquote(value.strip()) or None
    return latest


def _unquote(value: str) -> str:
    if value[:1] in {"'", '"'} and value[0] in value[1:]:
        return value[1 : value.index(value[0], 1)]
    # Only a # after white space begins a comment: keys may contain one.
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()


def _find_nearest(name: str) -> Path | None:
    # A folder of that name is no settings file, and the search goes on above it.
    return next((folder / name for folder in _iter_folders() if _is_file(folder / name)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be searched
        return False


def _iter_folders() -> Iterator[Path]:
    try:
        here = Path.cwd()
    except OSError:  # the working directory is gone
        return
    yield here
    yield from here.parents


def _read_text(file: Path) -> str:
    # Editors on Windows write a byte order mark. An unreadable file counts as empty: it may not be meant for us.
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""
