"""Probe a provider for its models and its readiness. No token is spent."""

from __future__ import annotations

import difflib
import time
from typing import TYPE_CHECKING

from pollux_sync.data.models import Readiness
from pollux_sync.engine.retrying import read_fault, request_with_retries
from pollux_sync.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.data.models import ModelInfo
    from pollux_sync.hooks.relay import Hooks

_NOT_FOUND = 404


def fetch_models(hooks: Hooks) -> list[ModelInfo]:
    """Return the provider's models, in its order. Raises ConfigurationError where it lists none."""
    models = request_with_retries(lambda: hooks.list_models(hooks.config.timeout_s), hooks, phase="metadata")
    if models is None:
        raise ConfigurationError(
            f"provider {hooks.info.name!r} does not list its models here",
            hint=f"look them up in its documentation{hooks.info.docs_url and f': {hooks.info.docs_url}'}",
        )
    return models


def check_readiness(hooks: Hooks, timeout_s: float) -> Readiness:
    """Check once whether the configuration can be used; a caller that waits for readiness asks again itself.

    Raises ConfigurationError where the provider cannot be asked, and InternalError for a plugin's defect.
    """
    started = time.monotonic()
    fault = _find_obstacle(hooks, timeout_s)
    latency_s = time.monotonic() - started
    if fault is None:
        return Readiness(is_ready=True, latency_s=latency_s)
    return Readiness(is_ready=False, reason=fault.message, hint=fault.hint, kind=fault.kind, latency_s=latency_s)


def _find_obstacle(hooks: Hooks, timeout_s: float) -> Fault | None:
    try:
        # Without retries: the caller wants to know the state now, and asks again itself.
        if hooks.check_ready(timeout_s):
            return None
        models = hooks.list_models(timeout_s)
    except ConfigurationError as error:  # a client that cannot be opened, as with a broken model file
        return Fault(kind="invalid_request", message=hooks.scrub(error.message), hint=error.hint)
    except Exception as error:  # noqa: BLE001 - read_fault raises what is no fault
        cause = error
    else:
        return _judge_models(models, hooks)
    # Outside of the handler, as `call_with_retries` does: the classifier sees there what the caller is handling.
    fault = read_fault(cause, hooks)
    return _look_into_list(fault, hooks, timeout_s) if fault.status_code == _NOT_FOUND else fault


def _look_into_list(fault: Fault, hooks: Hooks, timeout_s: float) -> Fault | None:
    """Judge by the list of models after a 404; without a list the fault of the 404 stands.

    Many compatible servers have a list, but no path for one model. Where the model really is missing, the list shows
    which one was meant.
    """
    try:
        models = hooks.list_models(timeout_s)
    except Exception as error:  # noqa: BLE001 - as above
        cause = error
    else:
        return _find_missing_model(hooks.config.model, [model.id for model in models]) if models else fault
    read_fault(cause, hooks)  # raises what is a plugin's defect
    return fault


def _judge_models(models: Sequence[ModelInfo] | None, hooks: Hooks) -> Fault | None:
    if models is None:
        raise ConfigurationError(
            f"provider {hooks.info.name!r} cannot be asked whether it is ready", hint="ask it something: run('Hello?')"
        )
    return _find_missing_model(hooks.config.model, [model.id for model in models])


def _find_missing_model(model: str, listed: Sequence[str]) -> Fault | None:
    if model in listed:
        return None
    # A typo in the model's name is the usual reason, so the nearest names are offered.
    near = difflib.get_close_matches(model, listed, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "list_models(config=...) returns those it has"
    return Fault(kind="not_found", message=f"the provider lists no model {model!r}", hint=hint)
