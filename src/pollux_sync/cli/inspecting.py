"""Every installed plugin, looked at on its own: whether it loads, and if not, why."""

from __future__ import annotations

import sys
import traceback
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_sync.cli.commands import COMMANDS, checked_command
from pollux_sync.cli.terminal import say
from pollux_sync.errors import PolluxError
from pollux_sync.hooks.loading import MIDDLEWARE, PROVIDERS, entry_points, is_strict, load
from pollux_sync.hooks.relay import build_manager, read_provider_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.data.provider import ProviderInfo
    from pollux_sync.hooks.loading import EntryPoint

Kind = Literal["provider", "middleware", "command"]


@attrs.frozen(kw_only=True)
class Installed:
    """One entry point. ``problem`` says why it does not load; ``clash`` who else offers its name.

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
        """The facts as JSON-ready data."""
        facts = ("kind", "name", "distribution", "version")
        told = {name: getattr(self, name) for name in ("problem", "hint", "clash")}
        return {name: getattr(self, name) for name in facts} | {"loads": self.problem is None} | told


def installed_plugins() -> list[Installed]:
    """All providers, middleware and commands; what they print while they are imported goes to stderr."""
    with redirect_stdout(sys.stderr):
        return [
            *_looked_at(
                "provider", entry_points(PROVIDERS), lambda wanted: read_provider_info(load(PROVIDERS, wanted))
            ),
            *_looked_at(
                "middleware", entry_points(MIDDLEWARE), lambda wanted: build_manager([load(MIDDLEWARE, wanted)])
            ),
            *_looked_at("command", entry_points(COMMANDS), checked_command),
        ]


def problem_of(work: Callable[[], object]) -> tuple[str, str | None] | None:
    """What ``work`` raises, as message and hint; None when it goes well. In strict mode also where, on stderr."""
    try:
        work()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - plugins may raise anything, and nothing may stop the rest
        if is_strict():
            say("".join(traceback.format_exception(error)).rstrip())
        return (error.message, error.hint) if isinstance(error, PolluxError) else (_foreign(error), None)
    return None


def _looked_at(kind: Kind, entries: tuple[EntryPoint, ...], load_one: Callable[[str], object]) -> list[Installed]:
    return [_looked_at_one(kind, entry, entries, load_one) for entry in entries]


def _looked_at_one(
    kind: Kind, entry: EntryPoint, entries: tuple[EntryPoint, ...], load_one: Callable[[str], object]
) -> Installed:
    found: list[Any] = []
    wanted = f"{entry.distribution}:{entry.name}"
    problem, hint = problem_of(lambda: found.append(load_one(wanted))) or (None, None)
    rivals = [other.origin for other in entries if other.name == entry.name and other is not entry]
    return Installed(
        kind=kind,
        name=entry.name,
        distribution=entry.distribution,
        version=entry.version,
        problem=problem,
        hint=hint,
        clash=f"also offered by {' and '.join(rivals)}: ask for {wanted!r}" if rivals else None,
        info=found[0] if found and kind == "provider" else None,
    )


def _foreign(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
