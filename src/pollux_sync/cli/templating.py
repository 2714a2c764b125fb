"""Templates: files with a prompt, a system instruction and settings, in the user's folder of settings.

A TOML file has all of them as keys. A Markdown file is the prompt; the same keys may stand above it, between two lines
``+++``. Placeholders are those of `string.Template`: ``$name``, ``${name}``, and ``$$`` for a dollar sign.
"""

from __future__ import annotations

import re
import tomllib
from string import Template as Text
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.cli.asking import build_run_parser
from pollux_sync.cli.filling import fill_arguments
from pollux_sync.cli.folders import check_name, locate_settings_folder
from pollux_sync.data.checks import check_keys, suggest_key
from pollux_sync.data.files import read_file
from pollux_sync.data.options import Options
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping
    from pathlib import Path

_ENDINGS = (".toml", ".md")
#: The keys above the prompt of a Markdown file, and the prompt below.
_HEAD = re.compile(r"\+\+\+[ \t]*\n(?P<head>.*?)^\+\+\+[ \t]*\n(?P<prompt>.*)", re.DOTALL | re.MULTILINE)
_HINT = "pollux-sync templates edit {name} opens it"
#: Options that a template does not set: the first has a key of its own, the second is about the output.
_OTHER_OPTIONS = frozenset({"system_instruction", "on_error"})


@attrs.frozen(kw_only=True)
class Template:
    """A template as it was read. ``params`` are the defaults of its placeholders, ``about`` is a line for lists."""

    name: str
    about: str = ""
    system: str | None = None
    prompt: str | None = None
    provider: str | None = None
    model: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    params: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def placeholders(self) -> list[str]:
        """The names of all placeholders, in the order of their first use."""
        texts = [Text(text) for text in (self.system, self.prompt) if text]
        return list(dict.fromkeys(name for text in texts for name in text.get_identifiers()))

    def fill(self, values: Mapping[str, str]) -> tuple[str | None, str | None]:
        """Return system instruction and prompt with ``values``, or the defaults, in place of the placeholders.

        Raises ConfigurationError for a value without placeholder, and for a placeholder without value.
        """
        known, given = self.placeholders, {**self.params, **values}
        unknown = next((name for name in values if name not in known), None)
        if unknown is not None:
            raise ConfigurationError(
                f"template {self.name!r} has no placeholder {unknown!r}", hint=suggest_key(unknown, known)
            )
        missing = [name for name in known if name not in given]
        if missing:
            raise ConfigurationError(
                f"template {self.name!r} needs {', '.join(missing)}",
                hint=f"add {' '.join(f'--param {name}=...' for name in missing)}",
            )
        return self.system and Text(self.system).substitute(given), self.prompt and Text(self.prompt).substitute(given)


def apply_template(arguments: Namespace) -> None:
    """Set the prompt and the settings of the template that the arguments name; what they set themselves stays.

    Raises ConfigurationError.
    """
    if arguments.template is None:
        raise ConfigurationError("--param is for the placeholders of a template", hint="name a template: -t NAME")
    template = read_template(arguments.template)
    system, prompt = template.fill(dict(arguments.param))
    if prompt is not None:
        if arguments.prompts or getattr(arguments, "prompts_file", None):
            raise ConfigurationError(
                f"template {template.name!r} has a prompt already",
                hint="leave yours out, or write a placeholder into the template and pass --param",
            )
        arguments.prompts = [prompt]
    fill_arguments(
        arguments,
        provider=template.provider,
        model=template.model,
        system_instruction=system,
        **template.options,
    )


def locate_folder() -> Path:
    """Return the folder of the templates. It may not exist."""
    return locate_settings_folder() / "templates"


def list_names() -> list[str]:
    """Return the names of all templates."""
    files = [file for ending in _ENDINGS for file in locate_folder().glob(f"[!.]*{ending}")]
    return sorted({file.stem for file in files})


def find_file(name: str) -> Path | None:
    """Return the file of a template, None without one. Raises ConfigurationError when there are two."""
    files = [locate_folder() / f"{check_name('template', name)}{ending}" for ending in _ENDINGS]
    found = [file for file in files if file.exists()]
    if len(found) > 1:
        raise ConfigurationError(
            f"two templates are called {name!r}: {' and '.join(file.name for file in found)}", hint="rename one of them"
        )
    return found[0] if found else None


def require_file(name: str) -> Path:
    """Return the file of a template. Raises ConfigurationError without one."""
    file = find_file(name)
    if file is None:
        raise ConfigurationError(
            f"no template is called {name!r}",
            hint=f"{suggest_key(name, list_names())}; pollux-sync templates edit {name} begins one",
        )
    return file


def read_text(file: Path) -> str:
    """Return the text of a template's file. Raises ConfigurationError."""
    try:
        # utf-8-sig, because editors on Windows begin a text file with a byte order mark.
        return read_file(file).decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"template {file} cannot be read: {error}", hint="save it as text in UTF-8") from error


def read_template(name: str) -> Template:
    """Return the template of this name. Raises ConfigurationError if it does not exist, or has a mistake."""
    file = require_file(name)
    fields = _parse(read_text(file), name, is_markdown=file.suffix == ".md")
    _check_fields(name, fields)
    texts = {key: fields[key].strip() or None for key in ("system", "prompt") if key in fields}
    params = {key: str(value) for key, value in fields.get("params", {}).items()}
    template = Template(name=name, **fields | texts | {"params": params})
    unused = [key for key in params if key not in template.placeholders]
    if unused:
        raise ConfigurationError(
            f"template {name!r} has a default for {unused[0]!r}, but no such placeholder",
            hint=f"write ${unused[0]} into its prompt, or delete the default",
        )
    return template


def _parse(text: str, name: str, *, is_markdown: bool) -> dict[str, Any]:
    parts = _HEAD.fullmatch(text) if is_markdown else None
    head = parts["head"] if parts else "" if is_markdown else text
    try:
        fields = tomllib.loads(head)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"template {name!r} is not valid TOML: {error}", hint=_HINT.format(name=name)
        ) from error
    if not is_markdown:
        return fields
    if "prompt" in fields:
        raise ConfigurationError(f"template {name!r} has two prompts", hint="delete the key: the text is the prompt")
    return fields | {"prompt": parts["prompt"] if parts else text}


def _check_fields(name: str, fields: Mapping[str, Any]) -> None:
    known = {field.name for field in attrs.fields(Template)} - {"name"}
    check_keys(f"template {name!r}", fields, known, other_names={"system_instruction": "system"})
    for key, value in fields.items():
        kind = dict if key in {"options", "params"} else str
        if not isinstance(value, kind):
            raise ConfigurationError(
                f"{key} of template {name!r} must be a {'table' if kind is dict else 'text'}, got {value!r}",
                hint=_HINT.format(name=name),
            )
    check_keys(f"[options] of template {name!r}", fields.get("options", {}), _list_options())
    for key in ("system", "prompt"):
        if not Text(fields.get(key, "")).is_valid():
            raise ConfigurationError(
                f"the {key} of template {name!r} has a $ that begins no placeholder",
                hint="write $name or ${name} for a placeholder, and $$ for a dollar sign",
            )


def _list_options() -> set[str]:
    """Return the options that a template may set: those that have an argument."""
    return build_run_parser().list_flags().keys() & {field.name for field in attrs.fields(Options)} - _OTHER_OPTIONS
