"""``pollux-sync run``: ask, and print the answers."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.api.asking import run_many, to_jsonable
from pollux_sync.cli.answers import build_titles, report_failures, write_answers
from pollux_sync.cli.asking import build_question, build_run_parser, parse_arguments
from pollux_sync.cli.progress import build_progress
from pollux_sync.cli.terminal import write, write_delta
from pollux_sync.commands import DONE, FAILED, declare_parser, write_json, write_line
from pollux_sync.errors import STOPS, ConfigurationError, PolluxError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from pollux_sync.cli.asking import Question
    from pollux_sync.cli.progress import Progress
    from pollux_sync.data.envelope import ResultEnvelope


@declare_parser(build_run_parser)
def main(argv: Sequence[str]) -> int:
    """Ask the questions of ``argv`` and print the answers, or explain what would be sent.

    Return 0 when every prompt was answered. Raises what `run_many` raises, after printing the answers so far.
    """
    arguments = parse_arguments(argv)
    if arguments.template is not None or arguments.param:
        # Imported here, as below, so that a plain call does not pay for it.
        from pollux_sync.cli.templating import apply_template

        apply_template(arguments)
    if arguments.is_continued or arguments.conversation is not None:
        return _continue(arguments)
    return _run(arguments, build_question(arguments))


def _continue(arguments: Namespace) -> int:
    from pollux_sync.cli.conversations import join_conversation, keep_conversation, recall_conversation

    conversation = recall_conversation(arguments)
    question = join_conversation(build_question(arguments), conversation)

    def keep(result: ResultEnvelope) -> None:
        keep_conversation(conversation, result.get("_conversation_state"), question.config, question.options)

    return _run(arguments, question, keep)


def _run(
    arguments: Namespace, question: Question, keep: Callable[[ResultEnvelope], None] = lambda _result: None
) -> int:
    """Ask the question and print the answers; return the exit code. ``keep`` is called with the whole result."""
    _check_stream(arguments, question)
    if arguments.explain or arguments.count_tokens:
        return _explain(arguments, question)
    result = _stream(question) if arguments.stream else _ask_and_write(arguments, question)
    keep(result)
    return FAILED if report_failures(result, include_errors=True) else DONE


def _ask_and_write(arguments: Namespace, question: Question) -> ResultEnvelope:
    try:
        result = _ask(question, build_progress(sys.stderr, is_quiet=arguments.quiet))
    except (PolluxError, *STOPS) as error:
        # What was answered before the failure or the stop was paid for: print it, then let the error through.
        partial: ResultEnvelope | None = getattr(error, "partial_result", None)
        if partial is not None:
            _write_result(partial, question, as_json=arguments.json)
            report_failures(partial, include_errors=False)
        raise
    _write_result(result, question, as_json=arguments.json)
    return result


def _check_stream(arguments: Namespace, question: Question) -> None:
    if not arguments.stream:
        return
    # Streamed answers of several prompts would interleave on the terminal.
    count = len(question.prompts) * (len(question.sources) if question.per_source else 1)
    others = {"--json": arguments.json, "--explain": arguments.explain, "--count-tokens": arguments.count_tokens}
    conflicts = [f"with {name}" for name, is_given in others.items() if is_given]
    conflicts += [f"for {count} answers"] if count != 1 and not conflicts else []
    if conflicts:
        raise ConfigurationError(
            f"--stream prints one answer as text; it cannot be used {' or '.join(conflicts)}",
            hint="leave --stream out",
        )


def _explain(arguments: Namespace, question: Question) -> int:
    from pollux_sync.api.explaining import explain

    explanation = explain(**question.keywords, count_tokens=arguments.count_tokens)
    write_json(explanation.to_dict()) if arguments.json else write(str(explanation))
    return DONE


def _ask(question: Question, progress: Progress | None) -> ResultEnvelope:
    if progress is not None:
        config = attrs.evolve(question.config, plugins=[*(question.config.plugins or ()), progress])
        question = attrs.evolve(question, config=config)
    # The progress line is erased before an answer or an error is printed.
    with progress or nullcontext():
        return run_many(**question.keywords)


def _stream(question: Question) -> ResultEnvelope:
    from pollux_sync.api.streaming import stream_many

    events = stream_many(**question.keywords)
    try:
        for text in events.text_chunks:
            write_delta(text)
    finally:
        write_line("")  # end the line before an error is printed below it
    return events.result()


def _write_result(result: ResultEnvelope, question: Question, *, as_json: bool) -> None:
    plain: dict[str, Any] = to_jsonable(result)
    if as_json:
        write_json(plain)
        return
    identifiers = [source.identifier for source in question.sources]
    write_answers(plain, build_titles(question.prompts, identifiers, per_source=question.per_source))
