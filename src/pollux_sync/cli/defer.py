"""``pollux-sync defer``: submit questions for answers within a day; a job file stands for the job."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pollux_sync.api.deferring import defer_many
from pollux_sync.cli.answers import build_titles
from pollux_sync.cli.asking import add_question_arguments, build_question, parse_arguments
from pollux_sync.cli.codes import EXIT_CODES
from pollux_sync.cli.commands import build_parser
from pollux_sync.commands import DONE, declare_parser, write_line, write_remark
from pollux_sync.engine.journaling import locate_job_file, read_job_file, record_titles
from pollux_sync.errors import STOPS, ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.cli.asking import Question
    from pollux_sync.cli.commands import BuiltInParser
    from pollux_sync.data.jobs import DeferredHandle

_EPILOG = f"""\
The same command with the same job file submits nothing twice. After a failure or an interruption, run it again: it
continues where it stopped. Then use: pollux-sync status FILE, wait FILE, collect FILE, cancel FILE.

{EXIT_CODES}"""


def build_defer_parser() -> BuiltInParser:
    """Return the parser of ``pollux-sync defer``."""
    parser = build_parser(
        "defer",
        "--job FILE PROMPT... [-s SOURCE]... [-p PROVIDER] [-m MODEL] [options]",
        details="Every prompt is asked about all sources.",
        epilog=_EPILOG,
    )
    parser.add_argument("--job", metavar="FILE", required=True, help="the file that records the job")
    add_question_arguments(parser)
    return parser


@declare_parser(build_defer_parser)
def main(argv: Sequence[str]) -> int:
    """Submit the questions of ``argv`` and print the id of the job. Raises what `defer_many` raises."""
    arguments = parse_arguments(argv, build_defer_parser())
    question = build_question(arguments)
    if question.per_source:
        raise ConfigurationError("--per-source cannot be deferred", hint="defer one job for each source")
    # Read before, because defer_many returns the same handle for a job that exists already.
    verb = "already submitted" if _is_submitted(arguments.job) else "submitted"
    handle = _submit(question, arguments.job)
    # For collect, which has no prompts. The job exists: without them its answers have numbers.
    with suppress(OSError, PolluxError):
        record_titles(locate_job_file(arguments.job), build_titles(question.prompts, (), per_source=False))
    # The id alone on stdout: a script can keep it with job=$(pollux-sync defer ...).
    write_line(handle.job_id)
    requests = "1 request" if handle.request_count == 1 else f"{handle.request_count} requests"
    write_remark(f"{verb} {requests}; next: pollux-sync wait {arguments.job}")
    return DONE


def _is_submitted(job_file: str) -> bool:
    path = locate_job_file(job_file)
    return path.exists() and read_job_file(path).handle is not None


def _submit(question: Question, job_file: str) -> DeferredHandle:
    try:
        return defer_many(
            question.prompts,
            sources=question.sources,
            config=question.config,
            options=question.options,
            job_file=job_file,
        )
    except STOPS:
        write_remark("run the same command again: it continues where it stopped, and submits nothing twice")
        raise
