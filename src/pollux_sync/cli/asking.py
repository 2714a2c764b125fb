"""The arguments of ``pollux-sync run`` and ``defer`` -> the arguments of `run_many`, checked."""

from __future__ import annotations

import json
import os
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args

import attrs

from pollux_sync.cli.codes import EXIT_CODES
from pollux_sync.cli.commands import build_parser
from pollux_sync.cli.fields import read_schema
from pollux_sync.cli.terminal import is_stdin_piped, read_stdin, remark_if_slow
from pollux_sync.data.config import CA_BUNDLE_VARIABLES, Uploads
from pollux_sync.data.options import CacheTtl, Options, ReasoningSummary, ServiceTier
from pollux_sync.data.retry import RetryPolicy
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.config import MOCK, Config
from pollux_sync.hooks.environment import read_variable
from pollux_sync.hooks.loading import PROVIDERS, list_names

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pollux_sync.cli.commands import BuiltInParser
    from pollux_sync.data.source import Source

PROVIDER_VARIABLE = "POLLUX_SYNC_PROVIDER"
MODEL_VARIABLE = "POLLUX_SYNC_MODEL"

#: The fields of `Config` that `add_route_arguments` sets.
ROUTE_FIELDS = frozenset({"proxy", "ca_bundle"})

#: The values of ``--implicit-caching``, as `Options` has them.
_CACHING: dict[str, bool | str] = {"yes": True, "no": False} | {ttl: ttl for ttl in get_args(CacheTtl)}

_PIPED = "Piped text is a source too; without PROMPT it is the prompt."
_EPILOG = f"""\
sources:
  -s notes.md                      a local file; its first bytes decide its type, or else its name
  -s *.md                          all files that the shell puts there
  -s -                             the text on standard input; piped text beside a prompt is a source by itself
  -s https://example.org/a.png     a URL, fetched by the provider
  -s arxiv:1706.03762              a paper; an arxiv.org URL works too
  -s https://youtu.be/...          a video
  -s stored:application/pdf:ID     a file that is stored at the provider already, by its type and its id there

An API key, a header or a proxy's password cannot be passed as an argument, because arguments show in the list of
processes. Set the key's variable (pollux-sync doctor names it), or write it into a .env file. For a proxy with a
password set HTTPS_PROXY.

{EXIT_CODES}"""


@attrs.frozen(kw_only=True)
class Question:
    """The arguments of `run_many`. The configuration has no observers of the command line yet."""

    prompts: list[str | None]
    sources: list[Source]
    config: Config
    options: Options
    per_source: bool

    @property
    def keywords(self) -> dict[str, Any]:
        """The keyword arguments for `run_many`, `stream_many` and `explain`."""
        return attrs.asdict(self, recurse=False)


def build_question(arguments: Namespace) -> Question:
    """Return the question that the arguments describe. Raises ConfigurationError and SourceError."""
    _refuse_second_reader(arguments)
    config, options = build_settings(arguments)
    # Standard input comes last: a mistake elsewhere is reported at once, not after a slow pipe has ended.
    sources = parse_sources(arguments.source)
    prompts = _list_prompts(arguments)
    sources += _read_piped_source(arguments)
    return Question(prompts=prompts, sources=sources, config=config, options=options, per_source=arguments.per_source)


def build_settings(arguments: Namespace) -> tuple[Config, Options]:
    """Return the configuration and the options that the arguments describe. Raises ConfigurationError."""
    _refuse_secrets(arguments)
    return _build_config(arguments), _build_options(arguments)


def parse_sources(words: Sequence[str]) -> list[Source]:
    """Return the source of each word. Raises SourceError."""
    if not words:
        return []
    # Imported here and below: many questions have no source.
    from pollux_sync.cli.sources import parse_source

    return [parse_source(word) for word in words]


def parse_arguments(argv: Sequence[str], parser: BuiltInParser | None = None) -> Namespace:
    """Return the arguments by name; each word after ``--`` is a prompt. Raises SystemExit as argparse does."""
    words = list(argv)
    parser = parser or build_run_parser()
    # argparse's intermixed mode lets options follow prompts, but drops the -- and then reads options after it.
    end = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_intermixed_args(_mark_sources(words[:end], parser))
    arguments.prompts += words[end + 1 :]
    return arguments


