"""A call of one configuration -> its answer by another one, for middleware that falls back."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import attrs

from pollux_sync import schemas
from pollux_sync.data.reply import Failure, Reply
from pollux_sync.data.request import Prepared, Request, TextPart
from pollux_sync.data.source import Source
from pollux_sync.data.streaming import ReasoningDelta, StreamStart, TextDelta, ToolCallDelta
from pollux_sync.engine.conversing import dump_turn
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.preparing import prepare_plan
from pollux_sync.engine.sending import send_calls
from pollux_sync.engine.streaming import ActiveStreams, check_streamable, stream_call
from pollux_sync.process import clients, open_call_context

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator

    from pollux_sync.data.request import Call, Part
    from pollux_sync.data.streaming import Delta, StreamEvent
    from pollux_sync.hooks.config import Config
    from pollux_sync.hooks.relay import Hooks
    from pollux_sync.schemas import AnswerFormat


def check_forwarding(call: Call, config: Config, *, is_streamed: bool = False) -> None:
    """Raise what the provider of another configuration would refuse in a call. Nothing is sent."""
    with clients.lease(config) as hooks:
        request = _build_request(call, config)
        if is_streamed:
            check_streamable(request, hooks)
        plan_calls(request, hooks, is_dry_run=True)


def forward_call(call: Call, hooks: Hooks, config: Config, stop: threading.Event) -> Reply:
    """Return the reply to a call of ``hooks`` by another configuration, with all that the call asks for.

    It is planned anew from what the call holds now, so that middleware has rewritten it. Its files are stored for it
    alone. The reply has no state of the other provider, which this one could not read. Raises PolluxError.
    """
    with open_call_context(config) as (others, uploads):
        prepared = prepare_plan(plan_calls(_build_request(call, config), others), others, uploads)
        (outcome,) = send_calls(prepared, others, stop)
        if isinstance(outcome, Failure):
            raise outcome.error
        return _adopt(outcome, call, hooks, prepared)


def forward_stream(call: Call, hooks: Hooks, config: Config, stop: threading.Event) -> Iterator[Delta | Reply]:
    """Yield the deltas and then the reply to a call, as `forward_call`, from a stream of another configuration.

    Once ``stop`` is set, it ends with the next delta.
    """
    with open_call_context(config) as (others, uploads):
        request = _build_request(call, config)
        check_streamable(request, others)
        prepared = prepare_plan(plan_calls(request, others), others, uploads)
        if prepared.blocked:
            raise prepared.blocked[0]
        events = stream_call(prepared.calls[0], others, ActiveStreams(stop), redelivery=prepared.redelivery)
        with closing(events):
            reply = yield from _pass_deltas(events)
        yield _adopt(reply, call, hooks, prepared)


def _build_request(call: Call, config: Config) -> Request:
    """Return the request of a call alone, as it stands now, for another configuration."""
    # The texts are labelled already.
    options = attrs.evolve(call.options, label_sources=False)
    if call.conversation is not None:
        # What only the provider understands stays behind.
        turns = [dump_turn(attrs.evolve(turn, provider_state=None)) for turn in call.conversation.turns]
        options = attrs.evolve(options, history=turns, continue_from=None)
    sources = tuple(map(_find_source, call.parts))
    return Request(prompts=(call.prompt,), sources=sources, config=config, options=options)


def _find_source(part: Part) -> Source:
    return Source.from_text(part.text) if isinstance(part, TextPart) else part.source


def _pass_deltas(events: Generator[StreamEvent, None, Reply | Failure]) -> Generator[Delta, None, Reply]:
    """Yield the deltas among the events of one call, and return its reply. Raises its error."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            outcome: Reply | Failure = end.value
            break
        if isinstance(event, StreamStart | TextDelta | ReasoningDelta | ToolCallDelta):
            yield event
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


def _adopt(reply: Reply, call: Call, hooks: Hooks, prepared: Prepared) -> Reply:
    """Return the reply of another provider as one of the provider of ``hooks``."""
    theirs = prepared.plan.answer_format
    if theirs is not None:
        ours = schemas.answer_format(call.options.response_schema, hooks.info.schema_dialect)
        reply = attrs.evolve(reply, text=_translate(reply.text, theirs, ours))
    return attrs.evolve(reply, response_id=None, provider_state=None)


def _translate(text: str, theirs: AnswerFormat, ours: AnswerFormat) -> str:
    """Return a typed answer in one dialect as the model would have written it in the other."""
    if theirs.sent_schema == ours.sent_schema:
        return text
    try:
        theirs.read(text)
    except schemas.AnswerMismatch:  # it is reported where the answer is read
        return text
    value = theirs.lift(schemas.parse_answer(text))
    return json.dumps(ours.lowered.lower_value(value), ensure_ascii=False)
