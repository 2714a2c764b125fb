"""Finds rows of this package that a codec has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable.codecs import CODEC_MARK

if TYPE_CHECKING:
    from pollux_durable.engines import Database

#: The columns that hold what users have stored, by table.
_COLUMNS = {
    "pollux_events": "data",
    "pollux_states": "data",
    "pollux_sessions": "memory",
    "pollux_calls": "reply",
}


def count_encoded(database: Database) -> dict[str, int]:
    """Return how many rows of each table were written with a codec, without tables that have none."""
    counts = {}
    with database.transact() as transaction:
        for table, column in _COLUMNS.items():
            ((count,),) = transaction.execute(
                f"SELECT COUNT(*) FROM {table} WHERE {column} LIKE :mark",  # noqa: S608
                {"mark": f"{CODEC_MARK}%"},
            )
            counts[table] = int(count)
    return {table: count for table, count in counts.items() if count}