def _mark_sources(words: Sequence[str], parser: BuiltInParser) -> list[str]:
    """Return the words with ``--source=`` before each file that follows ``-s``, as the shell expands ``-s *.md``."""
    marked: list[str] = []
    has_source = is_value = False
    for word in words:
        is_option = not is_value and word.startswith("-") and word != "-"
        is_file = has_source and not (is_value or is_option) and os.path.exists(word)  # noqa: PTH110 - never raises
        marked.append(f"--source={word}" if is_file else word)
        has_source |= is_option and word.startswith(("-s", "--source"))
        is_value = is_option and parser.takes_value(word)
    return marked


def build_run_parser() -> BuiltInParser:
    """Return the parser of ``pollux-sync run``."""
    parser = build_parser(
        "run",
        "PROMPT... [-s SOURCE]... [-p PROVIDER] [-m MODEL] [options]",
        details=f"Every prompt is asked about all sources.\n{_PIPED}",
        epilog=_EPILOG,
    )
    add_question_arguments(parser)
    add_caching_arguments(parser)
    add_conversation_arguments(parser)
    add_template_arguments(parser)
    _add_output_arguments(parser)
    return parser


def add_question_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the commands that ask a list of questions: prompts, sources, model and settings."""
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="a question; - reads it from standard input")
    group = parser.add_argument_group("prompts")
    group.add_argument("--prompts", dest="prompts_file", metavar="FILE", help="read more questions, one per line")
    group.add_argument("--per-source", action="store_true", help="ask each prompt about each source separately")
    add_setting_arguments(parser)


def add_setting_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of every command that asks questions: sources, model and settings.

    The ``dest`` of a setting is the field of `Options` or `Config` that it sets.
    """
    # No argument has a default here: one that is left out stays None, and Options or Config has the default.
    group = parser.add_argument_group("question")
    group.add_argument("-s", "--source", action="append", default=[], help="content for the prompts; repeatable")
    group.add_argument(
        "--label-sources",
        action=BooleanOptionalAction,
        help="introduce each of several texts by its name; default: yes",
    )
    group.add_argument("--system", dest="system_instruction", metavar="TEXT", help="the system instruction")
    answers = group.add_mutually_exclusive_group()
    answers.add_argument(
        "--json-object", dest="response_schema", action="store_const", const=dict, help="ask for any JSON object"
    )
    answers.add_argument(
        "--schema",
        dest="response_schema",
        metavar="FIELDS|FILE",
        help="ask for typed answers: 'name str, age int?, tags list[str]' (types: str, int, float, bool, list; "
        "? makes a field optional), or a file with a JSON Schema",
    )
    _add_model_arguments(parser)
    _add_reach_arguments(parser)


def _add_model_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    add_provider_arguments(group)
    group.add_argument("-m", "--model", help=f"the provider's name of the model; default: {MODEL_VARIABLE}")
    group.add_argument(
        "--mock", dest="use_mock", action="store_true", help="answer offline, without provider, model or key"
    )
    group.add_argument("--temperature", type=float, metavar="X")
    group.add_argument("--top-p", type=float, metavar="X")
    group.add_argument("--stop", action="append", metavar="TEXT", help="end an answer before this text; repeatable")
    group.add_argument("--seed", type=int, metavar="N", help="have the model draw alike, as far as it can")
    group.add_argument(
        "--service-tier", choices=get_args(ServiceTier), help="how soon the answer is wanted, which decides its price"
    )
    group.add_argument("--max-tokens", type=int, metavar="N", help="limit the length of an answer")
    group.add_argument("--reasoning-effort", metavar="LEVEL", help="for example low, medium or high")
    group.add_argument(
        "--reasoning-summary", choices=get_args(ReasoningSummary), help="what the answer shows of the model's thoughts"
    )


def add_provider_arguments(parser: Any) -> None:
    """Add ``--provider`` and ``--base-url`` to a parser or to a group of its arguments."""
    parser.add_argument("-p", "--provider", help=f"an installed provider; default: {PROVIDER_VARIABLE}")
    parser.add_argument("--base-url", metavar="URL", help="address of the provider, where it can be chosen")


def add_route_arguments(parser: Any) -> None:
    """Add ``--proxy`` and ``--ca-bundle`` to a parser or to a group of its arguments."""
    parser.add_argument(
        "--proxy",
        type=_parse_proxy,
        metavar="URL",
        help="address of a proxy; default: that of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY",
    )
    parser.add_argument(
        "--ca-bundle",
        metavar="PATH",
        help=f"a file or folder of trusted certificates; default: that of {' or '.join(CA_BUNDLE_VARIABLES)}",
    )


