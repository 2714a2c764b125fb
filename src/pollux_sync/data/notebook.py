"""A result as Markdown, which notebooks show in place of its dict."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.envelope import ResultEnvelope

#: How many answers are shown, and how many characters of each.
_MAX_ANSWERS = 20
_MAX_CHARS = 5000


def format_envelope(envelope: ResultEnvelope) -> str:
    """Return answers and errors, then one line about tokens, time and price."""
    blocks = [*_iter_answers(envelope), f"*{_describe(envelope)}*"]
    return "\n\n".join(blocks)


def _iter_answers(envelope: ResultEnvelope) -> Iterator[str]:
    answers, errors = envelope["answers"], envelope.get("errors") or []
    for index, answer in enumerate(answers[:_MAX_ANSWERS]):
        number = f"**{index + 1}.** " if len(answers) > 1 else ""
        yield number + (answer if len(answer) <= _MAX_CHARS else f"{answer[:_MAX_CHARS]} …")
        if index < len(errors) and (error := errors[index]):
            yield f"**{error['type']}**: {error['message']}"
    if len(answers) > _MAX_ANSWERS:
        yield f"and {len(answers) - _MAX_ANSWERS:,} more answers"


def _describe(envelope: ResultEnvelope) -> str:
    metrics, usage = envelope["metrics"], envelope["usage"]
    facts: list[str] = [envelope["status"]]
    facts += [f"{usage[f'{kind}_tokens']:,} {kind} tokens" for kind in ("input", "output") if f"{kind}_tokens" in usage]
    facts.append(f"{metrics['duration_s']:.1f} s")
    if "cost_usd" in metrics:
        facts.append(f"${metrics['cost_usd']:.4f}")
    return ", ".join(facts)
