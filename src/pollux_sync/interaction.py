"""The same calls in objects: an Environment that stays, an Input that is new, an Output with what to go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.api import checked_config, connections, run_many
from pollux_sync.engine.interacting import answered, asked_of

if TYPE_CHECKING:
    from pollux_sync.data.interaction import Environment, Input
    from pollux_sync.data.options import Options
    from pollux_sync.data.output import Output
    from pollux_sync.hooks.config import Config


def interact(
    environment: Environment | None = None,
    input: Input | str | None = None,  # noqa: A002 - the word for it
    *,
    config: Config,
    options: Options | None = None,
) -> Output:
    """Say one thing in an environment, or tell what tools found; ``output.continuation`` is to go on from.

    The sources of the environment are shown with what is said; a continuation that has shown one before is not
    shown it again. Instructions and tools go with every interaction. ``options`` are the rest: schema,
    temperature, ... Raises what `run` raises.
    """
    with connections.lease(checked_config(config)) as hooks:
        asked = asked_of(environment, input, options, hooks.info)
    return answered(asked, run_many(asked.prompt, sources=asked.sources, config=config, options=asked.options))
