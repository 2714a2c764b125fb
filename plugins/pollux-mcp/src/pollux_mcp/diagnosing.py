"""The last words of a server, for its log and its errors, without the user's secrets."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pollux_mcp.errors import MCPServerError
from pollux_sync.plugin import redact_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

log = logging.getLogger("pollux_mcp")

_LAST_LINES = 10
#: The loggers of the packages below that write addresses, whose query may be a key.
_LOGGERS = ("httpx2", "mcp.client.streamable_http")


class ServerLog:
    """The last lines that a server wrote to its standard error, and its fault if it has one."""

    def __init__(self, name: str, secrets: Sequence[str] = ()) -> None:
        self.name = name
        self.fault: str | None = None
        self._secrets = secrets
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def last_line(self) -> str | None:
        """The last line that the server wrote, without secrets."""
        return self._lines[-1] if self._lines else None

    def write(self, line: str) -> None:
        """Log one line, at level INFO."""
        text = self.redact(line)
        self._lines.append(text)
        log.info("%s: %s", self.name, text)

    def redact(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in self._secrets:
            text = redact_secret(text, secret)
        return text

    def build_error(self, problem: str, *, hint: str | None = None) -> MCPServerError:
        """Build the error of a server that cannot be used; ``problem`` is a verb phrase, such as "has ended"."""
        reason = f": {self.fault}" if self.fault else ""
        return MCPServerError(
            f"the MCP server {self.name!r} {self.redact(problem)}{reason}",
            hint=hint,
            server=self.name,
            stderr=tuple(self._lines),
        )

    @contextmanager
    def guard_loggers(self) -> Iterator[None]:
        """Take secrets out of the log records of the packages below."""
        loggers = [logging.getLogger(name) for name in _LOGGERS]
        for logger in loggers:
            logger.addFilter(self._redact_record)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(self._redact_record)

    def _redact_record(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        record.msg, record.args = self.redact(text), ()
        # Whoever has the id of a session may speak in it.
        return not text.startswith("Received session ID")
