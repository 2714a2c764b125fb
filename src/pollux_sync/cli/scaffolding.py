"""``pollux-sync new-provider`` and ``new-middleware``: write a distribution to begin from, whose tests pass."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib.resources import files
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import attrs

from pollux_sync._version import VERSION
from pollux_sync.cli.commands import build_parser
from pollux_sync.commands import DONE, declare_parser, write_line
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.loading import MIDDLEWARE, PROVIDERS, list_known_names

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Sequence
    from importlib.resources.abc import Traversable

    from pollux_sync.hooks.loading import Group

#: The normal form of a name (PEP 503) that begins with a letter, because a class and a variable are named after it.
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
#: A line of a template that imports names: a statement, or one of the names between its brackets.
_IMPORT = re.compile(r"\s*(?:from|import) |\s+\w+,$")
_PREFIX = "pollux-"
#: The ending of a template. It keeps tools from reading a template as the file that will be written.
_ENDING = ".txt"
#: Stands in the path of a template for the name of the package.
_PACKAGE = "PACKAGE"


@attrs.frozen(kw_only=True)
class Scaffold:
    """A distribution to write: its templates, the group of its entry point, and its dependencies."""

    templates: str
    group: Group
    summary: str
    dependencies: tuple[str, ...] = ()


_PROVIDER = Scaffold(
    templates="provider", group=PROVIDERS, summary="pollux-sync provider for $name.", dependencies=("attrs>=24.2",)
)
_CHAT_PROVIDER = attrs.evolve(_PROVIDER, templates="chat", dependencies=())
_MIDDLEWARE = Scaffold(templates="middleware", group=MIDDLEWARE, summary="pollux-sync middleware $name.")


def build_provider_parser() -> ArgumentParser:
    """Return the parser of ``new-provider``."""
    parser = _build_parser("new-provider")
    parser.add_argument(
        "--chat-completions",
        action="store_true",
        help="the service speaks Chat Completions: begin from the helpers for it",
    )
    return parser


def build_middleware_parser() -> ArgumentParser:
    """Return the parser of ``new-middleware``."""
    return _build_parser("new-middleware")


@declare_parser(build_provider_parser)
def new_provider(argv: Sequence[str]) -> int:
    """Write the distribution of a provider. Raises ConfigurationError."""
    arguments = build_provider_parser().parse_args(argv)
    scaffold = _CHAT_PROVIDER if arguments.chat_completions else _PROVIDER
    return _write_distribution(scaffold, arguments.name, arguments.folder)


@declare_parser(build_middleware_parser)
def new_middleware(argv: Sequence[str]) -> int:
    """Write the distribution of middleware. Raises ConfigurationError."""
    arguments = build_middleware_parser().parse_args(argv)
    return _write_distribution(_MIDDLEWARE, arguments.name, arguments.folder)


def _build_parser(command: str) -> ArgumentParser:
    parser = build_parser(command, details="Its tests pass as they are written.")
    parser.add_argument("name", metavar="NAME", help="the name by which it is asked for: lower case, digits, hyphens")
    parser.add_argument("--folder", type=Path, metavar="PATH", help="where to write it, by default ./pollux-NAME")
    return parser


def _write_distribution(scaffold: Scaffold, name: str, folder: Path | None) -> int:
    _check_name(scaffold, name)
    target = folder or Path(f"{_PREFIX}{name}")
    values = _build_values(scaffold, name)
    try:
        _check_folder(target)
        for path, template in _iter_templates(scaffold):
            _write_file(target / path.replace(_PACKAGE, values["package"]), Template(template).substitute(values))
    except OSError as error:
        raise ConfigurationError(f"cannot write {target}: {error}", hint="choose another --folder") from error
    for line in _describe_steps(target):
        write_line(line)
    return DONE


def _check_name(scaffold: Scaffold, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} cannot be the name of a plugin", hint=_suggest_name(name))
    if name.startswith(_PREFIX):
        raise ConfigurationError(
            f"the distribution would be called {_PREFIX}{name}", hint=f"name it {name.removeprefix(_PREFIX)}"
        )
    if name in list_known_names(scaffold.group) or find_spec(_name_package(name)) is not None:
        raise ConfigurationError(
            f"{name!r} is taken by an installed package, or by one of this project", hint="choose another name"
        )


def _suggest_name(name: str) -> str:
    normal = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    rule = "use lower-case letters, digits and single hyphens, with a letter first"
    return f"{rule}: {normal}" if _NAME.fullmatch(normal) else rule


def _check_folder(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        raise ConfigurationError(
            f"{target} exists already, and is not an empty folder", hint="choose another --folder, or empty this one"
        )


def _build_values(scaffold: Scaffold, name: str) -> dict[str, str]:
    """Return the values of the placeholders in the templates."""
    package = _name_package(name)
    major, minor = map(int, VERSION.split(".")[:2])
    dependencies = (*scaffold.dependencies, f"pollux-sync>={major}.{minor},<{major}.{minor + 1}")
    return {
        "name": name,
        "distribution": f"{_PREFIX}{name}",
        "package": package,
        "class_name": _name_class(scaffold, name),
        "key_env": f"{name.upper().replace('-', '_')}_API_KEY",
        "group": scaffold.group,
        "summary": Template(scaffold.summary).substitute(name=name),
        "dependencies": ", ".join(f'"{dependency}"' for dependency in dependencies),
        "year": str(datetime.now(UTC).year),
    }


def _name_class(scaffold: Scaffold, name: str) -> str:
    """Return the name of the plugin's class, which must not be a word of Python or a name that its module imports."""
    class_name = "".join(word.capitalize() for word in name.split("-"))
    imports = (line for _, text in _iter_templates(scaffold) for line in text.splitlines() if _IMPORT.match(line))
    taken = {word for line in imports for word in re.findall(r"\w+", line)}
    return f"{class_name}Plugin" if iskeyword(class_name) or class_name in taken else class_name


def _name_package(name: str) -> str:
    return f"{_PREFIX}{name}".replace("-", "_")


def _iter_templates(scaffold: Scaffold) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each template: those of all kinds, and those of this one."""
    root = files("pollux_sync.cli") / "templates"
    for folder in ("common", scaffold.templates):
        yield from _iter_files(root / folder, "")


def _iter_files(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _iter_files(entry, f"{path}{entry.name}/")
        elif entry.name.endswith(_ENDING):
            yield path + entry.name.removesuffix(_ENDING), entry.read_text(encoding="utf-8")


def _write_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _describe_steps(target: Path) -> Iterator[str]:
    yield f"written to {target}:"
    yield from (f"  {path.relative_to(target)}" for path in sorted(target.rglob("*")) if path.is_file())
    yield f"next: cd {target}, pip install -e '.[test]', pytest"
