"""The words after ``pollux-sync run`` -> the arguments of `run_many`, checked."""

from __future__ import annotations

import json
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.cli.exits import EXIT_CODES
from pollux_sync.cli.fields import schema_from
from pollux_sync.cli.sources import source_from
from pollux_sync.cli.terminal import is_piped, read_piped
from pollux_sync.data.options import Options
from pollux_sync.data.retry import RetryPolicy
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.config import MOCK, Config
from pollux_sync.hooks.environment import enabled_plugins, lookup
from pollux_sync.hooks.loading import PROVIDERS, known_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.data.source import Source

PROVIDER_VARIABLE = "POLLUX_SYNC_PROVIDER"
MODEL_VARIABLE = "POLLUX_SYNC_MODEL"

_EPILOG = f"""\
sources:
  -s notes.md                      a local file, by its content's type
  -s -                             the text that is piped in
  -s https://example.org/a.png     a URL, fetched by the provider
  -s arxiv:1706.03762              a paper; an arxiv.org URL does too
  -s https://youtu.be/...          a video

API keys are never an argument, since arguments show in the list of processes: set the provider's variable
(pollux-sync doctor names it) or write it into a .env file.

{EXIT_CODES}"""


@attrs.frozen(kw_only=True)
class Question:
    """The arguments of `run_many`; the configuration without observers of the command line."""

    prompts: list[str | None]
    sources: list[Source]
    config: Config
    options: Options
    per_source: bool

    @property
    def by_name(self) -> dict[str, Any]:
        """The arguments by their names."""
        return attrs.asdict(self, recurse=False)


def question_from(arguments: Namespace) -> Question:
    """What the arguments ask for. Standard input is read last, when all else is known to be right.

    Raises ConfigurationError and SourceError.
    """
    _refuse_key(arguments)
    _refuse_two_readers(arguments)
    config = _config(arguments)
    options = _options(arguments)
    sources = [source_from(word) for word in arguments.source]
    prompts = _prompts(arguments)
    return Question(prompts=prompts, sources=sources, config=config, options=options, per_source=arguments.per_source)


