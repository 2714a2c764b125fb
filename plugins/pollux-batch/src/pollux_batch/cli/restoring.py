"""The arguments of `run` -> what a journal keeps of them, and back."""

from __future__ import annotations

import hashlib
import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from pollux_batch.recording import Command
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_sync import Config

#: What each run is told anew, and the key, which is never kept.
_NOT_KEPT = frozenset({"command", "journal", "json", "quiet", "api_key"})
#: Arguments that name files; the first two are read.
_INPUTS, _PATHS = ("input", "schema"), ("input", "schema", "out")


def build_command(arguments: Namespace, config: Config) -> Command:
    """Return what the journal of a run keeps of its arguments.

    Paths are relative to the folder of the journal, so that they hold wherever the command is given. The provider and
    the model are kept as they were chosen, also where the environment named them.
    """
    given = {name: value for name, value in vars(arguments).items() if name not in _NOT_KEPT and _is_given(value)}
    folder = Path(arguments.journal).absolute().parent
    paths = {name: _relate(given[name], folder) for name in _PATHS if name in given}
    return Command(
        arguments={**given, **paths, "provider": config.provider, "model": config.model},
        digests={name: _hash_file(Path(given[name])) for name in _INPUTS if name in given},
    )


def _is_given(value: object) -> bool:
    # Zero is a value: `--temperature 0`.
    return value is not None and value is not False and value != ""


def restore_arguments(command: Command, journal: str, *, defaults: Namespace, may_differ: bool) -> Namespace:
    """Return the arguments of `run` that a journal has kept.

    Raises ConfigurationError for an argument that this release does not know, and for a file that is gone or has
    changed; ``may_differ`` allows another content of the input.
    """
    unknown = sorted(command.arguments.keys() - vars(defaults).keys())
    if unknown:
        raise ConfigurationError(
            f"the journal {journal!r} was begun with an argument {unknown[0]!r}, which this release does not know",
            hint="use the release that began it, or give the command `run` again",
        )
    folder = Path(journal).absolute().parent
    paths = {name: _locate(command.arguments[name], folder) for name in _PATHS if name in command.arguments}
    for name, digest in command.digests.items():
        _check_file(name, paths[name], digest, may_differ=may_differ and name == "input")
    return Namespace(**{**vars(defaults), **command.arguments, **paths, "journal": journal})


def _check_file(name: str, path: str, digest: str, *, may_differ: bool) -> None:
    if not Path(path).is_file():
        raise ConfigurationError(
            f"the {name} {path!r}, with which the journal was begun, is gone",
            hint="put it back, or give the command `run` with another path: what is answered is not paid for again",
        )
    if not may_differ and _hash_file(Path(path)) != digest:
        raise ConfigurationError(
            f"the {name} {path!r} has changed since the journal's last run",
            hint="pass --changed-input to ask what is new in it, or put the old content back"
            if name == "input"
            else "put the old content back, or give the command `run` again to ask by the new one",
        )


def _relate(path: str, folder: Path) -> str:
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # on another drive of Windows
        return str(Path(path).absolute())


def _locate(path: str, folder: Path) -> str:
    """Return a kept path from the working directory, as somebody would type it."""
    return _relate(str(folder / path), Path.cwd())


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r} cannot be read: {error.strerror}", hint="check its permissions"
        ) from error
