"""A handle and the caller's configuration -> the configuration that reaches what the handle stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_sync._values import Value
from pollux_sync.data.config import is_mock_account, redact_credentials
from pollux_sync.engine.requesting import require_config
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.config import Config
from pollux_sync.hooks.loading import PROVIDERS, load
from pollux_sync.hooks.relay import read_provider_info

if TYPE_CHECKING:
    from pollux_sync.data.handles import CacheHandle
    from pollux_sync.data.jobs import DeferredHandle


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HandleHints(Value):
    """The hints of errors about a handle that a configuration does not fit, in the words of its user.

    ``address`` is a format string with ``{address}``.
    """

    mock: str = "pass the config with use_mock=True"
    not_mock: str = "pass a config without use_mock"
    address: str = "pass config=Config(..., base_url={address!r}) with the key that belongs there"
    account: str = (
        "pass the config that the handle was made with; if only its key was renewed, pass "
        "attrs.evolve(handle, account=None), or delete the handle's account in the job file"
    )


def resolve_config(
    handle: CacheHandle | DeferredHandle, config: Config | None, hints: HandleHints | None = None
) -> Config:
    """Return the configuration that reaches what a handle stands for: the one given, else the environment's.

    A handle is data, which may come from anywhere. Where it says that the job is does not decide where a key is sent:
    the configuration does. Raises ConfigurationError for a configuration of another provider, address or account.
    """
    hints = hints or HandleHints()
    if config is None:
        # Before the key is looked for, since a mock needs none.
        _check_mode(handle, use_mock=False, hints=hints)
        resolved = Config(provider=handle.provider, model=handle.model)
        _check_address(handle, resolved, hints)
    else:
        resolved = require_config(config)
        _check_provider(handle, resolved)
        _check_mode(handle, use_mock=resolved.use_mock, hints=hints)
    _check_account(handle, resolved, hints)
    return resolved


def _check_mode(handle: CacheHandle | DeferredHandle, *, use_mock: bool, hints: HandleHints) -> None:
    if is_mock_account(handle.account) and not use_mock:
        raise ConfigurationError("the handle was made by the mock", hint=hints.mock)
    # Without an account nothing is known, as with a handle of a release that did not mark those of the mock.
    if use_mock and handle.account is not None and not is_mock_account(handle.account):
        raise ConfigurationError("the handle was not made by the mock", hint=hints.not_mock)


def _check_provider(handle: CacheHandle | DeferredHandle, config: Config) -> None:
    if config.provider.rpartition(":")[2] != handle.provider:
        raise ConfigurationError(
            f"the handle belongs to provider {handle.provider!r}, the config to {config.provider!r}",
            hint="pass the config that the handle was made with",
        )


def _check_address(handle: CacheHandle | DeferredHandle, config: Config, hints: HandleHints) -> None:
    info = read_provider_info(load(PROVIDERS, config.provider))
    wanted, reached = map(info.resolve_base_url, (handle.base_url, config.base_url))
    if wanted != reached:
        address = redact_credentials(wanted)
        raise ConfigurationError(
            f"the handle belongs to the address {address!r}, the key in the environment to {reached!r}",
            hint=hints.address.format(address=address),
        )


def _check_account(handle: CacheHandle | DeferredHandle, config: Config, hints: HandleHints) -> None:
    # Unknown on one side is no proof of a difference: a client handed over may hide its key.
    if None not in {handle.account, config.account} and handle.account != config.account:
        raise ConfigurationError("the handle belongs to another account", hint=hints.account)
