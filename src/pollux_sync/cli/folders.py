"""The folders of the user in which this program keeps files, and the names of these files."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pollux_sync.errors import ConfigurationError

_PROGRAM = "pollux-sync"
#: No separator and no dot at the beginning: a name must not lead out of its folder.
_NAME = re.compile(r"\w[\w.-]{0,99}")


def locate_state_folder() -> Path:
    """Return the folder for files that the program keeps between its runs. It may not exist."""
    return _locate("XDG_STATE_HOME", ".local/state", "LOCALAPPDATA")


def locate_settings_folder() -> Path:
    """Return the folder for files that the user writes for the program. It may not exist."""
    return _locate("XDG_CONFIG_HOME", ".config", "APPDATA")


def check_name(kind: str, name: str) -> str:
    """Return ``name`` if it can be the name of a file. Raises ConfigurationError."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a {kind}", hint="use letters, digits, dots, dashes and underscores"
        )
    return name


def _locate(variable: str, default: str, windows_variable: str) -> Path:
    chosen = os.environ.get(variable, "")
    # The specification of these variables has programs ignore a relative path.
    if Path(chosen).is_absolute():
        return Path(chosen, _PROGRAM)
    of_windows = os.environ.get(windows_variable) if os.name == "nt" else None
    return Path(of_windows or Path.home() / default, _PROGRAM)
