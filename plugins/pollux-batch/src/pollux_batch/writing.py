"""Results -> files: the rows of the input with their answers, and the failed ones apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs

from pollux_batch.tabulating import TableWriter, check_output, to_json_value
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from types import TracebackType

    from pollux_batch.data.results import WorkItemResult

#: The columns that are added to those of the input, after the id.
_ADDED = ("output", "error", "usage", "cost")


@attrs.frozen(kw_only=True)
class WrittenFiles:
    """The files of a job. ``failed_path`` is None where nothing failed."""

    path: Path
    failed_path: Path | None
    succeeded: int
    failed: int


def write_results(
    results: Iterable[WorkItemResult], path: str | os.PathLike[str], *, overwrite: bool = False, prefix: str = ""
) -> WrittenFiles:
    """Write results to a .jsonl, .csv or .parquet file, and the failed ones to ``<name>.failed.<suffix>`` beside it.

    A row has the columns of the item's context, where that is a dict, and besides: id, output, error, usage and cost.
    ``prefix`` begins the names of the last four. An input with a column ``id`` keeps it. The files appear when all
    results are written; if that fails nothing is written.
    Raises ConfigurationError for a path in use, before it reads the first result, and for a column of that name in the
    input.
    """
    with ResultWriter(path, overwrite=overwrite, prefix=prefix) as writer:
        for result in results:
            writer.write(result)
        return writer.commit()


def check_columns(columns: Iterable[str], *, prefix: str = "") -> None:
    """Raise ConfigurationError if the results would have a column that the input has already."""
    added = {prefix + name for name in _ADDED}
    clash = next((name for name in columns if name in added), None)
    if clash is not None:
        raise ConfigurationError(
            f"the input has a column {clash!r} already",
            hint="rename it, or pass prefix=... (--prefix) for the new columns",
        )


class ResultWriter:
    """Writes the results of a job. Leaving the ``with`` block without `commit` leaves nothing behind."""

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False, prefix: str = "") -> None:
        place = Path(path)
        self._prefix = prefix
        self._overwrite = overwrite
        self._failed_path = place.with_name(f"{place.stem}.failed{place.suffix}")
        check_output(place, overwrite=overwrite)
        check_output(self._failed_path, overwrite=overwrite)
        self._table = TableWriter(place, overwrite=overwrite)
        try:
            self._failed = TableWriter(self._failed_path, overwrite=overwrite)
        except ConfigurationError:
            self._table.discard()
            raise

    def write(self, result: WorkItemResult) -> None:
        """Add a result. Raises ConfigurationError if its row has a column that is to be added."""
        row = dict(result.context) if isinstance(result.context, Mapping) else {}
        check_columns(row, prefix=self._prefix)
        row.setdefault("id", result.item_id)
        values = (
            to_json_value(result.output),
            result.error,
            dict(result.token_usage) or None,
            None if result.cost is None else str(result.cost),
        )
        row |= {self._prefix + name: value for name, value in zip(_ADDED, values, strict=True)}
        (self._table if result.success else self._failed).write(row)

    def commit(self) -> WrittenFiles:
        """Put the files in their places. Raises ConfigurationError if others are there by now."""
        check_output(self._table.path, overwrite=self._overwrite)
        if self._failed.n_rows:
            self._failed.commit()
        elif self._overwrite:
            self._failed_path.unlink(missing_ok=True)
        self._table.commit()
        return WrittenFiles(
            path=self._table.path,
            failed_path=self._failed_path if self._failed.n_rows else None,
            succeeded=self._table.n_rows,
            failed=self._failed.n_rows,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.discard()
        self._failed.discard()