def _add_reach_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("requests")
    group.add_argument(
        "--concurrency", dest="request_concurrency", type=int, metavar="N", help="requests in flight; default: 6"
    )
    group.add_argument("--timeout", dest="timeout_s", type=float, metavar="S", help="seconds per attempt; default: 600")
    group.add_argument(
        "--stream-timeout",
        dest="stream_timeout_s",
        type=float,
        metavar="S",
        help="seconds for a whole streamed answer; default: 3600",
    )
    group.add_argument(
        "--retries", dest="retry", type=_parse_retries, metavar="N", help="attempts after the first; default: 1"
    )
    group.add_argument(
        "--uploads",
        choices=get_args(Uploads),
        help="whether files are stored at the provider or go inside the requests; default: auto, what costs less",
    )
    add_route_arguments(group)
    _add_plugin_arguments(group)


def _add_plugin_arguments(group: Any) -> None:
    group.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        metavar="NAME",
        help="middleware, innermost first; replaces what is enabled elsewhere; repeatable",
    )
    # Not `provider_options`: Options has a field of that name too, with another meaning.
    group.add_argument(
        "--option",
        action="append",
        default=[],
        type=_parse_setting,
        metavar="KEY=JSON",
        help="a setting that the provider declares; repeatable",
    )
    # Accepted only to be refused: argparse's own error would repeat the secret on the terminal and in logs.
    group.add_argument("--api-key", nargs="?", help=SUPPRESS, const="")
    group.add_argument("--header", dest="headers", nargs="?", help=SUPPRESS, const="")


def add_caching_arguments(parser: ArgumentParser) -> None:
    """Add the arguments about caching, which a deferred job does not have."""
    group = parser.add_argument_group("caching")
    group.add_argument(
        "--implicit-caching",
        type=_parse_caching,
        metavar="|".join(_CACHING),
        help="have the provider cache what requests begin with, or not, or for how long: several prompts share their "
        "sources, and the first goes ahead",
    )


def add_conversation_arguments(parser: ArgumentParser) -> None:
    """Add the arguments that go on with a conversation of before."""
    group = parser.add_argument_group("conversation").add_mutually_exclusive_group()
    group.add_argument(
        "-c",
        "--continue",
        dest="is_continued",
        action="store_true",
        help="go on with the last conversation that was held in this working directory",
    )
    group.add_argument(
        "--conversation", metavar="NAME", help="go on with the conversation of this name, or begin it and keep it"
    )


def add_template_arguments(parser: ArgumentParser) -> None:
    """Add the arguments that name a template and fill its placeholders."""
    group = parser.add_argument_group("template")
    group.add_argument(
        "-t", "--template", metavar="NAME", help="the prompt and the settings of a template; see pollux-sync templates"
    )
    group.add_argument(
        "--param",
        action="append",
        default=[],
        type=_parse_param,
        metavar="NAME=VALUE",
        help="what takes the place of $NAME in the template; repeatable",
    )


def _add_output_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the whole result as JSON")
    group.add_argument("--stream", action="store_true", help="print the answer as it arrives; for one prompt")
    group.add_argument("--explain", action="store_true", help="print what would be sent, and send nothing")
    group.add_argument(
        "--count-tokens", action="store_true", help="like --explain, and let the provider count the input tokens"
    )
    group.add_argument(
        # Stores the value that Options takes; without the flag the field is left out, and the default applies.
        "--keep-errors",
        dest="on_error",
        action="store_const",
        const="keep",
        help="print the error of every failed prompt, not only the first",
    )
    group.add_argument(
        "-q", "--quiet", action="store_true", help="hide the progress line, which a terminal shows after 2 s"
    )


def _refuse_secrets(arguments: Namespace) -> None:
    if arguments.api_key is not None:
        raise ConfigurationError(
            "an API key cannot be an argument, because arguments show in the list of processes",
            hint="set the provider's variable, or write it into .env; `pollux-sync doctor` names it",
        )
    if arguments.headers is not None:
        raise ConfigurationError(
            "a header cannot be an argument, because arguments show in the list of processes",
            hint="set the variable that the provider's page names, or pass Config(headers=...) in a script",
        )


def _refuse_second_reader(arguments: Namespace) -> None:
    # The second reader would get an empty text, and the question would be sent without its content.
    if [*arguments.prompts, *arguments.source].count("-") > 1:
        raise ConfigurationError(
            "standard input can be read only once, but - is given more than once",
            hint="save the text to a file and pass -s FILE",
        )


