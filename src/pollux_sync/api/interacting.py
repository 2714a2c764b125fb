"""The same calls with objects: an Environment that stays, an Input that is new, an Output to continue from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.api.asking import run_many
from pollux_sync.engine.interacting import build_interaction, build_output
from pollux_sync.engine.requesting import require_config
from pollux_sync.process import clients

if TYPE_CHECKING:
    from pollux_sync._typed import T
    from pollux_sync.data.interaction import Environment, Input
    from pollux_sync.data.options import Options
    from pollux_sync.data.output import Output
    from pollux_sync.hooks.config import Config


def interact(
    environment: Environment | None = None,
    input: Input | str | None = None,  # noqa: A002 - named as in pollux-ai
    *,
    config: Config,
    options: Options[T] | None = None,
) -> Output[T]:
    """Send one input to the model in an environment; continue later from ``output.continuation``.

    The sources of the environment go along with the input, except those that its continuation has already shown.
    Instructions and tools go with every interaction. ``options`` are for the rest: schema, temperature, ...
    Raises what `run` raises.
    """
    # Only the declaration is needed here; the lease loads the plugin once for both steps.
    with clients.lease(require_config(config)) as hooks:
        interaction = build_interaction(environment, input, options, hooks.info)
    envelope = run_many(interaction.prompt, sources=interaction.sources, config=config, options=interaction.options)
    return build_output(interaction, envelope)
