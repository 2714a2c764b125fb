"""An envelope as text for people: the answers under their questions, and an error line for each that failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pollux_sync.cli.exits import format_error
from pollux_sync.cli.terminal import write_answer
from pollux_sync.commands import write_error, write_line, write_remark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: A title must fit beside its number on a line of 80 characters.
_MAX_TITLE = 60


def write_answers(result: Mapping[str, Any], titles: Sequence[str] | None) -> None:
    """Write all answers but empty ones. With several, write a line with number and title above each.

    The titles are the prompts. Where those are not known, ``titles`` is None and only the number is written.
    """
    texts = _list_texts(result)
    for index, text in enumerate(texts):
        if not text.strip():
            continue
        if len(texts) > 1:
            title = f": {titles[index]}" if titles else ""
            write_line(f"--- {index + 1}/{len(texts)}{title} ---")
        write_answer(text)


def build_titles(prompts: Sequence[str | None], identifiers: Sequence[str], *, per_source: bool) -> list[str]:
    """Return one title for each answer, in the order of the answers: the prompt, with ``per_source`` its source too."""
    shown = [_shorten(prompt or "(no prompt)") for prompt in prompts]
    if not per_source:
        return shown
    # With per_source, run_many asks all prompts about the first source, then all about the second.
    return [f"{prompt} ({_shorten(identifier)})" for identifier in identifiers for prompt in shown]


def iter_error_lines(result: Mapping[str, Any], *, include_errors: bool) -> Iterator[str]:
    """Return a line for each answer that is missing, empty or does not fit its schema.

    Calls that failed with an error are left out unless ``include_errors``: the caller raises the first error itself.
    """
    errors = result.get("errors") or [None] * len(result["answers"])
    misfits = result["diagnostics"].get("schema_errors") or [None] * len(result["answers"])
    for index in range(len(errors)):
        where = f"prompt {index + 1} of {len(errors)}: " if len(errors) > 1 else ""
        if errors[index]:
            error = errors[index]
            yield from [format_error(f"{where}{error['message']}", error["hint"])] if include_errors else []
        elif misfits[index]:
            yield f"error: {where}the answer does not fit --schema: {misfits[index]}"


def report_failures(result: Mapping[str, Any], *, include_errors: bool) -> bool:
    """Write what is wrong with the answers to stderr; return True if anything is.

    ``include_errors`` is as in `iter_error_lines`. Without it a line says how many prompts have no answer.
    """
    lines = list(iter_error_lines(result, include_errors=include_errors))
    for line in lines:
        write_error(line)
    failed = sum(error is not None for error in result.get("errors", ()))
    if len(result["answers"]) > 1 and failed and not include_errors:
        write_remark(f"{failed} of {len(result['answers'])} prompts have no answer")
    return bool(lines)


def _list_texts(result: Mapping[str, Any]) -> list[str]:
    # A typed answer is printed as one line of JSON, so that a pipe can read it line by line. One that does not fit its
    # schema is printed as it came: it was paid for, and shows what is wrong.
    typed = result.get("structured") or [None] * len(result["answers"])
    pairs = zip(result["answers"], typed, strict=True)
    return [text if value is None else json.dumps(value, ensure_ascii=False) for text, value in pairs]


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TITLE else f"{line[: _MAX_TITLE - 3]}..."
