"""Every installed plugin, loaded separately: whether it loads, and if not, why."""

from __future__ import annotations

import sys
import traceback
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_sync.cli.commands import load_exact_command
from pollux_sync.commands import write_error
from pollux_sync.errors import PolluxError, Terminated
from pollux_sync.hooks.loading import COMMANDS, MIDDLEWARE, PROVIDERS, is_strict_mode, list_entry_points, load
from pollux_sync.hooks.relay import build_manager, read_provider_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.data.provider import ProviderInfo
    from pollux_sync.hooks.loading import EntryPoint

Kind = Literal["provider", "middleware", "command"]


@attrs.frozen(kw_only=True)
class InstalledPlugin:
    """One entry point. ``problem`` says why it does not load, ``clash`` which distributions offer the same name.

    ``info`` is the declaration of a provider that loads.
    """

    kind: Kind
    name: str
    distribution: str
    version: str
    problem: str | None = None
    hint: str | None = None
    clash: str | None = None
    info: ProviderInfo | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as data for JSON."""
        facts = attrs.asdict(self, filter=attrs.filters.exclude("info"))
        return facts | {"loads": self.problem is None}


def inspect_plugins() -> list[InstalledPlugin]:
    """Load and return all providers, middleware and commands."""
    # A module may print while it is imported. On stdout that would break the --json of this command.
    with redirect_stdout(sys.stderr):
        return [
            *_inspect_group(
                "provider", list_entry_points(PROVIDERS), lambda name: read_provider_info(load(PROVIDERS, name))
            ),
            *_inspect_group(
                "middleware", list_entry_points(MIDDLEWARE), lambda name: build_manager([load(MIDDLEWARE, name)])
            ),
            *_inspect_group("command", list_entry_points(COMMANDS), load_exact_command),
        ]


def find_problem(work: Callable[[], object]) -> tuple[str, str | None] | None:
    """Call ``work``. Return the message and hint of its exception, or None; in strict mode also print the traceback."""
    try:
        work()
    except Terminated:
        raise
    # A plugin may raise anything, and sys.exit() while it is imported must not end the inspection of the others.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        if is_strict_mode():
            write_error("".join(traceback.format_exception(error)).rstrip())
        return (error.message, error.hint) if isinstance(error, PolluxError) else (_describe_error(error), None)
    return None


def _inspect_group(
    kind: Kind, entries: tuple[EntryPoint, ...], load_one: Callable[[str], object]
) -> list[InstalledPlugin]:
    return [_inspect_entry(kind, entry, entries, load_one) for entry in entries]


def _inspect_entry(
    kind: Kind, entry: EntryPoint, entries: tuple[EntryPoint, ...], load_one: Callable[[str], object]
) -> InstalledPlugin:
    loaded: list[Any] = []
    # With its distribution, because the name alone would be refused where two distributions offer it.
    full_name = f"{entry.distribution}:{entry.name}"
    problem, hint = find_problem(lambda: loaded.append(load_one(full_name))) or (None, None)
    rivals = [other.origin for other in entries if other.name == entry.name and other is not entry]
    return InstalledPlugin(
        kind=kind,
        name=entry.name,
        distribution=entry.distribution,
        version=entry.version,
        problem=problem,
        hint=hint,
        clash=f"also offered by {' and '.join(rivals)}: ask for {full_name!r}" if rivals else None,
        info=loaded[0] if loaded and kind == "provider" else None,
    )


def _describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
