"""Calls without personal data, and replies with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_redact.detecting import DETECTORS, build_detector, build_name_detector, replace_passages
from pollux_redact.jsontexts import is_json, map_json
from pollux_redact.restoring import PLACEHOLDER, escape_json, restore_reply, restore_stream
from pollux_redact.vault import Vault
from pollux_sync.plugin import ConfigurationError, TextPart, hookimpl, read_variable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from pollux_redact.detecting import Detector
    from pollux_sync.plugin import Call, DeferredJob, Delta, Hooks, Part, Plan, Reply, ToolCall, Turn

_NAME = "redact"


class Redact:
    """Replaces personal data in calls by placeholders, and puts it back into their answers.

    * ``kinds``: of "email", "iban", "card" and "phone", those to replace. Default: POLLUX_REDACT_KINDS, separated by
      commas, else all.
    * ``names``: of people, companies or places, found as whole words. Default: POLLUX_REDACT_NAMES,
      separated by commas.
    * ``patterns``: regular expressions of further data, by a name that stands in the placeholders.
    * ``path``: a file that remembers what placeholders stand for. Default: POLLUX_REDACT_PATH, else only this object
      does. Deferred jobs need the file.

    List it last, so that no other middleware sees what it has put back.
    """

    def __init__(
        self,
        kinds: Iterable[str] | None = None,
        *,
        names: Iterable[str] | None = None,
        patterns: Mapping[str, str] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        # Those of the user first: they may want a part of what the others would take.
        self._detectors = [build_detector(name, pattern) for name, pattern in (patterns or {}).items()]
        self._detectors += _build_name_detectors(names)
        self._detectors += [DETECTORS[kind] for kind in _choose_kinds(kinds)]
        self._vault = Vault(path or read_variable("POLLUX_REDACT_PATH"))

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._vault.close()

    def redact(self, text: str) -> str:
        """Return a text with placeholders in place of personal data. A text that is JSON stays JSON."""
        return self._redact_json(text) if is_json(text) else self._redact_plain(text)

    def _redact_plain(self, text: str) -> str:
        return replace_passages(text, self._detectors, self._vault.find_placeholder)

    def _redact_json(self, text: str) -> str:
        """Return a JSON text, or the beginning of one, with placeholders in its texts and in place of its numbers."""
        return map_json(text, self._redact_plain)

    def restore(self, text: str) -> str:
        """Return a text with the values of the placeholders in it."""
        return PLACEHOLDER.sub(lambda found: self._vault.find_value(found[0]) or found[0], text)

    def _restore_json(self, text: str) -> str:
        """Return a JSON text with the values of the placeholders in it, escaped."""
        return PLACEHOLDER.sub(lambda found: escape_json(self._vault.find_value(found[0]) or found[0]), text)

    @hookimpl(wrapper=True)
    def pollux_plan(self, hooks: Hooks) -> Generator[None, Plan, Plan]:
        plan = yield
        self._check_place(hooks.config.plugins or ())
        if plan.is_deferred and not self._vault.is_lasting:
            raise ConfigurationError(
                "deferred answers can be restored only from a file", hint='pass Redact(path="vault.sqlite")'
            )
        return plan

    def _check_place(self, plugins: Iterable[object]) -> None:
        *_, last = plugins
        if last is not self and not (isinstance(last, str) and last.rpartition(":")[2] == _NAME):
            raise ConfigurationError(
                "pollux-redact must be the last of the plugins: those behind it would see what it has put back",
                hint="plugins=[..., Redact()]",
            )

    @hookimpl(wrapper=True)
    def pollux_rewrite_call(self) -> Generator[None, Call, Call]:
        call = yield
        return self._redact_call(call)

    @hookimpl
    def pollux_call(self, call: Call, proceed: Callable[[Call], Reply]) -> Reply:
        return self._restore_reply(proceed(call), call)

    @hookimpl
    def pollux_call_stream(
        self, call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]]
    ) -> Iterator[Delta | Reply]:
        return restore_stream(proceed(call), self.restore, self._restore_json, is_json=_wants_json(call))

    @hookimpl
    def pollux_call_deferred(self, call: Call, proceed: Callable[[Call], Reply], job: DeferredJob) -> Reply:
        return self._restore_reply(proceed(call), call)

    def _restore_reply(self, reply: Reply, call: Call) -> Reply:
        return restore_reply(reply, self.restore, self._restore_json, is_json=_wants_json(call))

    def _redact_call(self, call: Call) -> Call:
        options, conversation = call.options, call.conversation
        if options.system_instruction is not None:
            options = attrs.evolve(options, system_instruction=self.redact(options.system_instruction))
        if options.stop_texts is not None:
            # The model writes the placeholder, before which it is to end.
            options = attrs.evolve(options, stop=list(map(self._redact_plain, options.stop_texts)))
        if conversation is not None:
            # The turns stand in the conversation; the options would keep them as they were.
            options = attrs.evolve(options, history=[], continue_from=None)
            conversation = attrs.evolve(conversation, turns=tuple(map(self._redact_turn, conversation.turns)))
        return attrs.evolve(
            call,
            prompt=call.prompt and self.redact(call.prompt),
            parts=tuple(map(self._redact_part, call.parts)),
            options=options,
            conversation=conversation,
        )

    def _redact_turn(self, turn: Turn) -> Turn:
        return attrs.evolve(
            turn,
            content=self.redact(turn.content),
            parts=tuple(map(self._redact_part, turn.parts)),
            tool_calls=tuple(map(self._redact_tool_call, turn.tool_calls)),
        )

    def _redact_tool_call(self, call: ToolCall) -> ToolCall:
        return attrs.evolve(call, arguments=self._redact_json(call.arguments))

    def _redact_part(self, part: Part) -> Part:
        if isinstance(part, TextPart):
            return TextPart(self.redact(part.text))
        source = part.source
        # A path names people too, and is logged. An address must stay what it is.
        name = self._redact_plain(source.identifier) if source.source_type == "file" else source.identifier
        return part if name == source.identifier else attrs.evolve(part, source=attrs.evolve(source, identifier=name))


def _wants_json(call: Call) -> bool:
    return call.response_schema is not None or call.options.wants_json_object


def _build_name_detectors(names: Iterable[str] | None) -> list[Detector]:
    if names is None:
        names = _split_list(read_variable("POLLUX_REDACT_NAMES") or "")
    return [build_name_detector(names)] if names else []


def _split_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _choose_kinds(kinds: Iterable[str] | None) -> list[str]:
    if kinds is None:
        listed = read_variable("POLLUX_REDACT_KINDS")
        kinds = DETECTORS if listed is None else _split_list(listed)
    chosen = [kinds] if isinstance(kinds, str) else list(kinds)
    unknown = set(chosen) - set(DETECTORS)
    if unknown:
        raise ConfigurationError(
            f"{min(unknown)!r} is not a kind of data", hint=f"use some of: {', '.join(DETECTORS)}; or patterns={{...}}"
        )
    # In the order of the detectors, whatever that of the list.
    return [kind for kind in DETECTORS if kind in chosen]
