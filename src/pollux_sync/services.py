"""What a provider tells about itself: its models, and whether it can be used now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.api import checked_config, connections
from pollux_sync.data.checks import require_seconds
from pollux_sync.engine.probing import listed_models, readiness

if TYPE_CHECKING:
    from pollux_sync.data.services import ModelInfo, Readiness
    from pollux_sync.hooks.config import Config


def list_models(*, config: Config) -> list[ModelInfo]:
    """The models that the account may ask, in the provider's order; ``config.model`` does not matter.

    Retried as ``config.retry`` says. Raises ConfigurationError where the provider lists none, else APIError with
    phase "metadata".
    """
    with connections.lease(checked_config(config)) as hooks:
        return listed_models(hooks)


def check_ready(*, config: Config, timeout_s: float = 10.0) -> Readiness:
    """Whether the configuration can be used now: server reached, key accepted, model known. No token is spent.

    Asks once, for at most ``timeout_s`` seconds a request. What is in the way is in the value, nothing is raised for
    it; ConfigurationError is for a provider that cannot be asked, and for arguments that make no sense.
    """
    require_seconds("timeout_s", timeout_s, above=True)
    with connections.lease(checked_config(config)) as hooks:
        return readiness(hooks, timeout_s)
