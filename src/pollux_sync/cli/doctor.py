"""``pollux-sync doctor``: the installation and its settings, and the problems in both."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.cli.asking import MODEL_VARIABLE, PROVIDER_VARIABLE
from pollux_sync.cli.commands import build_parser
from pollux_sync.cli.inspecting import find_problem, inspect_plugins
from pollux_sync.commands import DONE, FAILED, declare_parser, write_json, write_line, write_table
from pollux_sync.data.config import PROXY_VARIABLES
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.config import Config
from pollux_sync.hooks.environment import PLUGINS_VARIABLE, read_enabled_plugins, read_variable
from pollux_sync.hooks.loading import MIDDLEWARE, PROVIDERS, find, load
from pollux_sync.wire.certificates import check_bundle, read_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_sync.cli.commands import BuiltInParser
    from pollux_sync.cli.inspecting import InstalledPlugin
    from pollux_sync.data.models import Readiness

#: The core, what it needs, and what that needs: the versions that a bug report must state.
_PACKAGES = ("pollux-sync", "attrs", "cattrs", "certifi", "jsonschema", "pluggy", "requests", "urllib3")


@attrs.frozen(kw_only=True)
class Report:
    """The state of an installation.

    People paste it into bug reports. Of a variable that may contain a secret (a key, a proxy, an address with a
    password) it states only whether it is set.
    """

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


def build_doctor_parser() -> BuiltInParser:
    """Return the parser of ``pollux-sync doctor``."""
    parser = build_parser("doctor", details="It reads keys, but never shows them.\nExit code 1: there is a problem.")
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument(
        "--online", action="store_true", help="also check that the default provider and model are ready; costs nothing"
    )
    return parser


@declare_parser(build_doctor_parser)
def main(argv: Sequence[str]) -> int:
    """Print the report. Return 1 when it contains a problem."""
    arguments = build_doctor_parser().parse_args(argv)
    report = _add_readiness(build_report()) if arguments.online else build_report()
    if arguments.json:
        write_json(attrs.asdict(report))
    else:
        _write_report(report)
    return FAILED if report.problems else DONE


def build_report() -> Report:
    """Return the state of this installation, as seen from the working directory. Sends nothing."""
    plugins = inspect_plugins()
    names, origin, middleware_problems = _inspect_middleware()
    bundle, bundle_problems = _inspect_ca_bundle()
    default = read_variable(PROVIDER_VARIABLE)
    problems = [
        *_list_plugin_problems(plugins),
        *middleware_problems,
        *bundle_problems,
        *_list_default_problems(default),
    ]
    return Report(
        python=f"{platform.python_version()} ({platform.python_implementation()}, {platform.system()})",
        packages={name: _find_version(name) for name in _PACKAGES},
        providers=[_describe_provider(plugin) for plugin in plugins if plugin.kind == "provider"],
        default_provider=default,
        default_model=read_variable(MODEL_VARIABLE),
        middleware=names,
        middleware_from=origin,
        # Both spellings: requests reads either.
        proxies_set=[name for name in PROXY_VARIABLES if os.environ.get(name) or os.environ.get(name.lower())],
        ca_bundle=bundle,
        problems=list(dict.fromkeys(problems)),  # enabled middleware that does not load was found twice
    )


def _add_readiness(report: Report) -> Report:
    answers: list[Readiness] = []
    problem = find_problem(lambda: answers.append(_check_default(report)))
    if problem:
        return attrs.evolve(report, problems=[*report.problems, f"online: {problem[0]}"])
    (ready,) = answers
    problems = [] if ready else [f"online: {ready.reason}" + (f" ({ready.hint})" if ready.hint else "")]
    return attrs.evolve(report, problems=[*report.problems, *problems], online=attrs.asdict(ready))


def _check_default(report: Report) -> Readiness:
    # Imported only for --online, so that the offline report needs as little of the package as possible.
    from pollux_sync.api.probing import check_ready

    if report.default_provider is None or report.default_model is None:
        raise ConfigurationError(f"set {PROVIDER_VARIABLE} and {MODEL_VARIABLE}: they name what to check")
    return check_ready(config=Config(provider=report.default_provider, model=report.default_model))


def _find_version(package: str) -> str | None:
    # From the metadata, without an import: a package that fails to import still has a version to report.
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _describe_provider(plugin: InstalledPlugin) -> dict[str, Any]:
    info = plugin.info
    url = info.base_url_env if info else None
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "loads": plugin.problem is None,
        # Whether each variable is set, never its value: a base URL may contain a password too.
        "needs_key": info.needs_key if info else None,
        "keys_set": {name: read_variable(name) is not None for name in info.credential_env} if info else {},
        "base_url_set": {url: read_variable(url) is not None} if url else {},
    }


def _inspect_middleware() -> tuple[list[str], str | None, list[str]]:
    """Return the names of the enabled middleware, the setting that enables it, and the problems with it."""
    names: list[str] = []
    problem = find_problem(lambda: names.extend(read_enabled_plugins()))
    if problem:
        return [], None, [problem[0]]
    broken = filter(None, (find_problem(lambda name=name: load(MIDDLEWARE, name)) for name in names))  # type: ignore[misc]
    # The variable counts even when it is empty: then it disables what pyproject.toml enables.
    in_variable = PLUGINS_VARIABLE in os.environ
    origin = PLUGINS_VARIABLE if in_variable else "[tool.pollux-sync] of the nearest pyproject.toml"
    return names, origin if names or in_variable else None, [message for message, _ in broken]


def _inspect_ca_bundle() -> tuple[str, list[str]]:
    """Return the file of trusted certificates, and the problems with it."""
    path, variable = read_bundle()
    if path is None:
        return "from certifi", []
    problem = find_problem(lambda: check_bundle(path, variable))
    return f"{path} ({variable})", [problem[0]] if problem else []


def _list_plugin_problems(plugins: Sequence[InstalledPlugin]) -> Iterator[str]:
    for plugin in plugins:
        if plugin.problem:
            yield plugin.problem
        if plugin.clash:
            yield f"{plugin.kind} {plugin.name!r} of {plugin.distribution} is {plugin.clash}"


def _list_default_problems(default: str | None) -> list[str]:
    # Only looked up: whether it loads is already among the problems of the plugins.
    problem = find_problem(lambda: find(PROVIDERS, default)) if default else None
    return [f"{PROVIDER_VARIABLE}: {problem[0]}"] if problem else []


def _write_report(report: Report) -> None:
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in report.packages.items())
    write_table(
        [
            ("python", report.python),
            ("packages", packages),
            ("defaults", _describe_defaults(report)),
            ("middleware", _describe_middleware(report)),
            ("proxies", ", ".join(f"{name}: set" for name in report.proxies_set) or "not set"),
            ("ca bundle", report.ca_bundle),
            *([("online", _describe_readiness(report.online))] if report.online else []),
            *((f"provider {provider['name']}", _describe_state(provider)) for provider in report.providers),
        ]
    )
    # One line per problem, even if an exception's message has line breaks: people search the output by line.
    for problem in report.problems:
        write_line(f"problem: {' '.join(problem.split())}")
    write_line(f"{len(report.problems) or 'no'} problem{'' if len(report.problems) == 1 else 's'} found")


def _describe_readiness(online: dict[str, Any]) -> str:
    return f"{'ready' if online['is_ready'] else 'not ready'}, {online['latency_s']:.2f} s"


def _describe_defaults(report: Report) -> str:
    provider, model = report.default_provider or "not set", report.default_model or "not set"
    return f"{PROVIDER_VARIABLE}: {provider}, {MODEL_VARIABLE}: {model}"


def _describe_middleware(report: Report) -> str:
    names = ", ".join(report.middleware) or "none enabled"
    return f"{names} ({report.middleware_from})" if report.middleware_from else names


def _describe_state(provider: dict[str, Any]) -> str:
    """Return a text like ``loads; ACME_API_KEY: set``."""
    facts = ["loads" if provider["loads"] else "does not load"]
    variables = provider["keys_set"] | provider["base_url_set"]
    facts += [f"{name}: {'set' if is_set else 'not set'}" for name, is_set in variables.items()]
    if provider["needs_key"] is False:
        facts.append("no key needed")
    return "; ".join(facts)
