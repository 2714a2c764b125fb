"""A bounded second chance for an answer that does not fit its schema. Off unless asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_sync.data.reply import USAGE_FIELDS, Reply, Usage
from pollux_sync.errors import APIError
from pollux_sync.schemas import AnswerMismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.data.request import Call
    from pollux_sync.schemas import AnswerFormat


def fitting_reply(call: Call, answers: AnswerFormat | None, ask: Callable[[Call], Reply]) -> Reply:
    """The reply of ``ask``, asked again up to ``schema_repairs`` times while it does not fit the schema.

    Usage and attempts of all turns are in the one reply. When asking again fails, the answer before it stays:
    it was paid for. Raises what the first ``ask`` raises.
    """
    reply = ask(call)
    for _ in range(call.options.schema_repairs if answers is not None else 0):
        problem = _misfit(answers, reply)
        if problem is None:
            break
        try:
            again = ask(_asking_again(call, reply, problem))
        except APIError as error:
            return attrs.evolve(reply, attempts=reply.attempts + error.attempts)
        usage = _sum(reply.usage, again.usage)
        reply = attrs.evolve(again, usage=usage, attempts=reply.attempts + again.attempts)
    return reply


def _misfit(answers: AnswerFormat | None, reply: Reply) -> str | None:
    if answers is None or (reply.tool_calls and not reply.text.strip()):
        return None
    try:
        answers.read(reply.text)
    except AnswerMismatch as mismatch:
        return str(mismatch)
    return None


def _asking_again(call: Call, reply: Reply, problem: str) -> Call:
    """The same question with the answer and what is wrong with it: a prompt, so that every provider takes it."""
    said = [call.prompt] if call.prompt else []
    said += [f"Your earlier answer was:\n{reply.text}", f"It does not fit the schema: {problem}", "Answer again."]
    return attrs.evolve(call, prompt="\n\n".join(said))


def _sum(first: Usage, second: Usage) -> Usage:
    counts = {name: (getattr(first, name), getattr(second, name)) for name in USAGE_FIELDS}
    return Usage(**{name: _plus(*pair) for name, pair in counts.items()})


def _plus(one: int | None, two: int | None) -> int | None:
    return two if one is None else one + (two or 0)
