"""``pollux-sync plugins``: what is installed, and whether it loads."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from pollux_sync.cli.exits import DONE
from pollux_sync.cli.inspecting import installed_plugins
from pollux_sync.cli.terminal import write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.cli.inspecting import Installed

_HEAD = ("KIND", "NAME", "DISTRIBUTION", "VERSION", "LOADS")


def main(argv: Sequence[str]) -> int:
    """List every provider, middleware and command; always 0, for `doctor` judges."""
    parser = ArgumentParser(
        prog="pollux-sync plugins",
        description="List the installed providers, middleware and commands, and why those that do not load do not.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="a list of objects")
    arguments = parser.parse_args(argv)
    found = installed_plugins()
    if arguments.json:
        write_json([plugin.to_dict() for plugin in found])
    else:
        write_table([_HEAD, *map(_row, found)])
    return DONE


def _row(plugin: Installed) -> tuple[str, ...]:
    loads = "yes" if plugin.problem is None else f"no: {plugin.problem}"
    remark = f"{loads}; {plugin.clash}" if plugin.clash else loads
    return (plugin.kind, plugin.name, plugin.distribution, plugin.version, " ".join(remark.split()))
