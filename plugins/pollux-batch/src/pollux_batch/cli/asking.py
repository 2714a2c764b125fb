"""``pollux-sync batch run`` and ``plan``."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pollux_batch.batching import open_job
from pollux_batch.checking import check_settings
from pollux_batch.cli.arguments import build_order, build_settings
from pollux_batch.cli.restoring import build_command
from pollux_batch.recording import record_command
from pollux_batch.showing import Progress, choose_stream
from pollux_batch.surveying import plan_batch
from pollux_batch.tabulating import check_format
from pollux_batch.writing import ResultWriter, check_columns
from pollux_sync.commands import DONE, FAILED, INTERRUPTED, PENDING, write_json, write_remark, write_table
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from pollux_batch.cli.arguments import Order
    from pollux_batch.data.reports import BatchPlan
    from pollux_batch.data.results import Termination
    from pollux_batch.routing import Run
    from pollux_batch.writing import WrittenFiles


def run(arguments: Namespace) -> int:
    """Ask all items, and write what became of them. Raises what `run_batch` raises."""
    order, settings = build_order(arguments), build_settings(arguments)
    _check_out(arguments, order)
    command = build_command(arguments, order.config)
    with _open_writer(arguments) as writer:
        job = open_job(
            order.items,
            config=order.config,
            options=order.options,
            sources=(),
            journal=order.journal,
            ordered=writer is not None,
            **settings,
        )
        record_command(Path(order.journal), command)
        progress = _read_results(job, writer, is_quiet=arguments.quiet)
        is_whole = job.termination.kind == "completed"
        written = writer.commit() if writer is not None and is_whole else None
    if arguments.json:
        write_json(_build_summary(progress, job.termination, written))
    else:
        _report(progress, job.termination, written, arguments)
    return _choose_code(progress, job.termination)


def plan(arguments: Namespace) -> int:
    """Print what `run` would send with these arguments."""
    found = make_plan(arguments)
    if arguments.json:
        write_json(found.to_dict())
        return DONE
    write_plan(found)
    return DONE


def make_plan(arguments: Namespace) -> BatchPlan:
    """Return what `run` would do with these arguments. Raises ConfigurationError."""
    order, settings = build_order(arguments), build_settings(arguments)
    _check_out(arguments, order)
    checked = check_settings(order.config, journal=Path(order.journal), options=order.options, **settings)
    return plan_batch(
        order.items,
        config=order.config,
        options=order.options,
        journal=order.journal,
        dedupe=checked.dedupe,
        budget=checked.budget,
    )


def _check_out(arguments: Namespace, order: Order) -> None:
    """Raise ConfigurationError for an output that `run` cannot write, unless only because it is there already."""
    if arguments.out is None:
        return
    if Path(arguments.out).resolve() == Path(arguments.input).resolve():
        raise ConfigurationError(
            f"{arguments.out!r} is the input, which the answers must not replace", hint="pass another path with --out"
        )
    check_format(Path(arguments.out))
    check_columns(order.items.columns, prefix=arguments.prefix)


def _open_writer(arguments: Namespace) -> Any:
    if arguments.out is None:
        return nullcontext()
    return ResultWriter(arguments.out, overwrite=arguments.overwrite, prefix=arguments.prefix)


def _read_results(job: Run, writer: ResultWriter | None, *, is_quiet: bool) -> Progress:
    with Progress(choose_stream(is_quiet=is_quiet), job) as progress, closing(job.iter_results()) as results:
        for result in results:
            progress.count(result)
            if writer is not None:
                writer.write(result)
    return progress


def _report(progress: Progress, termination: Termination, written: WrittenFiles | None, arguments: Namespace) -> None:
    write_remark(f"{progress.describe()}, {progress.describe_rate()}")
    if progress.first_failure is not None:
        write_remark(f"first failure: {progress.first_failure.item_id}: {progress.first_failure.error}")
    if termination.kind != "completed":
        write_remark(f"stopped ({termination.kind}): {termination.reason}; run the same command again to go on")
        if arguments.out is not None:
            write_remark(f"{arguments.out} is written once all items have ended")
    if written is not None:
        failed = f", and what failed to {written.failed_path}" if written.failed_path else ""
        write_remark(f"wrote {written.succeeded:,} rows to {written.path}{failed}")


def _build_summary(progress: Progress, termination: Termination, written: WrittenFiles | None) -> dict[str, Any]:
    return {
        "answered": progress.answered,
        "failed": progress.failed,
        "replayed": progress.replayed,
        "deduped": progress.deduped,
        "input_tokens": progress.input_tokens,
        "output_tokens": progress.output_tokens,
        "cost_usd": None if progress.unpriced else str(progress.cost),
        "termination": termination.kind,
        "reason": termination.reason,
        "out": written and str(written.path),
        "failed_out": written and written.failed_path and str(written.failed_path),
    }


def _choose_code(progress: Progress, termination: Termination) -> int:
    if termination.kind == "interrupted":
        return INTERRUPTED
    if termination.kind == "fail_fast":
        return FAILED
    if termination.kind != "completed":
        return PENDING
    return FAILED if progress.failed else DONE


def write_plan(found: BatchPlan, *, before: Sequence[tuple[str, str]] = ()) -> None:
    """Print a plan, below other facts."""
    write_table([*before, *_list_plan(found)])
    for line in found.errors:
        write_remark(f"cannot be asked: {line}")


def _list_plan(found: BatchPlan) -> list[tuple[str, str]]:
    cost = "not known: no plugin knows the price" if found.cost is None else f"${found.cost:.4f}"
    drifted = f"{found.drifted:,} of these are answered, but rendered otherwise now; see --on-drift"
    return [
        ("items", f"{found.items:,}"),
        ("answered", f"{found.answered:,} in the journal"),
        ("equal", f"{found.equal:,} to others, asked once"),
        ("broken", f"{found.broken:,} cannot be asked"),
        ("to send", f"{found.to_send:,}"),
        *([("drifted", drifted)] if found.drifted else []),
        ("tokens", f"about {found.input_tokens:,} input and {found.output_tokens:,} output"),
        ("price", cost),
    ]
