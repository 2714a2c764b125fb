"""What models there are, and whether a configuration can be used now. No token is spent."""

from __future__ import annotations

import difflib
import threading
import time
from typing import TYPE_CHECKING

from pollux_sync.data.services import Readiness
from pollux_sync.engine.retrying import fault_of, with_retries
from pollux_sync.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.data.services import ModelInfo
    from pollux_sync.hooks.relay import Hooks


def listed_models(hooks: Hooks) -> list[ModelInfo]:
    """The provider's models, in its order. Raises ConfigurationError where it lists none."""
    timeout_s = hooks.config.timeout_s
    models, _ = with_retries(lambda: (hooks.list_models(timeout_s), None), hooks, threading.Event(), phase="metadata")
    if models is None:
        raise ConfigurationError(
            f"provider {hooks.info.name!r} does not list its models here",
            hint=f"look them up in its documentation{hooks.info.docs_url and f': {hooks.info.docs_url}'}",
        )
    return models


def readiness(hooks: Hooks, timeout_s: float) -> Readiness:
    """Whether the configuration can be used, asked once: trying again is for who waits for it.

    Raises ConfigurationError where the provider cannot be asked, and InternalError for a plugin's defect.
    """
    began = time.monotonic()
    fault = _obstacle(hooks, timeout_s)
    latency_s = time.monotonic() - began
    if fault is None:
        return Readiness(is_ready=True, latency_s=latency_s)
    return Readiness(is_ready=False, reason=fault.message, hint=fault.hint, kind=fault.kind, latency_s=latency_s)


def _obstacle(hooks: Hooks, timeout_s: float) -> Fault | None:
    """What is in the way; None when nothing is."""
    try:
        if hooks.check_ready(timeout_s):
            return None
        models = hooks.list_models(timeout_s)
    except ConfigurationError as error:  # a client that cannot be opened, as with a broken model file
        return Fault(kind="invalid_request", message=hooks.scrub(error.message), hint=error.hint)
    except Exception as error:  # noqa: BLE001 - fault_of raises what is no fault
        return fault_of(error, hooks)
    if models is None:
        raise ConfigurationError(
            f"provider {hooks.info.name!r} cannot be asked whether it is ready", hint="ask it something: run('Hello?')"
        )
    return _missing(hooks.config.model, [model.id for model in models])


def _missing(model: str, listed: Sequence[str]) -> Fault | None:
    if model in listed:
        return None
    near = difflib.get_close_matches(model, listed, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "list_models(config=...) gives those there are"
    return Fault(kind="not_found", message=f"the provider lists no model {model!r}", hint=hint)
