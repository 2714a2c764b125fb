"""The error of a server that cannot be used."""

from __future__ import annotations

from pollux_sync.plugin import PolluxError


class MCPServerError(PolluxError):
    """A server cannot be started, has ended, or breaks the protocol, so that none of its tools can be used.

    ``server`` is its name, ``stderr`` has the last lines that it wrote to its standard error, without your secrets.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, server: str | None = None, stderr: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.server = server
        self.stderr = stderr
