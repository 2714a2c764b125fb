"""Names and modules that are imported when they are first used, so that a script pays only for those it uses."""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, whose import would cost more than everything here
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def build_getattr(
    module: str,
    homes: Mapping[str, tuple[str, ...]],
    explain_missing: Callable[[str], str] | None = None,
) -> Callable[[str], object]:
    """Return a module's ``__getattr__`` (PEP 562). ``homes`` lists the names of each module below ``pollux_sync``.

    ``explain_missing`` returns what the error for an unknown name says besides.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def load_name(name: str) -> object:
        if name not in home_of:
            more = explain_missing(name) if explain_missing else ""
            raise AttributeError(f"module {module!r} has no attribute {name!r}{more}")
        import sys
        from importlib import import_module

        value: object = getattr(import_module(f"pollux_sync.{home_of[name]}"), name)
        setattr(sys.modules[module], name, value)  # the next use finds it without coming here
        return value

    return load_name


class _LateModule:
    """Looks its attributes up in a module, which the first one imports."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"import_late({self._name!r})"

    def __getattr__(self, name: str) -> Any:
        from importlib import import_module

        return getattr(import_module(self._name), name)


def import_late(name: str) -> Any:
    """Return a stand-in for a module, which is imported when one of its names is first used.

    For what a plugin needs in some hooks alone, such as those of files and deferred jobs. Type checkers read the
    import itself::

        if TYPE_CHECKING:
            from pollux_acme import jobs
        else:
            jobs = import_late("pollux_acme.jobs")
    """
    return _LateModule(name)
