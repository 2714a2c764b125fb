"""Environment and Input -> the arguments of one call; its envelope -> Output. No engine of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from pollux_sync.data.interaction import Environment, Input
from pollux_sync.data.options import NO_OPTIONS, Options
from pollux_sync.data.output import Output
from pollux_sync.data.reply import list_open_calls
from pollux_sync.data.source import Source, convert_read_errors
from pollux_sync.engine.conversing import STATE_KEY, check_tool_results, read_turns
from pollux_sync.engine.enveloping import result_of
from pollux_sync.engine.requesting import require_options
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_sync._typed import T
    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.provider import ProviderInfo

#: The key in a conversation's state that lists the sources of environments it has shown.
_SHOWN = "shown"
#: Options that have a place of their own in an interaction, and that place.
_PLACES = {
    "system_instruction": "Environment(instructions=...)",
    "tools": "Environment(tools=[...])",
    "tool_choice": "Environment(tool_choice=...)",
    "cache": "Environment(cache=...)",
    "history": "Input(history=[...])",
    "continue_from": "Input(continuation=...)",
}


@attrs.frozen(kw_only=True)
class Interaction:
    """An interaction as the arguments of one call: a prompt, the sources to show with it, and options.

    ``shown`` has the fingerprints of the sources that the conversation has shown once this call is answered.
    """

    prompt: str | None
    sources: tuple[Source, ...]
    options: Options
    shown: tuple[str, ...] = ()


def build_interaction(
    environment: Environment | None, given: Input | str | None, options: Options | None, info: ProviderInfo
) -> Interaction:
    """Return the arguments of the call for an interaction, which keeps conversation state where the provider can.

    Sources that the continuation has shown before are left out. Raises ConfigurationError for invalid arguments,
    SourceError for a file that cannot be read.
    """
    around, said = _require_environment(environment), _require_input(given)
    settings = around.settings | _build_conversation_options(said, keeps_state="history" in info.options)
    # A document of 30 pages must not be sent again with every turn of the conversation.
    shown_before = _read_shown(said)
    fingerprints = [_build_fingerprint(source) for source in around.sources]
    pairs = zip(around.sources, fingerprints, strict=True)
    return Interaction(
        prompt=said.content,
        sources=tuple(source for source, fingerprint in pairs if fingerprint not in shown_before),
        options=attrs.evolve(_require_free_options(options), **settings),
        shown=tuple(dict.fromkeys([*shown_before, *fingerprints])),
    )


def build_output(interaction: Interaction, envelope: ResultEnvelope[T]) -> Output[T]:
    """Return the envelope as an Output whose conversation state lists the sources it has shown."""
    fields = cast("dict[str, Any]", envelope)
    if interaction.shown and STATE_KEY in fields:
        # A copy: the caller may hold the envelope of `run_many` that this was made from.
        fields = fields | {STATE_KEY: fields[STATE_KEY] | {_SHOWN: list(interaction.shown)}}
    return Output(cast("ResultEnvelope[T]", fields))


def outputs(envelope: ResultEnvelope[T]) -> list[Output[T]]:
    """Return the result of each prompt as an `Output`, in the envelope's order."""
    return [Output(result_of(envelope, index)) for index in range(len(envelope["answers"]))]


def _require_environment(environment: object) -> Environment:
    if isinstance(environment, Environment | None):
        return environment or Environment()
    raise ConfigurationError(
        f"environment must be an Environment, got {type(environment).__name__}",
        hint="interact(input='a question', config=...) needs none",
    )


def _require_input(given: object) -> Input:
    if isinstance(given, Input):
        return given
    if isinstance(given, str):
        return Input(given)
    raise ConfigurationError(
        f"input must be an Input or a string, got {type(given).__name__}", hint="interact(environment, 'a question')"
    )


def _require_free_options(options: object) -> Options:
    """Return the options. Raises ConfigurationError for one that belongs to the Environment or the Input."""
    checked = require_options(options)
    for name, place in _PLACES.items():
        if getattr(checked, name, None) is not None:
            raise ConfigurationError(f"{name} of options has a place of its own here", hint=f"pass {place}")
    return checked or NO_OPTIONS


def _build_conversation_options(said: Input, *, keeps_state: bool) -> dict[str, Any]:
    if said.continuation is not None:
        state = said.continuation.to_dict()
        return {"continue_from": {STATE_KEY: state | {"history": _add_results(read_turns(state), said)}}}
    if said.history or keeps_state:
        return {"history": _add_results([message.to_turn() for message in said.history], said)}
    return {}


def _add_results(turns: list[dict[str, Any]], said: Input) -> list[Mapping[str, Any]]:
    if said.tool_results:
        return [*turns, *check_tool_results([result.to_turn() for result in said.tool_results], turns)]
    open_calls = list_open_calls(turns)
    # Every provider refuses a history that ends in unanswered tool calls.
    if open_calls:
        raise ConfigurationError(
            f"the model called {', '.join(open_calls)}, which have no result yet",
            hint="pass tool_results; for a call that was not carried out, one with is_error=True",
        )
    return [*turns]


def _read_shown(said: Input) -> list[str]:
    shown = None if said.continuation is None else said.continuation.to_dict().get(_SHOWN)
    return [fingerprint for fingerprint in shown if isinstance(fingerprint, str)] if isinstance(shown, list) else []


def _build_fingerprint(source: Source) -> str:
    """Return a text that is equal for equal content and hints, whatever the source is called."""
    with convert_read_errors(source):
        return "|".join([source.content_sha256(), *(hint.payload for hint in source.provider_hints)])
