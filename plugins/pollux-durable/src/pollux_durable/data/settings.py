"""The settings of durable workflows."""

from __future__ import annotations

import re
from typing import Literal

import attrs

from pollux_sync.errors import ConfigurationError

#: A user name and password in a URL, with what separates them from the host.
_CREDENTIALS = re.compile(r"//.*@")


@attrs.frozen(kw_only=True)
class DurableSettings:
    """The database that keeps runs, and how it is used. Raises ConfigurationError for values that cannot work.

    Only workers of the same ``version`` carry a run on. A worker that has not been heard of for ``lease_s`` counts as
    dead. A run that waits for longer than ``wait_threshold_s`` gives its thread back. ``durability="full"`` waits for
    the disk at every commit to SQLite; without it the last steps may have to be repeated after a power cut.

    Without ``execute`` this process only looks and submits: workers carry the runs out. A worker takes the runs of
    ``queues``, by default of all; ``name`` tells it apart from others.
    """

    url: str = attrs.field(repr=False)  # it may hold a password
    version: str = "1"
    lease_s: float = 15.0
    wait_threshold_s: float = 10.0
    durability: Literal["normal", "full"] = "normal"
    execute: bool = True
    queues: tuple[str, ...] | None = None
    name: str | None = None

    def __attrs_post_init__(self) -> None:
        if not self.version or not isinstance(self.version, str):
            raise ConfigurationError(f"version is {self.version!r}", hint='use a text, such as "2026-11"')
        if self.lease_s <= 0 or self.wait_threshold_s < 0:
            raise ConfigurationError("lease_s and wait_threshold_s count seconds", hint="leave them out")
        if self.durability not in ("normal", "full"):
            raise ConfigurationError(f"durability {self.durability!r} is not known", hint="use 'normal' or 'full'")

    @property
    def shown_url(self) -> str:
        """The URL without user name, password and options."""
        return _CREDENTIALS.sub("//", self.url.partition("?")[0])
