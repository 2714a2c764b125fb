"""``pollux-sync run``: ask, and print the answers."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.api.asking import run_many, to_jsonable
from pollux_sync.cli.answers import complaints, titles_of, write_answers
from pollux_sync.cli.asking import parsed, question_from
from pollux_sync.cli.exits import DONE, FAILED
from pollux_sync.cli.progress import progress_on
from pollux_sync.cli.terminal import say, write, write_json, write_piece
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from pollux_sync.cli.asking import Question
    from pollux_sync.cli.progress import Progress
    from pollux_sync.data.envelope import ResultEnvelope


def main(argv: Sequence[str]) -> int:
    """Ask what ``argv`` says, or explain what would be asked; 0 when everything was answered.

    Raises what `run_many` raises, after the answers that are there all the same have been printed.
    """
    arguments = parsed(argv)
    question = question_from(arguments)
    _refuse_mixed_streams(arguments, question)
    if arguments.explain or arguments.count_tokens:
        from pollux_sync.api.explaining import explain

        explanation = explain(**question.by_name, count_tokens=arguments.count_tokens)
        write_json(explanation.to_dict()) if arguments.json else write(str(explanation))
        return DONE
    if arguments.stream:
        return FAILED if _tell(_shown_as_it_comes(question), tells_errors=True) else DONE
    try:
        result = _asked(question, progress_on(sys.stderr, is_quiet=arguments.quiet))
    except (PolluxError, KeyboardInterrupt) as error:
        partial: ResultEnvelope | None = getattr(error, "partial_result", None)
        if partial is not None:
            _show(partial, question, as_json=arguments.json)
            _tell(partial, tells_errors=False)
        raise
    _show(result, question, as_json=arguments.json)
    return FAILED if _tell(result, tells_errors=True) else DONE


def _refuse_mixed_streams(arguments: Namespace, question: Question) -> None:
    if not arguments.stream:
        return
    count = len(question.prompts) * (len(question.sources) if question.per_source else 1)
    others = {"--json": arguments.json, "--explain": arguments.explain, "--count-tokens": arguments.count_tokens}
    wrong = [name for name, is_given in others.items() if is_given] or ([f"{count} of them"] if count != 1 else [])
    if wrong:
        raise ConfigurationError(
            f"--stream prints one answer as it comes, not {', '.join(wrong)}", hint="leave --stream out"
        )


def _asked(question: Question, progress: Progress | None) -> ResultEnvelope:
    if progress is not None:
        config = attrs.evolve(question.config, plugins=[*(question.config.plugins or ()), progress])
        question = attrs.evolve(question, config=config)
    with progress or nullcontext():
        return run_many(**question.by_name)


def _shown_as_it_comes(question: Question) -> ResultEnvelope:
    from pollux_sync.api.streaming import stream_many

    events = stream_many(**question.by_name)
    try:
        for text in events.text_chunks:
            write_piece(text)
    finally:
        write("")
    return events.result()


def _show(result: ResultEnvelope, question: Question, *, as_json: bool) -> None:
    plain: dict[str, Any] = to_jsonable(result)
    if as_json:
        write_json(plain)
        return
    identifiers = [source.identifier for source in question.sources]
    write_answers(plain, titles_of(question.prompts, identifiers, per_source=question.per_source))


def _tell(result: ResultEnvelope, *, tells_errors: bool) -> bool:
    """Say what is wrong with the answers; whether anything is."""
    told = list(complaints(result, tells_errors=tells_errors))
    for complaint in told:
        say(complaint)
    failed = sum(error is not None for error in result.get("errors", ()))
    if len(result["answers"]) > 1 and failed and not tells_errors:
        say(f"{failed} of {len(result['answers'])} prompts have no answer")
    return bool(told)
