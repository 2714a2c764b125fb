"""The arguments of ``pollux-sync batch`` -> the arguments of a job, checked."""

from __future__ import annotations

import json
import os
from argparse import SUPPRESS, Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import attrs

from pollux_batch.cli.codes import EXIT_CODES
from pollux_batch.data.settings import Budget, Dedupe, Limits, OnDrift, Retries, Route
from pollux_batch.reading import ItemReader, read_csv, read_jsonl, read_parquet
from pollux_sync import Config, Options
from pollux_sync.commands import CommandParser
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

PROVIDER_VARIABLE = "POLLUX_SYNC_PROVIDER"
MODEL_VARIABLE = "POLLUX_SYNC_MODEL"

_MOCK = "mock"
_RUN_HELP = "ask all items of a file; the same command goes on where it stopped"
_EPILOG = f"""\
INPUT is a file of JSON lines (.jsonl), a table (.csv, .tsv) whose first line names the columns, or a .parquet file.

A row that cannot be read fails alone. Answers are kept in the journal: after a failure or an interruption run the same
command again, or `resume JOURNAL`, and what is answered is not paid for again. OUT is written once all items have
ended.

An API key cannot be passed as an argument, because arguments show in the list of processes. Set the key's variable
(pollux-sync doctor names it), or write it into a .env file.

{EXIT_CODES}"""


@attrs.frozen(kw_only=True)
class Order:
    """The arguments of `run` and `plan`, read and checked."""

    items: ItemReader
    config: Config
    options: Options
    journal: str


def build_parser() -> CommandParser:
    """Return the parser of all commands."""
    parser = CommandParser(
        prog="pollux-sync batch",
        description="Ask thousands to millions of prompts, answered once each. COMMAND --help shows the options.",
        epilog=EXIT_CODES,
    )
    add = partial(parser.add_subcommand, epilog=EXIT_CODES)
    _add_run_arguments(add("run", _RUN_HELP, epilog=_EPILOG))
    plan = add("plan", "count what run would send, and send nothing; it takes the same arguments", epilog=_EPILOG)
    _add_run_arguments(plan)
    _add_resume_arguments(add("resume", "go on with the job of a journal, with the arguments of its last run"))
    for name, about in (
        ("status", "show what a journal holds, also while a job runs"),
        ("explain", "show the runs of a journal, what failed, and what was lost in flight"),
    ):
        _add_journal_arguments(add(name, about))
    _add_export_arguments(add("export", "write the answers of a journal to a file"))
    _add_report_arguments(add("report", "write what a journal holds as a page of HTML, also while a job runs"))
    return parser


