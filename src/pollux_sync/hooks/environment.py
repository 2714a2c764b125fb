"""Settings from outside the script: environment variables, a ``.env`` file, a ``pyproject.toml``."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pollux_sync.data.checks import check_keys
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS_VARIABLE = "POLLUX_SYNC_PLUGINS"
_TABLE_HINT = 'write [tool.pollux-sync] and plugins = ["name", ...]'


def read_variable(name: str) -> str | None:
    """Return a variable's value from the environment, else from the nearest ``.env``; None if unset or blank.

    The ``.env`` file is searched for from the working directory upwards. Only this one variable is read.
    """
    # os.environ stays unchanged, so that child processes and other libraries do not inherit what the file holds.
    return (os.environ.get(name) or "").strip() or _read_dotenv(name)


def read_number(name: str) -> float | None:
    """Return a variable's value as a number, None if it is not set. Raises ConfigurationError for another text."""
    text = read_variable(name)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(
            f"{name} is not a number: {text!r}", hint=f"set {name} to a number, or unset it"
        ) from None


def read_enabled_plugins() -> tuple[str, ...]:
    """Return the names of middleware in POLLUX_SYNC_PLUGINS, else in ``[tool.pollux-sync] plugins``."""
    # A variable that is set but empty switches off what the project lists.
    listed = os.environ.get(PLUGINS_VARIABLE)
    if listed is not None:
        return tuple(name.strip() for name in listed.split(",") if name.strip())
    file = _find_nearest("pyproject.toml")
    return () if file is None else _parse_plugins(_read_project(file), file)


def _read_project(file: str) -> bytes:
    try:
        return _read_bytes(file)
    except OSError as error:
        # It may enable middleware that must not be missed, such as one that removes names from prompts.
        raise ConfigurationError(
            f"{file} cannot be read, and may list plugins: {error.strerror}",
            hint=f"correct its permissions, or set {PLUGINS_VARIABLE}, which may be empty",
        ) from error


# Parsing takes milliseconds, and every Config would do it. The content is part of the key: the file may change.
@lru_cache(maxsize=8)
def _parse_plugins(content: bytes, file: str) -> tuple[str, ...]:
    """Return the names that the content of a ``pyproject.toml`` lists."""
    # Most projects do not mention us, and need neither the parser nor valid TOML.
    if not re.search(rb"pollux[-_]sync", content):
        return ()
    import tomllib

    try:
        # Editors on Windows write a byte order mark.
        tools: Any = tomllib.loads(content.decode("utf-8-sig")).get("tool", {})
    except (ValueError, RecursionError) as error:  # neither TOML nor UTF-8
        raise ConfigurationError(f"{file} is not valid TOML: {error}", hint=_TABLE_HINT) from error
    table: Any = tools.get("pollux-sync", {}) if isinstance(tools, dict) else None
    if isinstance(tools, dict) and "pollux_sync" in tools:
        raise ConfigurationError(f"{file} has a table tool.pollux_sync", hint=_TABLE_HINT)
    fields = table if isinstance(table, dict) else {"plugins": None}
    check_keys(f"[tool.pollux-sync] in {file}", fields, {"plugins"}, hint=_TABLE_HINT)
    names = fields.get("plugins", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"plugins in {file} must be a list of names", hint=_TABLE_HINT)
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


# Paths as texts here: pathlib is slow to import, and many scripts have no other use for it.


def _find_nearest(name: str) -> str | None:
    files = (os.path.join(folder, name) for folder in _iter_folders())  # noqa: PTH118
    # A folder of that name is no settings file, and the search goes on above it.
    return next(filter(os.path.isfile, files), None)


def _iter_folders() -> Iterator[str]:
    try:
        folder, above = "", os.getcwd()  # noqa: PTH109
    except OSError:  # the working directory is gone
        return
    while above != folder:
        folder, above = above, os.path.dirname(above)  # noqa: PTH120
        yield folder


def _read_text(file: str) -> str:
    # Editors on Windows write a byte order mark. An unreadable file counts as empty: it may not be meant for us.
    try:
        return _read_bytes(file).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""


def _read_bytes(file: str) -> bytes:
    with open(file, "rb") as opened:  # noqa: PTH123
        return opened.read()
