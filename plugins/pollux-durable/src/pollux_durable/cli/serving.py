"""``pollux-sync durable worker``, ``dev`` and ``ui``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pollux_durable.cli.arguments import build_settings
from pollux_durable.developing import URL_VARIABLE, develop
from pollux_durable.opening import open_viewer
from pollux_durable.page.command import run_ui
from pollux_durable.working import WorkerOrder, work
from pollux_sync.commands import write_remark

if TYPE_CHECKING:
    from argparse import Namespace


def run_worker(arguments: Namespace) -> int:
    """Carry runs out until SIGINT or SIGTERM."""
    return work(_build_order(arguments), write_remark)


def run_dev(arguments: Namespace) -> int:
    """Carry runs out until SIGINT or SIGTERM, with each change of the sources in a new process."""
    return develop(_build_order(arguments), write_remark)


def run_page(arguments: Namespace) -> int:
    """Show runs in the browser until SIGINT."""
    with open_viewer(build_settings(arguments)) as host:
        return run_ui(arguments, host)


def _build_order(arguments: Namespace) -> WorkerOrder:
    return WorkerOrder(
        module=arguments.module,
        url=arguments.url or (os.environ.get(URL_VARIABLE) if arguments.parent is not None else None),
        version=arguments.version,
        queues=arguments.queues,
        name=arguments.name,
        parent=arguments.parent,
    )
