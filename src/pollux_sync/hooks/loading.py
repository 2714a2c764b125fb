"""Finding plugins: entry points indexed once, loaded one at a time, each failure its own."""

from __future__ import annotations

import difflib
import os
import re
import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_sync.errors import PluginLoadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zipfile import Path as ZipPath

Group = Literal["pollux_sync.providers", "pollux_sync.plugins", "pollux_sync.commands"]

PROVIDERS: Group = "pollux_sync.providers"
MIDDLEWARE: Group = "pollux_sync.plugins"
COMMANDS: Group = "pollux_sync.commands"

#: Set to 1, plugins' exceptions are raised as they are: for plugin authors.
STRICT_VARIABLE = "POLLUX_SYNC_STRICT_PLUGINS"

_KINDS = {PROVIDERS: "provider", MIDDLEWARE: "plugin", "pollux_sync.commands": "command"}


#: How the folders end that installers write beside a package.
_METADATA = (".dist-info", ".egg-info")


@attrs.frozen(kw_only=True)
class EntryPoint:
    """One line of an installed distribution's entry points: nothing of it is imported yet."""

    group: str
    name: str
    value: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """Which installed distribution it comes from."""
        return f"{self.distribution} {self.version}".rstrip()


@attrs.frozen(eq=False)
class Loaded:
    """A plugin object and where it comes from; the same one only if it is the same object."""

    plugin: Any
    name: str
    distribution: str | None = None
    version: str | None = None

    @property
    def origin(self) -> str:
        """Which distribution it comes from, or its type when it was passed as an object."""
        return f"{self.distribution} {self.version}" if self.distribution else f"object {type(self.plugin).__name__}"


def is_strict() -> bool:
    """Whether plugins' exceptions are to be raised as they are."""
    return os.environ.get(STRICT_VARIABLE) == "1"


def entry_points(group: Group) -> tuple[EntryPoint, ...]:
    """The group's entry points over all installed distributions, by name; shadowed installs are left out."""
    found = [entry for entry in _index(tuple(sys.path)) if entry.group == group]
    return tuple(sorted(found, key=lambda entry: (entry.name, entry.distribution)))


def known_names(group: Group) -> list[str]:
    """The names that the group offers, each once."""
    return sorted({entry.name for entry in entry_points(group)})


def load(group: Group, wanted: str) -> Loaded:
    """The plugin called ``wanted`` (``name``, or ``distribution:name`` to pick one of several).

    Raises PluginLoadError when it is not installed, ambiguous or broken.
    """
    return _load_entry(find(group, wanted))


def find(group: Group, wanted: str) -> EntryPoint:
    """The one entry point that ``wanted`` names; nothing is imported. Raises PluginLoadError."""
    distribution, _, name = wanted.rpartition(":")
    found = _offering(group, distribution, name)
    if not found:  # it may have been installed since: think of a notebook
        _index.cache_clear()
        found = _offering(group, distribution, name)
    if not found:
        raise _unknown(group, wanted)
    if len(found) > 1:
        origins = " and ".join(entry.origin for entry in found)
        choices = " or ".join(f"'{entry.distribution}:{name}'" for entry in found)
        raise PluginLoadError(
            f"{_KINDS[group]} {name!r} is offered by {origins}",
            hint=f"ask for {choices}, or uninstall one",
            name=name,
        )
    return found[0]


def _offering(group: Group, distribution: str, name: str) -> list[EntryPoint]:
    accepted = _normalised(distribution)
    return [entry for entry in entry_points(group) if entry.name == name and accepted in {"", entry.distribution}]


def _unknown(group: Group, wanted: str) -> PluginLoadError:
    kind, known = _KINDS[group], known_names(group)
    name = wanted.rpartition(":")[2]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    package = name if name.startswith("pollux-") else f"pollux-{name}"
    hint = f"did you mean {near[0]!r}? Otherwise " if near else f"pip install {package}, or "
    hint += f"pick one of: {', '.join(known) or 'none is installed'}"
    return PluginLoadError(f"no installed {kind} is called {wanted!r}", hint=hint, name=wanted)


@lru_cache(maxsize=256)
def _load_entry(entry: EntryPoint) -> Loaded:
    try:
        module, _, attribute = entry.value.partition(":")
        plugin: Any = import_module(module.strip())
        for part in filter(None, attribute.strip().split(".")):
            plugin = getattr(plugin, part)
        plugin = plugin() if isinstance(plugin, type) else plugin
    except (Exception, SystemExit) as error:
        if is_strict():
            raise
        raise PluginLoadError(
            f"plugin {entry.name!r} of {entry.origin} cannot be loaded: {type(error).__name__}: {error}",
            hint=f"upgrade or uninstall {entry.distribution}; {STRICT_VARIABLE}=1 shows where it fails",
            name=entry.name,
            distribution=entry.distribution,
            version=entry.version,
        ) from error
    return Loaded(plugin, entry.name, entry.distribution, entry.version)


@lru_cache(maxsize=8)
def _index(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """All entry points of ours below ``path``.

    importlib.metadata parses every distribution's metadata and takes twice as long with its import; the
    files wanted here are few and simple. An entry of the path may also be a zip, which a zipapp puts there.
    """
    entries: list[EntryPoint] = []
    seen: set[str] = set()
    for folder in path:
        for info in _metadata_folders(folder or "."):
            distribution, _, version = info.stem.partition("-")
            distribution = _normalised(distribution)
            if distribution not in seen:
                seen.add(distribution)
                entries += _entries(info, distribution, version.partition("-")[0])
    return tuple(entries)


def _normalised(distribution: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _metadata_folders(folder: str) -> Iterator[Path | ZipPath]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - 3 times as fast, and every script pays for it
    except NotADirectoryError:
        yield from _zipped_metadata_folders(folder)
        return
    except OSError:
        return
    for name in sorted(names):
        if name.endswith(_METADATA):
            yield Path(folder, name)


def _zipped_metadata_folders(file: str) -> Iterator[ZipPath]:
    """Yield the metadata folders at the top of a zip; the zip is open until the next one is asked for."""
    from zipfile import BadZipFile, Path, ZipFile  # slow to import, and seldom needed

    try:
        archive = ZipFile(file)
    except (OSError, BadZipFile):
        return
    with archive:
        folders = [entry for entry in Path(archive).iterdir() if entry.name.endswith(_METADATA)]
        yield from sorted(folders, key=lambda entry: entry.name)


def _entries(info: Path | ZipPath, distribution: str, version: str) -> Iterator[EntryPoint]:
    try:
        text = (info / "entry_points.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    group = ""
    for line in map(str.strip, text.splitlines() if "pollux_sync." in text else ()):
        if line.startswith("["):
            group = line.strip("[] ")
        elif group.startswith("pollux_sync.") and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            value = value.partition("[")[0].strip()
            yield EntryPoint(group=group, name=name.strip(), value=value, distribution=distribution, version=version)
