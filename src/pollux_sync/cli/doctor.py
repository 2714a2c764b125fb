"""``pollux-sync doctor``: what is installed and set around it, and what of that is broken."""

from __future__ import annotations

import os
import platform
from argparse import ArgumentParser
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.cli.asking import MODEL_VARIABLE, PROVIDER_VARIABLE
from pollux_sync.cli.exits import DONE, FAILED
from pollux_sync.cli.inspecting import find_problem, inspect_plugins
from pollux_sync.cli.terminal import write, write_json, write_table
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.config import Config
from pollux_sync.hooks.environment import PLUGINS_VARIABLE, read_enabled_plugins, read_variable
from pollux_sync.hooks.loading import MIDDLEWARE, PROVIDERS, find, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_sync.cli.inspecting import InstalledPlugin
    from pollux_sync.data.models import Readiness

_PACKAGES = ("pollux-sync", "attrs", "cattrs", "certifi", "jsonschema", "pluggy", "requests", "urllib3")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
#: As requests reads them, in this order.
_CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@attrs.frozen(kw_only=True)
class Report:
    """What was found. Of variables that may hold a secret it says whether they are set, never the value."""

    python: str
    packages: dict[str, str | None]
    providers: list[dict[str, Any]]
    default_provider: str | None
    default_model: str | None
    middleware: list[str]
    middleware_from: str | None
    proxies_set: list[str]
    ca_bundle: str
    problems: list[str]
    online: dict[str, Any] | None = None


def main(argv: Sequence[str]) -> int:
    """Print the report; 1 when something in it is broken."""
    parser = ArgumentParser(
        prog="pollux-sync doctor",
        description="Look for what is missing or broken. Keys are looked up but never shown. Exit code 1: broken.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="one object")
    parser.add_argument(
        "--online", action="store_true", help="ask the default provider and model whether they are ready; costs nothing"
    )
    arguments = parser.parse_args(argv)
    report = _with_answer(examine()) if arguments.online else examine()
    if arguments.json:
        write_json(attrs.asdict(report))
    else:
        _write_report(report)
    return FAILED if report.problems else DONE


def examine() -> Report:
    """The state of this installation, as seen from the working directory."""
    found = inspect_plugins()
    names, origin, trouble = _middleware()
    bundle, bundle_trouble = _ca_bundle()
    default = read_variable(PROVIDER_VARIABLE)
    problems = [*_plugin_problems(found), *trouble, *bundle_trouble, *_default_problems(default)]
    return Report(
        python=f"{platform.python_version()} ({platform.python_implementation()}, {platform.system()})",
        packages={name: _version(name) for name in _PACKAGES},
        providers=[_provider(plugin) for plugin in found if plugin.kind == "provider"],
        default_provider=default,
        default_model=read_variable(MODEL_VARIABLE),
        middleware=names,
        middleware_from=origin,
        proxies_set=[name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.lower())],
        ca_bundle=bundle,
        problems=list(dict.fromkeys(problems)),
    )


def _with_answer(report: Report) -> Report:
    """The report with what the default provider says, when it is asked for its default model."""
    found: list[Readiness] = []
    wrong = find_problem(lambda: found.append(_asked(report)))
    if wrong:
        return attrs.evolve(report, problems=[*report.problems, f"online: {wrong[0]}"])
    (ready,) = found
    problems = [] if ready else [f"online: {ready.reason}" + (f" ({ready.hint})" if ready.hint else "")]
    return attrs.evolve(report, problems=[*report.problems, *problems], online=attrs.asdict(ready))


def _asked(report: Report) -> Readiness:
    from pollux_sync.api.probing import check_ready

    if report.default_provider is None or report.default_model is None:
        raise ConfigurationError(f"set {PROVIDER_VARIABLE} and {MODEL_VARIABLE}, which say who is asked")
    return check_ready(config=Config(provider=report.default_provider, model=report.default_model))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _provider(plugin: InstalledPlugin) -> dict[str, Any]:
    info = plugin.info
    url = info.base_url_env if info else None
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "loads": plugin.problem is None,
        "needs_key": info.needs_key if info else None,
        "keys_set": {name: read_variable(name) is not None for name in info.key_env} if info else {},
        "base_url_set": {url: read_variable(url) is not None} if url else {},
    }


def _middleware() -> tuple[list[str], str | None, list[str]]:
    """What is switched on, from where, and what is wrong with it."""
    names: list[str] = []
    wrong = find_problem(lambda: names.extend(read_enabled_plugins()))
    if wrong:
        return [], None, [wrong[0]]
    broken = filter(None, (find_problem(lambda name=name: load(MIDDLEWARE, name)) for name in names))  # type: ignore[misc]
    in_variable = PLUGINS_VARIABLE in os.environ
    origin = PLUGINS_VARIABLE if in_variable else "[tool.pollux-sync] of the nearest pyproject.toml"
    return names, origin if names or in_variable else None, [message for message, _ in broken]


def _ca_bundle() -> tuple[str, list[str]]:
    """The file of trusted certificates, and what is wrong with it."""
    variable = next((name for name in _CA_BUNDLES if os.environ.get(name)), None)
    if variable is None:
        return "as certifi brings it", []
    path = os.environ[variable]
    missing = [] if Path(path).exists() else [f"{variable} names {path}, which does not exist"]
    return f"{path} ({variable})", missing


def _plugin_problems(found: Sequence[InstalledPlugin]) -> Iterator[str]:
    for plugin in found:
        if plugin.problem:
            yield plugin.problem
        if plugin.clash:
            yield f"{plugin.kind} {plugin.name!r} of {plugin.distribution} is {plugin.clash}"


def _default_problems(default: str | None) -> list[str]:
    wrong = find_problem(lambda: find(PROVIDERS, default)) if default else None
    return [f"{PROVIDER_VARIABLE}: {wrong[0]}"] if wrong else []


def _write_report(report: Report) -> None:
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in report.packages.items())
    write_table(
        [
            ("python", report.python),
            ("packages", packages),
            ("defaults", _defaults(report)),
            ("middleware", _from(report)),
            ("proxies", ", ".join(f"{name} is set" for name in report.proxies_set) or "none set"),
            ("ca bundle", report.ca_bundle),
            *([("online", _readiness(report.online))] if report.online else []),
            *((f"provider {provider['name']}", _state(provider)) for provider in report.providers),
        ]
    )
    for problem in report.problems:
        write(f"problem: {' '.join(problem.split())}")
    write(f"{len(report.problems) or 'no'} problem{'' if len(report.problems) == 1 else 's'} found")


def _readiness(online: dict[str, Any]) -> str:
    return f"{'ready' if online['is_ready'] else 'not ready'}, {online['latency_s']:.2f} s"


def _defaults(report: Report) -> str:
    provider, model = report.default_provider or "not set", report.default_model or "not set"
    return f"{PROVIDER_VARIABLE}: {provider}, {MODEL_VARIABLE}: {model}"


def _from(report: Report) -> str:
    names = ", ".join(report.middleware) or "none switched on"
    return f"{names} ({report.middleware_from})" if report.middleware_from else names


def _state(provider: dict[str, Any]) -> str:
    """``loads; ACME_API_KEY: set`` and the like."""
    facts = ["loads" if provider["loads"] else "does not load"]
    variables = provider["keys_set"] | provider["base_url_set"]
    facts += [f"{name}: {'set' if is_set else 'not set'}" for name, is_set in variables.items()]
    if provider["needs_key"] is False:
        facts.append("no key needed")
    return "; ".join(facts)