def parsed(argv: Sequence[str], parser: ArgumentParser | None = None) -> Namespace:
    """The arguments by name; what follows ``--`` is a prompt each. Raises SystemExit as argparse does."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    arguments = (parser or run_parser()).parse_intermixed_args(words[:end])
    arguments.prompts += words[end + 1 :]
    return arguments


def run_parser() -> ArgumentParser:
    """The options of ``pollux-sync run``."""
    parser = ArgumentParser(
        prog="pollux-sync run",
        usage="pollux-sync run PROMPT... [-s SOURCE]... [-p PROVIDER] [-m MODEL] [options]",
        description="Ask a model; every prompt sees every source. Without PROMPT, the piped text is the prompt.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_question(parser)
    _add_output(parser)
    return parser


def add_question(parser: ArgumentParser) -> None:
    """What is asked, and who: the arguments of every command that asks."""
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="a question; - is the text that is piped in")
    _add_what(parser)
    _add_model(parser)


def _add_what(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("what is asked")
    group.add_argument("--prompts", dest="prompts_file", metavar="FILE", help="more questions, one a line")
    group.add_argument(
        "-s", "--source", action="append", default=[], help="what the prompts are about; may be repeated"
    )
    group.add_argument("--per-source", action="store_true", help="ask each prompt about each source on its own")
    group.add_argument("--system", metavar="TEXT", help="the system instruction")
    group.add_argument(
        "--schema",
        metavar="FIELDS|FILE",
        help="typed answers: 'name str, age int?, tags list[str]' (str, int, float, bool, list; ? is optional), "
        "or a file of JSON Schema",
    )


def _add_model(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("who is asked")
    group.add_argument("-p", "--provider", help=f"an installed provider, by default {PROVIDER_VARIABLE}")
    group.add_argument("-m", "--model", help=f"as the provider calls it, by default {MODEL_VARIABLE}")
    group.add_argument("--base-url", metavar="URL", help="where the provider is, if it may be elsewhere")
    group.add_argument("--mock", action="store_true", help="answer offline, without provider, model and key")
    group.add_argument("--temperature", type=float, metavar="X")
    group.add_argument("--top-p", type=float, metavar="X")
    group.add_argument("--max-tokens", type=int, metavar="N", help="length of an answer at most")
    group.add_argument("--reasoning-effort", metavar="LEVEL", help="e.g. low, medium or high")
    group.add_argument("--concurrency", type=int, metavar="N", help="requests in flight at most, by default 6")
    group.add_argument("--timeout", type=float, metavar="S", help="seconds for one attempt, by default 600")
    group.add_argument("--retries", type=_count, metavar="N", help="attempts after the first, by default 1")
    group.add_argument(
        "--plugin",
        action="append",
        metavar="NAME",
        help="middleware, inner to outer, in place of what is switched on elsewhere; may be repeated",
    )
    group.add_argument(
        "--option",
        action="append",
        default=[],
        type=_setting,
        metavar="KEY=JSON",
        help="a setting that the provider declares for itself; may be repeated",
    )
    group.add_argument("--api-key", nargs="?", help=SUPPRESS, const="")


def _add_output(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("what is printed")
    group.add_argument("--json", action="store_true", help="the whole result as JSON")
    group.add_argument("--stream", action="store_true", help="the one answer as it comes")
    group.add_argument("--explain", action="store_true", help="what would be sent, and send nothing")
    group.add_argument("--count-tokens", action="store_true", help="the same, and the provider counts the input tokens")
    group.add_argument(
        "--keep-errors", action="store_true", help="tell the error of every failed prompt, not the first"
    )
    group.add_argument("-q", "--quiet", action="store_true", help="no progress; it shows on terminals only, after 2 s")


def _refuse_key(arguments: Namespace) -> None:
    if arguments.api_key is not None:
        raise ConfigurationError(
            "a key is no argument, since arguments show in the list of processes",
            hint="set the provider's variable, or write it into .env; `pollux-sync doctor` names it",
        )


def _refuse_two_readers(arguments: Namespace) -> None:
    if [*arguments.prompts, *arguments.source].count("-") > 1:
        raise ConfigurationError(
            "standard input can be read once, - is there more than once",
            hint="save the text to a file and pass -s FILE",
        )


def provider_from(arguments: Namespace) -> str:
    """The provider that is named, or that of the environment. Raises ConfigurationError when there is none."""
    provider = arguments.provider or lookup(PROVIDER_VARIABLE) or (MOCK if arguments.mock else None)
    if provider is None:
        known = ", ".join(known_names(PROVIDERS))
        raise ConfigurationError(
            "no provider is named", hint=f"pass -p NAME or set {PROVIDER_VARIABLE}; installed: {known}"
        )
    return provider


def _config(arguments: Namespace) -> Config:
    provider = provider_from(arguments)
    model = arguments.model or lookup(MODEL_VARIABLE) or (MOCK if arguments.mock else None)
    if model is None:
        raise ConfigurationError("no model is named", hint=f"pass -m MODEL or set {MODEL_VARIABLE}")
    return Config(provider=provider, model=model, use_mock=arguments.mock, **_reach(arguments))


def _reach(arguments: Namespace) -> dict[str, Any]:
    return _given(
        base_url=arguments.base_url,
        request_concurrency=arguments.concurrency,
        timeout_s=arguments.timeout,
        retry=None if arguments.retries is None else RetryPolicy(max_attempts=arguments.retries + 1),
        plugins=enabled_plugins() if arguments.plugin is None else arguments.plugin,
        provider_options=dict(arguments.option),
    )


def _options(arguments: Namespace) -> Options:
    return Options(
        on_error="keep" if getattr(arguments, "keep_errors", False) else "raise",
        **_given(
            system_instruction=arguments.system,
            response_schema=None if arguments.schema is None else schema_from(arguments.schema),
            temperature=arguments.temperature,
            top_p=arguments.top_p,
            max_tokens=arguments.max_tokens,
            reasoning_effort=arguments.reasoning_effort,
        ),
    )


def _prompts(arguments: Namespace) -> list[str | None]:
    lines = _lines_of(arguments.prompts_file) if arguments.prompts_file else []
    if arguments.prompts or lines:
        return [*(_piped_prompt() if word == "-" else word for word in arguments.prompts), *lines]
    piped = _piped_prompt() if is_piped() and "-" not in arguments.source else ""
    if piped.strip():
        return [piped]
    if arguments.source:
        return [None]
    raise ConfigurationError("there is no prompt", hint="pollux-sync run 'Who built it?', or pipe the prompt in")


def _lines_of(path: str) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot read the prompts: {error}", hint="pass a file of one prompt a line"
        ) from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ConfigurationError(f"{path} holds no prompt", hint="write one prompt a line")
    return lines


def _piped_prompt() -> str:
    return read_piped().rstrip("\r\n")


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that were given: the others keep the defaults of the SDK."""
    return {name: value for name, value in fields.items() if value is not None}


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        return key, json.loads(value if equals and key else "")
    except (ValueError, RecursionError):
        raise ArgumentTypeError(f"{text!r} is not KEY=JSON; a text needs its quotes: 'key=\"text\"'") from None
