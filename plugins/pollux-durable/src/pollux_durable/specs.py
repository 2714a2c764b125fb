"""The hooks of this package. A plugin implements them with `pollux_sync.hookimpl`.

An installed plugin is found through the entry-point group ``pollux_durable.plugins``; others are passed to
`configure(plugins=[...])`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from pollux_durable.codecs import Codec, JsonStore
    from pollux_durable.data.events import Suspension
    from pollux_durable.data.settings import DurableSettings
    from pollux_durable.engines import Engine

hookspec = pluggy.HookspecMarker("pollux_sync")


class DurableHooks:
    """All hooks, with when each is called."""

    @hookspec(firstresult=True)
    def pollux_durable_engine(self, settings: DurableSettings, store: JsonStore) -> Engine | None:
        """Return the engine for these settings, or None to leave it to another plugin. Called once, at the launch.

        What it stores of users it passes through ``store``.
        """

    @hookspec(firstresult=True)
    def pollux_durable_codec(self) -> Codec | None:
        """Return what changes all texts before they are stored, to encrypt them for one. Called once, at the launch."""

    @hookspec
    def pollux_suspend_notify(self, suspension: Suspension) -> None:
        """Notify somebody that a run waits for an answer. Called in the thread of the run, before it waits."""
