"""Ask a provider about itself: which models it has, and whether it can be used now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.data.checks import check_seconds
from pollux_sync.engine.probing import check_readiness, fetch_models
from pollux_sync.engine.requesting import require_config
from pollux_sync.process import clients

if TYPE_CHECKING:
    from pollux_sync.data.models import ModelInfo, Readiness
    from pollux_sync.hooks.config import Config


def list_models(*, config: Config) -> list[ModelInfo]:
    """Return the models that the account may use, in the provider's order; ``config.model`` does not matter.

    Retried as ``config.retry`` says. Raises ConfigurationError where the provider lists none, else APIError with
    phase "metadata".
    """
    with clients.lease(require_config(config)) as hooks:
        return fetch_models(hooks)


def check_ready(*, config: Config, timeout_s: float = 10.0) -> Readiness:
    """Check whether the configuration can be used now: server reached, key accepted, model known. Spend no token.

    Asks once, for at most ``timeout_s`` seconds a request. An obstacle is reported in the returned value, not
    raised. Raises ConfigurationError for a provider that cannot be asked, and for invalid arguments.
    """
    check_seconds("timeout_s", timeout_s, above=True)
    with clients.lease(require_config(config)) as hooks:
        return check_readiness(hooks, timeout_s)
