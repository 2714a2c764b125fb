"""Discovery of plugins: entry points are indexed once and loaded one by one, so that a broken one harms no other."""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_sync._values import Value
from pollux_sync.errors import PluginLoadError, Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zipfile import Path

Group = Literal["pollux_sync.providers", "pollux_sync.plugins", "pollux_sync.commands"]

PROVIDERS: Group = "pollux_sync.providers"
MIDDLEWARE: Group = "pollux_sync.plugins"
COMMANDS: Group = "pollux_sync.commands"

#: If this variable is 1, plugins' exceptions are raised unchanged, for plugin authors to debug.
STRICT_VARIABLE = "POLLUX_SYNC_STRICT_PLUGINS"

_KINDS = {PROVIDERS: "provider", MIDDLEWARE: "plugin", "pollux_sync.commands": "command"}


#: The endings of the folders that installers write beside a package.
_METADATA = (".dist-info", ".egg-info")
_ENTRY_POINTS = "entry_points.txt"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EntryPoint(Value):
    """One entry point of an installed distribution, not imported yet."""

    group: str
    name: str
    value: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """The name and version of the distribution that has it."""
        return f"{self.distribution} {self.version}".rstrip()


class Loaded:
    """A plugin object and its distribution. Equal only to itself, since plugins need not be comparable."""

    def __init__(self, plugin: Any, name: str, distribution: str | None = None, version: str | None = None) -> None:
        self.plugin = plugin
        self.name = name
        self.distribution = distribution
        self.version = version

    @property
    def origin(self) -> str:
        """The name and version of its distribution, or its type if it was passed as an object."""
        return f"{self.distribution} {self.version}" if self.distribution else f"object {type(self.plugin).__name__}"


def is_strict_mode() -> bool:
    """Return whether plugins' exceptions are to be raised unchanged."""
    return os.environ.get(STRICT_VARIABLE) == "1"


def list_entry_points(group: Group) -> tuple[EntryPoint, ...]:
    """Return the group's entry points in all installed distributions, sorted by name, without shadowed installs."""
    entries = [entry for entry in _index_entries(tuple(sys.path)) if entry.group == group]
    return tuple(sorted(entries, key=lambda entry: (entry.name, entry.distribution)))


def list_names(group: Group) -> list[str]:
    """Return the names of the group's entry points, each once."""
    return sorted({entry.name for entry in list_entry_points(group)})


def list_known_names(group: Group) -> list[str]:
    """Return the names of the group's entry points, and of the providers that this project publishes, each once."""
    return sorted({*list_names(group), *(_list_own_providers() if group == PROVIDERS else [])})


def load(group: Group, wanted: str) -> Loaded:
    """Load the plugin called ``wanted`` (``name``, or ``distribution:name`` to pick one of several).

    Raises PluginLoadError when it is not installed, ambiguous or broken.
    """
    return _load_entry(find(group, wanted))


def find(group: Group, wanted: str) -> EntryPoint:
    """Return the one entry point that ``wanted`` names, without importing it. Raises PluginLoadError."""
    distribution, _, name = wanted.rpartition(":")
    offers = _list_offers(group, distribution, name)
    # A plugin may have been installed since the index was built, as by %pip in a notebook.
    if not offers:
        _index_entries.cache_clear()
        offers = _list_offers(group, distribution, name)
    if not offers:
        raise _build_unknown(group, wanted)
    if len(offers) > 1:
        origins = " and ".join(entry.origin for entry in offers)
        choices = " or ".join(f"'{entry.distribution}:{name}'" for entry in offers)
        raise PluginLoadError(
            f"{_KINDS[group]} {name!r} is offered by {origins}",
            hint=f"ask for {choices}, or uninstall one",
            name=name,
        )
    return offers[0]


def _list_offers(group: Group, distribution: str, name: str) -> list[EntryPoint]:
    accepted = _normalise(distribution)
    return [entry for entry in list_entry_points(group) if entry.name == name and accepted in {"", entry.distribution}]


def _list_own_providers() -> list[str]:
    """Return the providers that this project publishes, each as the distribution pollux-NAME: the extras of ours."""
    # Imported here: only a name that is not known needs it.
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        return metadata("pollux-sync").get_all("Provides-Extra") or []
    except PackageNotFoundError:  # not installed, but on the path
        return []