def require_provider(arguments: Namespace) -> str:
    """Return the provider of ``--provider`` or of the environment. Raises ConfigurationError without one."""
    provider = arguments.provider or read_variable(PROVIDER_VARIABLE) or (MOCK if arguments.use_mock else None)
    if provider is None:
        known = ", ".join(list_names(PROVIDERS))
        raise ConfigurationError(
            "no provider is named", hint=f"pass -p NAME or set {PROVIDER_VARIABLE}; installed: {known}"
        )
    return provider


def _require_model(arguments: Namespace) -> str:
    model = arguments.model or read_variable(MODEL_VARIABLE) or (MOCK if arguments.use_mock else None)
    if model is None:
        raise ConfigurationError("no model is named", hint=f"pass -m MODEL or set {MODEL_VARIABLE}")
    return model


def _build_config(arguments: Namespace) -> Config:
    fields = read_fields(arguments, Config)
    fields |= {"provider": require_provider(arguments), "model": _require_model(arguments)}
    return Config(**fields, provider_options=dict(arguments.option))


def _build_options(arguments: Namespace) -> Options:
    fields = read_fields(arguments, Options)
    # Not a `type` of argparse, which would replace the message and the hint by its own "invalid value".
    if isinstance(fields.get("response_schema"), str):
        fields["response_schema"] = read_schema(fields["response_schema"])
    return Options(**fields)


def read_fields(
    arguments: Namespace, declaration: type[attrs.AttrsInstance], *, only: Collection[str] | None = None
) -> dict[str, Any]:
    """Return the arguments that are fields of ``declaration`` and were given; the others keep its defaults.

    ``only`` limits them to some fields.
    """
    names = {field.name for field in attrs.fields(declaration) if only is None or field.name in only}
    return {name: value for name, value in vars(arguments).items() if name in names and value is not None}


def _list_prompts(arguments: Namespace) -> list[str | None]:
    lines = _read_lines(arguments.prompts_file) if arguments.prompts_file else []
    if arguments.prompts or lines:
        return [*(_read_prompt() if word == "-" else word for word in arguments.prompts), *lines]
    # Only a pipe is read: at a terminal the command would seem to hang until Ctrl-D.
    piped = _read_prompt() if is_stdin_piped() and "-" not in arguments.source else ""
    if piped.strip():
        return [piped]
    # Sources without a prompt are a question of their own, as in run_many(sources=...).
    if arguments.source:
        return [None]
    raise ConfigurationError(
        "there is no prompt", hint="write pollux-sync run 'Who built it?', or pipe the prompt to it"
    )


def _read_piped_source(arguments: Namespace) -> list[Source]:
    """Return the text that is piped beside a prompt as a source; nothing if the text has another place."""
    has_prompt = bool(arguments.prompts or arguments.prompts_file)
    if not has_prompt or "-" in {*arguments.prompts, *arguments.source} or not is_stdin_piped():
        return []
    text = ""
    # A descriptor that is closed, as some services start a command, brings nothing.
    with suppress(OSError), remark_if_slow("reading standard input to its end; if nothing is piped, add < /dev/null"):
        text = read_stdin()
    if not text.strip():
        return []
    from pollux_sync.data.source import Source

    return [Source.from_text(text, identifier="stdin")]


def _read_lines(path: str) -> list[str]:
    try:
        # utf-8-sig, because editors on Windows begin a text file with a byte order mark.
        with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123 - pathlib is slow to import
            text = file.read()
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot read the prompts: {error}", hint="pass a text file with one prompt per line"
        ) from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ConfigurationError(f"{path} contains no prompt", hint="write one prompt per line")
    return lines


def _read_prompt() -> str:
    return read_stdin().rstrip("\r\n")  # echo adds a line end that is no part of the question


def _parse_retries(text: str) -> RetryPolicy:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return RetryPolicy(max_attempts=int(text) + 1)


def _parse_caching(text: str) -> bool | str:
    if text not in _CACHING:
        raise ArgumentTypeError(f"{text!r} is not one of: {', '.join(_CACHING)}")
    return _CACHING[text]


def _parse_proxy(text: str) -> str:
    # A user name is part of the address, a password is a secret. It is not repeated: the error shows on the terminal.
    if ":" in text.rpartition("@")[0].rpartition("//")[2]:
        raise ArgumentTypeError("a password cannot be an argument; set HTTPS_PROXY instead")
    return text


def _parse_param(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _parse_setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        # JSON, so that the type of a value is never guessed: 1, "1" and true are three different settings.
        return key, json.loads(value if equals and key else "")
    except (ValueError, RecursionError):
        raise ArgumentTypeError(f"{text!r} is not KEY=JSON; a string needs quotes: 'key=\"text\"'") from None