def _add_run_arguments(parser: CommandParser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a .jsonl, .csv, .tsv or .parquet file")
    parser.add_argument("-j", "--journal", metavar="FILE", required=True, help="the file that keeps the answers")
    group = parser.add_argument_group("items")
    prompts = group.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", metavar="COLUMN", help="the column of the prompt; default: prompt")
    prompts.add_argument("--template", metavar="TEXT", help="a prompt with columns in braces: 'Translate {text}'")
    group.add_argument("--id", metavar="COLUMN", help="the column that labels an item; default: the number of its row")
    _add_question_arguments(parser)
    _add_pace_arguments(parser)
    _add_output_arguments(parser)


def _add_question_arguments(parser: CommandParser) -> None:
    group = parser.add_argument_group("question")
    _add_provider_arguments(group)
    group.add_argument("--system", dest="system_instruction", metavar="TEXT", help="the system instruction")
    group.add_argument("--schema", metavar="FILE", help="ask for typed answers: a file with a JSON Schema")
    group.add_argument("--temperature", type=float, metavar="X")
    group.add_argument("--max-tokens", type=int, metavar="N", help="limit the length of an answer")


def _add_provider_arguments(group: Any) -> None:
    group.add_argument("-p", "--provider", help=f"an installed provider; default: {PROVIDER_VARIABLE}")
    group.add_argument("-m", "--model", help=f"the provider's name of the model; default: {MODEL_VARIABLE}")
    group.add_argument("--base-url", metavar="URL", help="address of the provider, where it can be chosen")
    group.add_argument("--timeout", dest="timeout_s", type=float, metavar="S", help="seconds per attempt; default: 600")
    group.add_argument("--mock", dest="use_mock", action="store_true", help="answer offline, without provider or key")
    # Accepted only to be refused: argparse's own error would repeat the secret on the terminal and in logs.
    group.add_argument("--api-key", nargs="?", help=SUPPRESS, const="")


def _add_pace_arguments(parser: CommandParser) -> None:
    # No argument has a default here: one that is left out stays None, and the settings have the default.
    group = parser.add_argument_group("pace and cost")
    group.add_argument(
        "--route",
        choices=get_args(Route),
        help="live calls, the provider's deferred jobs, or what suits --deadline; default: live",
    )
    group.add_argument("--fleet", metavar="NAME", help="an installed fleet whose machines make the calls")
    group.add_argument(
        "--no-wait", action="store_true", help="with these routes or a fleet: submit, take what is there, return"
    )
    group.add_argument("--workers", type=int, metavar="N", help="the most calls in flight; default: 32")
    group.add_argument("--processes", type=int, metavar="N", help="how many processes make the calls; default: 1")
    group.add_argument("--rpm", dest="requests_per_minute", type=float, metavar="N", help="requests per minute")
    group.add_argument("--tpm", dest="tokens_per_minute", type=float, metavar="N", help="tokens per minute")
    group.add_argument("--attempts", dest="max_attempts", type=int, metavar="N", help="tries of an item; default: 3")
    budgets = group.add_mutually_exclusive_group()
    budgets.add_argument("--budget-usd", type=float, metavar="X", help="dollars of all runs; needs a plugin of prices")
    budgets.add_argument("--budget-tokens", type=int, metavar="N", help="tokens of all runs, input and output together")
    group.add_argument("--dedupe", choices=get_args(Dedupe), help="whether equal requests are asked once")
    group.add_argument(
        "--on-drift",
        choices=get_args(OnDrift),
        help="what to do with an answered question that is rendered otherwise now; default: stop",
    )
    group.add_argument("--deadline", dest="deadline_s", type=float, metavar="S", help="begin nothing after S seconds")
    group.add_argument("--fail-fast", action="store_true", help="stop at the first item that failed")


def _add_output_arguments(parser: CommandParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--out", metavar="OUT", help="write rows with their answers; failed ones to *.failed.*")
    group.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    group.add_argument("--prefix", default="", metavar="TEXT", help="begin the names of the added columns with it")
    group.add_argument("--json", action="store_true", help="print the summary or the plan as JSON")
    group.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _add_resume_arguments(parser: CommandParser) -> None:
    _add_journal_arguments(parser)
    parser.add_argument("--explain", action="store_true", help="show what was in flight and what is left; send nothing")
    parser.add_argument("--changed-input", action="store_true", help="go on although the input has changed")
    parser.add_argument("--overwrite", action="store_true", help="replace the output of the run if it exists")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _add_journal_arguments(parser: CommandParser) -> None:
    parser.add_argument("journal", metavar="JOURNAL")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_export_arguments(parser: CommandParser) -> None:
    parser.add_argument("journal", metavar="JOURNAL")
    parser.add_argument("out", metavar="OUT", help="a .jsonl, .csv or .parquet file")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    group = parser.add_argument_group("decoding, without which answers are written as they came")
    _add_provider_arguments(group)


def _add_report_arguments(parser: CommandParser) -> None:
    parser.add_argument("journal", metavar="JOURNAL")
    parser.add_argument("out", metavar="OUT", help="an .html file")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--texts", action="store_true", help="show a sample of 20 answers")
    group = parser.add_argument_group("decoding of the sample, which is shown as it came without")
    _add_provider_arguments(group)


def build_order(arguments: Namespace) -> Order:
    """Return what `run` and `plan` are to do. Raises ConfigurationError."""
    return Order(
        config=build_config(arguments),
        options=_build_options(arguments),
        items=_open_items(arguments),
        journal=arguments.journal,
    )


def build_settings(arguments: Namespace) -> dict[str, Any]:
    """Return the keyword arguments of a job that say how it is carried out. Raises ConfigurationError."""
    names = ("route", "fleet", "workers", "processes", "dedupe", "on_drift", "deadline_s")
    settings = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.budget_usd is not None or arguments.budget_tokens is not None:
        settings["budget"] = Budget(usd=arguments.budget_usd, tokens=arguments.budget_tokens)
    return {
        **settings,
        "wait": not arguments.no_wait,
        "fail_fast": arguments.fail_fast,
        "limits": Limits(**_read_fields(arguments, Limits)),
        "retries": Retries(**_read_fields(arguments, Retries)),
    }


def build_config(arguments: Namespace) -> Config:
    """Return the configuration that the arguments name. Raises ConfigurationError."""
    if arguments.api_key is not None:
        raise ConfigurationError(
            "an API key cannot be an argument, because arguments show in the list of processes",
            hint="set the provider's variable, or write it into .env; `pollux-sync doctor` names it",
        )
    fields = _read_fields(arguments, Config)
    fields["provider"] = _require(arguments, "provider", PROVIDER_VARIABLE, "-p NAME")
    fields["model"] = _require(arguments, "model", MODEL_VARIABLE, "-m MODEL")
    return Config(**fields)


def build_decoding_config(arguments: Namespace) -> Config | None:
    """Return the configuration whose plugin decodes answers, None if no provider is named."""
    # The variables of the environment alone are no wish to decode: the journal may be another provider's.
    is_decoded = arguments.provider or arguments.use_mock or arguments.api_key is not None
    return build_config(arguments) if is_decoded else None


def _require(arguments: Namespace, name: str, variable: str, option: str) -> str:
    value = getattr(arguments, name) or os.environ.get(variable) or (_MOCK if arguments.use_mock else None)
    if not value:
        raise ConfigurationError(f"no {name} is named", hint=f"pass {option} or set {variable}")
    return str(value)


def _build_options(arguments: Namespace) -> Options:
    fields = _read_fields(arguments, Options)
    if arguments.schema is not None:
        fields["response_schema"] = _read_schema(Path(arguments.schema))
    return Options(**fields)


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"cannot read the schema {str(path)!r}: {error}", hint="--schema takes a file of JSON Schema"
        ) from error
    if not isinstance(schema, dict):
        raise ConfigurationError(
            f"{str(path)!r} contains a {type(schema).__name__}, not a JSON Schema",
            hint='start with {"type": "object", ...}',
        )
    return schema


def _open_items(arguments: Namespace) -> ItemReader:
    read = _READERS.get(Path(arguments.input).suffix)
    if read is None:
        raise ConfigurationError(
            f"{arguments.input!r} has no known format", hint=f"end it with one of: {', '.join(sorted(_READERS))}"
        )
    return read(arguments.input, prompt=arguments.prompt, template=arguments.template, id=arguments.id)


def _read_tsv(path: str, **columns: Any) -> ItemReader:
    return read_csv(path, delimiter="\t", **columns)


_READERS: dict[str, Callable[..., ItemReader]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": _read_tsv,
    ".parquet": read_parquet,
}


def _read_fields(arguments: Namespace, declaration: type[attrs.AttrsInstance]) -> dict[str, Any]:
    """Return the arguments that are fields of ``declaration`` and were given; the others keep its defaults."""
    names = {field.name for field in attrs.fields(declaration)}
    return {name: value for name, value in vars(arguments).items() if name in names and value is not None}
