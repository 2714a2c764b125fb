"""An envelope for people: the answers under their questions, and what is wrong with each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pollux_sync.cli.terminal import write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHOWN = 60


def write_answers(result: Mapping[str, Any], titles: Sequence[str]) -> None:
    """Every answer that is there; with several questions, each below a line with its number and title."""
    for index, text in enumerate(_texts(result)):
        if not text.strip():
            continue
        if len(titles) > 1:
            write(f"--- {index + 1}/{len(titles)}: {titles[index]} ---")
        write(text)


def titles_of(prompts: Sequence[str | None], identifiers: Sequence[str], *, per_source: bool) -> list[str]:
    """What each answer is about, in the order of the answers."""
    shown = [_one_line(prompt or "(no prompt)") for prompt in prompts]
    if not per_source:
        return shown
    return [f"{prompt} ({_one_line(identifier)})" for identifier in identifiers for prompt in shown]


def complaints(result: Mapping[str, Any], *, tells_errors: bool) -> Iterator[str]:
    """A line for each answer that is missing, empty or does not fit; errors only where they are told here."""
    errors = result.get("errors") or [None] * len(result["answers"])
    misfits = result["diagnostics"].get("schema_errors") or [None] * len(result["answers"])
    for index, answer in enumerate(result["answers"]):
        where = f"prompt {index + 1} of {len(errors)}: " if len(errors) > 1 else ""
        if errors[index]:
            yield from [f"error: {where}{_told(errors[index])}"] if tells_errors else []
        elif not answer.strip() and not _has_tool_calls(result, index):
            reason = result["metrics"]["finish_reasons"][index]
            yield f"error: {where}the answer is empty" + (f" (finish reason: {reason})" if reason else "")
        elif misfits[index]:
            yield f"error: {where}the answer does not fit --schema: {misfits[index]}"


def _texts(result: Mapping[str, Any]) -> list[str]:
    """The answers; with a schema, those that fit it as one line of JSON."""
    typed = result.get("structured") or [None] * len(result["answers"])
    pairs = zip(result["answers"], typed, strict=True)
    return [text if value is None else json.dumps(value, ensure_ascii=False) for text, value in pairs]


def _told(error: Mapping[str, Any]) -> str:
    return f"{error['message']}\n  hint: {error['hint']}" if error["hint"] else str(error["message"])


def _has_tool_calls(result: Mapping[str, Any], index: int) -> bool:
    return bool((result.get("tool_calls") or {}) and result["tool_calls"][index])


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."
