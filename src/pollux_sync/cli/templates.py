"""``pollux-sync templates``: list, show and edit the templates of ``run -t`` and ``chat -t``."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from pollux_sync.cli.commands import build_parser
from pollux_sync.cli.templating import find_file, list_names, locate_folder, read_template, read_text, require_file
from pollux_sync.cli.terminal import write
from pollux_sync.commands import DONE, declare_parser, run_subcommand, write_line, write_remark, write_table
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from pathlib import Path

    from pollux_sync.cli.commands import BuiltInParser

_HEADER = ("NAME", "PLACEHOLDERS", "ABOUT")
_STARTER = """\
# pollux-sync run -t {name} --param topic=lamps
about = ""

system = ""
prompt = "Explain $topic in one sentence."

# provider = ""
# model = ""

[options]
# temperature = 0

# The defaults of placeholders.
[params]
# topic = "lamps"
"""


def build_templates_parser() -> BuiltInParser:
    """Return the parser of ``pollux-sync templates``."""
    parser = build_parser("templates")
    parser.add_subcommand("list", "list all templates, with their placeholders")
    names = {
        "show": parser.add_subcommand("show", "print a template"),
        "edit": parser.add_subcommand("edit", "open a template in $VISUAL or $EDITOR; begin it if there is none"),
    }
    for subcommand in names.values():
        subcommand.add_argument("template", metavar="NAME")
    path = parser.add_subcommand("path", "print the file of a template, or the folder of all")
    path.add_argument("template", metavar="NAME", nargs="?")
    return parser


@declare_parser(build_templates_parser)
def main(argv: Sequence[str]) -> int:
    """Run the subcommand that ``argv`` names. Raises ConfigurationError for a template that cannot be used."""
    return run_subcommand(build_templates_parser(), {"list": _list, "show": _show, "edit": _edit, "path": _path}, argv)


def _list(_arguments: Namespace) -> int:
    write_table([_HEADER, *map(_build_row, list_names())])
    return DONE


def _build_row(name: str) -> tuple[str, ...]:
    try:
        template = read_template(name)
    except ConfigurationError as error:
        return name, "", f"error: {error.message}"
    defaults = {key: f"={value}" for key, value in template.params.items()}
    return name, " ".join(f"{key}{defaults.get(key, '')}" for key in template.placeholders), template.about


def _show(arguments: Namespace) -> int:
    write(read_text(require_file(arguments.template)))
    return DONE


def _path(arguments: Namespace) -> int:
    write_line(str(require_file(arguments.template) if arguments.template else locate_folder()))
    return DONE


def _edit(arguments: Namespace) -> int:
    name = arguments.template
    file = find_file(name)
    if file is None:
        return _begin(name, locate_folder() / f"{name}.toml")
    _open_editor(file)
    read_template(name)  # a mistake is reported now, not when the template is used
    return DONE


def _begin(name: str, file: Path) -> int:
    starter = _STARTER.format(name=name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(starter, encoding="utf-8")
    _open_editor(file)
    if read_text(file) == starter:
        file.unlink()
        write_remark("the template was not changed, and is not kept")
        return DONE
    read_template(name)
    return DONE


def _open_editor(file: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ("notepad" if os.name == "nt" else "vi")
    try:
        # The variable may hold arguments, as in "code --wait".
        code = subprocess.run([*shlex.split(editor, posix=os.name != "nt"), str(file)], check=False).returncode  # noqa: S603
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot start the editor {editor!r}: {error}", hint="set EDITOR") from error
    if code:
        raise ConfigurationError(f"the editor {editor!r} failed with status {code}", hint=f"edit {file} yourself")
