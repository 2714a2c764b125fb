"""``pollux-sync durable cancel``, ``resume``, ``retry``, ``fork`` and ``answer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable.cli.arguments import build_settings
from pollux_durable.data.runs import ENDED
from pollux_durable.invoking import ExecutionHandle
from pollux_durable.opening import open_viewer
from pollux_durable.suspending import find_suspended_step
from pollux_sync.commands import DONE, write_json, write_line, write_remark
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

    from pollux_durable.hosting import Host


def cancel(arguments: Namespace) -> int:
    """Cancel a run. Raises ConfigurationError for one that has ended."""
    with open_viewer(build_settings(arguments)) as host:
        info = host.read_run(arguments.id)
        may_abort = arguments.abort and info.status == "cancelled"
        if info.status in ENDED and not may_abort:
            raise ConfigurationError(
                f"run {arguments.id!r} is {info.status}", hint="only a run that goes on is cancelled"
            )
        ExecutionHandle(host, arguments.id).cancel(abort=arguments.abort)
        _report(host, arguments)
    return DONE


def resume(arguments: Namespace) -> int:
    """Have a cancelled run go on. Raises ConfigurationError for another one."""
    with open_viewer(build_settings(arguments)) as host:
        ExecutionHandle(host, arguments.id).resume()
        _report(host, arguments)
    return DONE


def retry(arguments: Namespace) -> int:
    """Have an ended run go on from a step. Raises ConfigurationError for a step that it does not have."""
    with open_viewer(build_settings(arguments)) as host:
        ExecutionHandle(host, arguments.id).retry(from_step=arguments.from_step, version=arguments.version)
        _report(host, arguments)
    return DONE


def fork(arguments: Namespace) -> int:
    """Start a run from a step of another one, and print its id."""
    with open_viewer(build_settings(arguments)) as host:
        handle = ExecutionHandle(host, arguments.id).fork(
            from_step=arguments.from_step, execution_id=arguments.fork_id, version=arguments.version
        )
    if arguments.json:
        write_json({"execution_id": handle.id})
    else:
        write_line(handle.id)
    return DONE


def answer(arguments: Namespace) -> int:
    """Answer a suspended run. Raises ConfigurationError if it is not, or was answered otherwise."""
    with open_viewer(build_settings(arguments)) as host:
        key = arguments.key or find_suspended_step(host, arguments.id)
        ExecutionHandle(host, arguments.id).answer(key, arguments.data)
    write_remark(f"step {key!r} has its answer")
    return DONE


def _report(host: Host, arguments: Namespace) -> None:
    status = host.read_run(arguments.id).status
    if arguments.json:
        write_json({"execution_id": arguments.id, "status": status})
    else:
        write_remark(f"run {arguments.id} is {status}")
