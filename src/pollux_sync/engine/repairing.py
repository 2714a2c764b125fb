"""A bounded second chance for an answer that does not fit its schema. Off unless asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_sync import schemas
from pollux_sync.data.reply import USAGE_FIELDS, Reply, Usage
from pollux_sync.errors import APIError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.data.request import Call
    from pollux_sync.hooks.relay import Hooks
    from pollux_sync.schemas import AnswerFormat


def ask_until_fitting(call: Call, answers: AnswerFormat | None, ask: Callable[[Call], Reply]) -> Reply:
    """Return the reply of ``ask``, asked again up to ``schema_repairs`` times while it does not fit the schema.

    The reply has the usage and the attempts of all turns. When asking again fails, the earlier answer is returned,
    since it was paid for. Raises what the first ``ask`` raises.
    """
    reply = ask(call)
    for _ in range(call.options.schema_repairs if answers is not None else 0):
        problem = _find_mismatch(answers, reply)
        if problem is None:
            break
        try:
            repaired = ask(_build_repair_call(call, reply, problem))
        # The first answer was paid for and may be of use as text.
        except APIError as error:
            return attrs.evolve(reply, attempts=reply.attempts + error.attempts)
        usage = _add_usage(reply.usage, repaired.usage)
        reply = attrs.evolve(repaired, usage=usage, attempts=reply.attempts + repaired.attempts)
    return reply


def find_mismatch(reply: Reply, call: Call, hooks: Hooks) -> str | None:
    """Return why an answer does not fit the response schema of its call, None if it fits or the call has none."""
    wanted = call.options.response_schema
    return None if wanted is None else _find_mismatch(schemas.answer_format(wanted, hooks.info.schema_dialect), reply)


def _find_mismatch(answers: AnswerFormat | None, reply: Reply) -> str | None:
    if answers is None or (reply.tool_calls and not reply.text.strip()):
        return None
    try:
        answers.read(reply.text)
    except schemas.AnswerMismatch as mismatch:
        return str(mismatch)
    return None


def _build_repair_call(call: Call, reply: Reply, problem: str) -> Call:
    """Return the question again with the answer and its problem: as one prompt, which every provider takes."""
    # As one prompt instead of a conversation: that would need a provider with history.
    lines = [call.prompt] if call.prompt else []
    lines += [f"Your earlier answer was:\n{reply.text}", f"It does not fit the schema: {problem}", "Answer again."]
    return attrs.evolve(call, prompt="\n\n".join(lines))


def _add_usage(first: Usage, second: Usage) -> Usage:
    counts = {name: (getattr(first, name), getattr(second, name)) for name in USAGE_FIELDS}
    return Usage(**{name: _add_counts(*pair) for name, pair in counts.items()})


def _add_counts(one: int | None, two: int | None) -> int | None:
    return two if one is None else one + (two or 0)
