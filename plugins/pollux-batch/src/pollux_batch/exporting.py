"""Journal -> answers: read from the journal alone, without the input of the job."""

from __future__ import annotations

import json
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pollux_batch.answering import read_stored
from pollux_batch.data.reports import ExportedAnswer
from pollux_batch.data.rows import StoredAnswer
from pollux_batch.data.usage import read_usage
from pollux_batch.describing import format_time
from pollux_batch.inspecting import JournalView
from pollux_batch.tabulating import TableWriter
from pollux_sync import stages
from pollux_sync.plugin import Reply, Usage

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from pollux_batch.data.rows import AnswerRow
    from pollux_sync import Config

    Decode = Callable[[AnswerRow], str]


def iter_answers(journal: str | os.PathLike[str], *, config: Config | None = None) -> Iterator[ExportedAnswer]:
    """Yield the answers of a journal in the order in which they came; a job may be writing to it.

    With a ``config`` the plugin of its provider decodes them. Without one only those have a text that are stored as
    replies, such as answers that came as a stream. Raises ConfigurationError if the path holds another file.
    """
    with JournalView(Path(journal)) as view, open_decoder(config) as decode:
        yield from (build_answer(run, row, decode) for run, row in view.iter_answers())


def export_answers(
    journal: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    config: Config | None = None,
    overwrite: bool = False,
) -> int:
    """Write the answers of a journal to a .jsonl, .csv or .parquet file; return their number.

    Columns: id, output, error, usage, cost, request_id and at. An answer that is not decoded has its stored
    body, in the column ``body`` instead of an output. Raises as `iter_answers`, and ConfigurationError for a path in
    use.
    """
    with TableWriter(Path(path), overwrite=overwrite) as table:
        for answer in iter_answers(journal, config=config):
            table.write(_build_row(answer))
        table.commit()
        return table.n_rows


@contextmanager
def open_decoder(config: Config | None) -> Iterator[Decode | None]:
    """Open the plugin that decodes the answers of a configuration; without one yield None."""
    if config is None:
        yield None
        return
    hooks = stages.open_hooks(config)
    try:
        yield _build_decoder(hooks, config)
    finally:
        hooks.close()


def _build_decoder(hooks: stages.Hooks, config: Config) -> Decode:
    # Any call does: what a decoder reads of it, such as its model, is that of the configuration.
    call = stages.plan_calls(stages.build_request(["-"], (), config, None), hooks).calls[0]

    def decode(row: AnswerRow) -> str:
        stored = StoredAnswer(key=row.key, label=row.label, format=row.format, body=row.body, request_id=row.request_id)
        return read_stored(stored, call, hooks).text

    return decode


def build_answer(run: int, row: AnswerRow, decode: Decode | None) -> ExportedAnswer:
    """Return a stored answer, decoded where that can be."""
    text, error = _read_text(row, decode)
    usage = Usage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        total_tokens=row.total_tokens,
        cached_tokens=row.cached_tokens,
    )
    return ExportedAnswer(
        label=row.label,
        text=text,
        body=row.body,
        error=error,
        usage=read_usage(usage),
        cost=None if row.cost is None else Decimal(row.cost),
        request_id=row.request_id,
        at=row.at,
        run=run,
    )


def _read_text(row: AnswerRow, decode: Decode | None) -> tuple[str | None, str | None]:
    try:
        if decode is not None:
            return decode(row), None
        return (Reply.from_dict(json.loads(row.body)).text if row.format == "reply" else None), None
    except Exception as error:  # noqa: BLE001 - one answer that cannot be read must not cost the others
        return None, f"{type(error).__name__}: {error}"


def _build_row(answer: ExportedAnswer) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": answer.label,
        "output": answer.text,
        "error": answer.error,
        "usage": dict(answer.usage) or None,
        "cost": None if answer.cost is None else str(answer.cost),
        "request_id": answer.request_id,
        "at": format_time(answer.at),
    }
    return row if answer.text is not None else {**row, "body": _read_body(answer.body)}


def _read_body(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
