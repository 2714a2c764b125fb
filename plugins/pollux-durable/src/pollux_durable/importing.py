"""Imports the module of a worker: a dotted name, or the path of a file."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_SUFFIX = ".py"


def import_workflows(name: str) -> None:
    """Import a module, with the current directory or the folder of the file in the path.

    Raises ConfigurationError for one that is not there, or fails.
    """
    path = Path(name)
    try:
        if name.endswith(_SUFFIX):
            _add_to_path(path.resolve().parent)
            _import_file(path)
        else:
            _add_to_path(Path.cwd())
            importlib.import_module(name)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"the module {name!r} cannot be imported: {type(error).__name__}: {error}",
            hint="pass the name of a module, as in `import app.flows`, or the path of a .py file",
        ) from error


def find_source_folder(name: str) -> Path:
    """Return the folder with the sources of a module and of its neighbours.

    Raises ConfigurationError for a module that is not there.
    """
    if name.endswith(_SUFFIX):
        return _check_file(Path(name)).resolve().parent
    _add_to_path(Path.cwd())
    spec = _find_top(name)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            f"there is no module {name!r} with sources", hint="pass the name of a module, or the path of a .py file"
        )
    return Path(spec.origin).resolve().parent


def _find_top(name: str) -> ModuleSpec | None:
    # Only the top of a dotted name: to find what is below would import it.
    try:
        return find_spec(name.partition(".")[0])
    except ValueError:
        return None


def _add_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _check_file(path: Path) -> Path:
    if not path.is_file():
        raise ConfigurationError(f"there is no file {str(path)!r}", hint="pass the path of a .py file")
    return path


def _import_file(path: Path) -> None:
    spec = spec_from_file_location(path.stem, _check_file(path))
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"the file {str(path)!r} is no module", hint="pass the path of a .py file")
    module = module_from_spec(spec)
    # Before it runs, as `import` does: typed payloads look their annotations up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
