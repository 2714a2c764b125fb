"""Environment and Input -> the arguments of one call; its envelope -> Output. No engine of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from pollux_sync.data.interaction import Environment, Input
from pollux_sync.data.options import Options
from pollux_sync.data.output import Output
from pollux_sync.data.reply import open_calls
from pollux_sync.data.source import Source, readable
from pollux_sync.engine.conversing import STATE_KEY, checked_results, turns_in
from pollux_sync.engine.enveloping import result_of
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.provider import ProviderInfo

#: In a conversation's state: which sources of environments it has shown.
_SHOWN = "shown"
#: Where the options are said that an interaction has a place for.
_PLACES = {
    "system_instruction": "Environment(instructions=...)",
    "tools": "Environment(tools=[...])",
    "tool_choice": "Environment(tool_choice=...)",
    "cache": "Environment(cache=...)",
    "history": "Input(history=[...])",
    "continue_from": "Input(continuation=...)",
}


@attrs.frozen(kw_only=True)
class Asked:
    """An interaction as one prompt, the sources to show with it, and options.

    ``shown`` marks the sources that the conversation has shown when it is answered.
    """

    prompt: str | None
    sources: tuple[Source, ...]
    options: Options
    shown: tuple[str, ...] = ()


def asked_of(
    environment: Environment | None, given: Input | str | None, options: Options | None, info: ProviderInfo
) -> Asked:
    """The arguments of the call that an interaction is. It asks for a conversation to go on from where there are any.

    A continuation is not shown again those sources that it was shown before. Raises ConfigurationError for what is
    no interaction, SourceError for a file that cannot be read.
    """
    around, said = _environment(environment), _input(given)
    settings = around.settings | _conversation(said, keeps_state="history" in info.options)
    before = _shown_before(said)
    marks = [_mark(source) for source in around.sources]
    return Asked(
        prompt=said.content,
        sources=tuple(source for source, mark in zip(around.sources, marks, strict=True) if mark not in before),
        options=attrs.evolve(_options(options), **settings),
        shown=tuple(dict.fromkeys([*before, *marks])),
    )


def answered(asked: Asked, envelope: ResultEnvelope) -> Output:
    """What came of it; the conversation in it knows which sources it has shown."""
    whole = cast("dict[str, Any]", envelope)
    if asked.shown and STATE_KEY in whole:
        whole = whole | {STATE_KEY: whole[STATE_KEY] | {_SHOWN: list(asked.shown)}}
    return Output(cast("ResultEnvelope", whole))


def outputs(envelope: ResultEnvelope) -> list[Output]:
    """The result of each prompt, in the envelope's order."""
    return [Output(result_of(envelope, index)) for index in range(len(envelope["answers"]))]


def _environment(environment: object) -> Environment:
    if isinstance(environment, Environment | None):
        return environment or Environment()
    raise ConfigurationError(
        f"environment must be an Environment, got {type(environment).__name__}",
        hint="interact(input='a question', config=...) needs none",
    )


def _input(given: object) -> Input:
    if isinstance(given, Input):
        return given
    if isinstance(given, str):
        return Input(given)
    raise ConfigurationError(
        f"input must be an Input or a string, got {type(given).__name__}", hint="interact(environment, 'a question')"
    )


def _options(options: object) -> Options:
    if not isinstance(options, Options | None):
        raise ConfigurationError(f"options must be Options, got {type(options).__name__}", hint="options=Options(...)")
    for name, place in _PLACES.items():
        if getattr(options, name, None) is not None:
            raise ConfigurationError(f"{name} of options has a place of its own here", hint=f"pass {place}")
    return options or Options()


def _conversation(said: Input, *, keeps_state: bool) -> dict[str, Any]:
    """The options that say what came before."""
    if said.continuation is not None:
        state = said.continuation.to_dict()
        return {"continue_from": {STATE_KEY: state | {"history": _with_results(turns_in(state), said)}}}
    if said.history or keeps_state:
        return {"history": _with_results([message.to_turn() for message in said.history], said)}
    return {}


def _with_results(turns: list[dict[str, Any]], said: Input) -> list[Mapping[str, Any]]:
    if said.tool_results:
        return [*turns, *checked_results([result.to_turn() for result in said.tool_results], turns)]
    wanted = open_calls(turns)
    if wanted:
        raise ConfigurationError(
            f"the model called {', '.join(wanted)}, which have no result yet",
            hint="pass tool_results, for a call that was not carried out one with is_error=True",
        )
    return [*turns]


def _shown_before(said: Input) -> list[str]:
    marks = None if said.continuation is None else said.continuation.to_dict().get(_SHOWN)
    return [mark for mark in marks if isinstance(mark, str)] if isinstance(marks, list) else []


def _mark(source: Source) -> str:
    """What tells a source from others, whatever it is called."""
    with readable(source):
        return "|".join([source.content_sha256(), *(hint.payload for hint in source.provider_hints)])
