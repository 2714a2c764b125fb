"""The caller's raw fields and headers -> the encoded request: what it wrote itself is refused, not replaced."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.checks import require_mapping, suggest_key
from pollux_sync.data.config import SecretText
from pollux_sync.data.headers import build_key_error, is_secret, join_values, merge_headers
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.loading import PROVIDERS, list_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pollux_sync.data.options import Options
    from pollux_sync.data.provider import HttpRequest, ProviderInfo

#: What sets the fields that the core writes for every provider.
_SET_BY_THE_CORE = {"model": "Config(model=...)", "stream": "stream() or stream_many()"}
#: The lists to which raw fields add: tools of all kinds, what an answer shall include, and servers of tools.
_LISTS = frozenset({"tools", "include", "mcp_servers"})
#: An option as `managed_by` names it.
_OPTION = re.compile(r"Options\((\w+)=[.\[]")


def check_raw(options: Options, info: ProviderInfo) -> None:
    """Refuse raw fields and headers that no call may set, and those for a provider that is not installed."""
    for name in ("provider_options", "provider_headers"):
        _check_names(name, getattr(options, name) or {}, info)
    fields, headers = (_read_own(given, info) for given in (options.provider_options, options.provider_headers))
    managed = [field for field in sorted(info.managed_fields) if _sets_field(fields, field, info)]
    if managed:
        raise ConfigurationError(
            f"provider_options[{info.name!r}] sets {', '.join(managed)}, which Options and Config manage",
            hint="; ".join(_describe_replacement(field, info) for field in managed),
        )
    for name in headers:
        if name.lower() == info.auth[0].lower():
            raise build_key_error(f"provider_headers[{info.name!r}]", name)


def merge_raw(request: HttpRequest, options: Options, info: ProviderInfo) -> HttpRequest:
    """Return an encoded request with the caller's raw fields and headers.

    Objects are merged; tools and a few other lists are put behind those of the request. Raises ConfigurationError for
    any other value where the request has one already.
    """
    fields, headers = (_read_own(given, info) for given in (options.provider_options, options.provider_headers))
    if fields:
        # The encoder's own fields, not ``body``: files in base64 stay as they are.
        request = attrs.evolve(request, body=_Merger(options, info).merge(request.fields or {}, fields))
    return _add_headers(request, headers, info) if headers else request


def _read_own(given: Mapping[str, Mapping[str, Any]] | None, info: ProviderInfo) -> Mapping[str, Any]:
    return (given or {}).get(info.name) or {}


def _check_names(option: str, given: Mapping[str, Any], info: ProviderInfo) -> None:
    if not given:
        return
    # What is for another installed provider is fine: one Options value may serve several configurations.
    known = {info.name, *list_names(PROVIDERS)}
    for name in given:
        if name not in known:
            raise ConfigurationError(f"{option} names {name!r}, which is not installed", hint=suggest_key(name, known))


def _sets_field(raw: Mapping[str, Any], field: str, info: ProviderInfo) -> bool:
    """Return whether raw fields set a managed one. Raises ConfigurationError where they would replace its object."""
    outer, _, inner = field.partition(".")
    # Null in place of an object leaves it out: whether the call can do without is the encoder's affair.
    if outer not in raw or not inner or raw[outer] is None:
        return outer in raw and not inner
    return inner in require_mapping(f"provider_options[{info.name!r}][{outer!r}]", raw[outer])


class _Merger:
    """Merges raw fields into the body of a call with these options."""

    def __init__(self, options: Options, info: ProviderInfo) -> None:
        self._options = options
        self._info = info

    def merge(self, encoded: Mapping[str, Any], raw: Mapping[str, Any], place: str = "") -> dict[str, Any]:
        """Return the fields of an object with the raw ones; ``place`` is the path of the object, with a dot."""
        # A copy: encoders may return a body that they share between calls.
        merged = dict(encoded)
        for name, value in raw.items():
            merged[name] = self._merge_value(merged.get(name), value, f"{place}{name}")
        return merged

    def _merge_value(self, encoded: Any, raw: Any, path: str) -> Any:
        # Null is how some encoders write that nothing is asked for.
        if encoded is None:
            return raw
        if _is_equal(encoded, raw):
            return encoded
        if isinstance(encoded, dict) and isinstance(raw, dict):
            return self.merge(encoded, raw, f"{path}.")
        if path in _LISTS and isinstance(encoded, list) and isinstance(raw, list | tuple):
            return [*encoded, *raw]
        raise ConfigurationError(
            f"provider_options[{self._info.name!r}] sets {path}, which this call writes itself",
            hint=_describe_way_out(path, self._options, self._info),
        )


def _is_equal(encoded: Any, raw: Any) -> bool:
    # In Python True equals 1.
    return bool(encoded == raw) and isinstance(encoded, bool) == isinstance(raw, bool)


def _describe_replacement(field: str, info: ProviderInfo) -> str:
    """Return the hint for a field that raw fields may never set."""
    writer = _find_writer(field, info)
    return f"leave {field} out" + (f" and use {writer}" if writer else "")


def _describe_way_out(path: str, options: Options, info: ProviderInfo) -> str:
    """Return the hint for a raw field where the call has written one."""
    writer = _find_writer(path, info)
    given = [name for name in _OPTION.findall(writer or "") if getattr(options, name, None) is not None]
    if given:
        return f"leave it out, or leave {' and '.join(given)} out"
    return f"leave it out and use {writer}" if writer else "leave it out"


def _find_writer(path: str, info: ProviderInfo) -> str | None:
    """Return what writes the field at a path, or the object around it."""
    for prefix in _iter_prefixes(path):
        own = f"Options({prefix}=...)" if prefix in info.options else None
        if writer := info.managed_by.get(prefix) or _SET_BY_THE_CORE.get(prefix) or own:
            return writer
    return None


def _iter_prefixes(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]


def _add_headers(request: HttpRequest, headers: Mapping[str, str], info: ProviderInfo) -> HttpRequest:
    """Return a request with the caller's headers, lists of them behind those of the encoder."""
    own = {name.lower(): value for name, value in request.headers.items()}
    for name, value in headers.items():
        if name.lower() not in info.list_headers and own.get(name.lower(), value) != value:
            raise ConfigurationError(
                f"provider_headers[{info.name!r}] holds {name!r}, which this call writes itself", hint="leave it out"
            )
    # No traceback shows the value of a secret one.
    kept = {name: SecretText(value) if is_secret(name) else value for name, value in headers.items()}
    added = {
        name.lower(): join_values(value) if name.lower() in info.list_headers else value for name, value in kept.items()
    }
    merged = merge_headers(request.headers, kept, lists=info.list_headers)
    return attrs.evolve(request, headers=merged, extra_headers=added)