def _build_unknown(group: Group, wanted: str) -> PluginLoadError:
    kind, known = _KINDS[group], list_names(group)
    # Imported here: only an error needs it.
    from difflib import get_close_matches

    name = wanted.rpartition(":")[2]
    ours = _list_own_providers() if group == PROVIDERS else []
    near = get_close_matches(name.lower().removeprefix("pollux-"), {*known, *ours}, n=1)
    hint = f"pick one of: {', '.join(known) or 'none is installed'}"
    # Only a package of ours is named: under a name that was mistyped, anybody may have published anything.
    if near and near[0] in ours and near[0] not in known:
        hint = f"pip install pollux-{near[0]}, or {hint}"
    elif group != COMMANDS and not near:
        hint = f"pip install the package that offers it, or {hint}"
    if near and near[0] != name:
        hint = f"did you mean {near[0]!r}? Otherwise {hint}"
    return PluginLoadError(f"no installed {kind} is called {wanted!r}", hint=hint, name=wanted)


# Cached, so that a provider is one object in the whole process. A failure is not cached, and so is tried again.
@lru_cache(maxsize=256)
def _load_entry(entry: EntryPoint) -> Loaded:
    try:
        module, _, attribute = entry.value.partition(":")
        plugin: Any = import_module(module.strip())
        for part in filter(None, attribute.strip().split(".")):
            plugin = getattr(plugin, part)
        plugin = plugin() if isinstance(plugin, type) else plugin
    except Terminated:  # SIGTERM came while the module was imported: the module is not to blame
        raise
    # SystemExit too: a module without a main guard must not end the caller's script.
    except (Exception, SystemExit) as error:
        if is_strict_mode():
            raise
        raise PluginLoadError(
            f"plugin {entry.name!r} of {entry.origin} cannot be loaded: {type(error).__name__}: {error}",
            hint=f"upgrade or uninstall {entry.distribution}; {STRICT_VARIABLE}=1 shows where it fails",
            name=entry.name,
            distribution=entry.distribution,
            version=entry.version,
        ) from error
    return Loaded(plugin, entry.name, entry.distribution, entry.version)


# By the path, since scripts and tests change sys.path.
@lru_cache(maxsize=8)
def _index_entries(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of our groups on ``path``.

    importlib.metadata parses the metadata of every distribution, and takes twice as long together with its import. The
    files needed here are few and simple. An entry of the path may also be a zip, which a zipapp puts there.
    """
    entries: list[EntryPoint] = []
    seen: set[str] = set()
    for folder in path:
        for info, file in _iter_metadata(folder or "."):
            distribution, _, version = info.rpartition(".")[0].partition("-")
            distribution = _normalise(distribution)
            # The first one on the path is the one that an import finds.
            if distribution not in seen:
                seen.add(distribution)
                entries += _iter_entries(file, distribution, version.partition("-")[0])
    return tuple(entries)


def _normalise(distribution: str) -> str:
    """Return the canonical spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _iter_metadata(folder: str) -> Iterator[tuple[str, str | Path]]:
    """Yield the name of each metadata folder, sorted, and the place of its list of entry points."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - 3 times as fast, and every script pays for it
    except NotADirectoryError:
        yield from _iter_zipped_metadata(folder)
        return
    except OSError:
        return
    # As texts: a Path takes five times as long, and there is one for each installed package.
    for name in sorted(names):
        if name.endswith(_METADATA):
            yield name, os.path.join(folder, name, _ENTRY_POINTS)  # noqa: PTH118


def _iter_zipped_metadata(file: str) -> Iterator[tuple[str, Path]]:
    """Yield the same for the top of a zip. Read each before the next: the zip is closed at the end."""
    from zipfile import BadZipFile, Path, ZipFile  # slow to import, and seldom needed

    try:
        archive = ZipFile(file)
    except (OSError, BadZipFile):
        return
    with archive:
        folders = [entry for entry in Path(archive).iterdir() if entry.name.endswith(_METADATA)]
        for entry in sorted(folders, key=lambda entry: entry.name):
            yield entry.name, entry / _ENTRY_POINTS


def _iter_entries(file: str | Path, distribution: str, version: str) -> Iterator[EntryPoint]:
    try:
        text = _read_text(file)
    except (OSError, UnicodeDecodeError):
        return
    # An ini file. Most distributions have no group of ours, and are not parsed.
    group = ""
    for line in map(str.strip, text.splitlines() if "pollux_sync." in text else ()):
        if line.startswith("["):
            group = line.strip("[] ")
        elif group.startswith("pollux_sync.") and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            value = value.partition("[")[0].strip()
            yield EntryPoint(group=group, name=name.strip(), value=value, distribution=distribution, version=version)


def _read_text(file: str | Path) -> str:
    if not isinstance(file, str):
        return file.read_text(encoding="utf-8")
    with open(file, encoding="utf-8") as opened:  # noqa: PTH123
        return opened.read()
