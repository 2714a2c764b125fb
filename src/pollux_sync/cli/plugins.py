"""``pollux-sync plugins``: the installed plugins, and why one does not load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.cli.commands import build_parser
from pollux_sync.cli.inspecting import inspect_plugins
from pollux_sync.commands import DONE, declare_parser, write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.cli.commands import BuiltInParser
    from pollux_sync.cli.inspecting import InstalledPlugin

_HEADER = ("KIND", "NAME", "DISTRIBUTION", "VERSION", "LOADS")


def build_plugins_parser() -> BuiltInParser:
    """Return the parser of ``pollux-sync plugins``."""
    parser = build_parser("plugins")
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    return parser


@declare_parser(build_plugins_parser)
def main(argv: Sequence[str]) -> int:
    """List every provider, middleware and command. Always return 0: `doctor` is the command that judges."""
    arguments = build_plugins_parser().parse_args(argv)
    plugins = inspect_plugins()
    if arguments.json:
        write_json([plugin.to_dict() for plugin in plugins])
    else:
        write_table([_HEADER, *map(_build_row, plugins)])
    return DONE


def _build_row(plugin: InstalledPlugin) -> tuple[str, ...]:
    loads = "yes" if plugin.problem is None else f"no: {plugin.problem}"
    remark = f"{loads}; {plugin.clash}" if plugin.clash else loads
    # An exception's message may contain line breaks, which would break the table.
    return (plugin.kind, plugin.name, plugin.distribution, plugin.version, " ".join(remark.split()))
