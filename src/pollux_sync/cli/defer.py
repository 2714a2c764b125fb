"""``pollux-sync defer``: ask for answers within a day; the job file stands for them."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from pollux_sync.api.deferring import defer_many
from pollux_sync.cli.asking import add_question, parsed, question_from
from pollux_sync.cli.exits import DONE, EXIT_CODES
from pollux_sync.cli.terminal import say, write
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPILOG = f"""\
The same command with the same job file submits nothing twice: after a failure, or a stop at whatever point, it goes
on from there. Then: pollux-sync status FILE, wait FILE, collect FILE, cancel FILE.

{EXIT_CODES}"""


def main(argv: Sequence[str]) -> int:
    """Submit what ``argv`` says, and print the job's id. Raises what `defer_many` raises."""
    arguments = parsed(argv, _parser())
    question = question_from(arguments)
    if question.per_source:
        raise ConfigurationError("--per-source cannot be deferred", hint="defer a job for each source")
    handle = defer_many(
        question.prompts,
        sources=question.sources,
        config=question.config,
        options=question.options,
        job_file=arguments.job,
    )
    write(handle.job_id)
    say(f"{handle.request_count} submitted; next: pollux-sync wait {arguments.job}")
    return DONE


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="pollux-sync defer",
        usage="pollux-sync defer --job FILE PROMPT... [-s SOURCE]... [-p PROVIDER] [-m MODEL] [options]",
        description="Ask for answers within a day, usually at half the price; every prompt sees every source.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--job", metavar="FILE", required=True, help="the file that stands for the job from now on")
    add_question(parser)
    return parser
