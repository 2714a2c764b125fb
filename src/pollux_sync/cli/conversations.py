"""Conversations that are kept between runs: one file each, in the user's folder of states."""

from __future__ import annotations

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from pollux_sync.cli.filling import fill_arguments
from pollux_sync.cli.folders import check_name, locate_state_folder
from pollux_sync.data.files import read_file
from pollux_sync.engine.conversing import STATE_KEY, STATE_VERSION
from pollux_sync.engine.journaling import write_atomically
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from pollux_sync.cli.asking import Question
    from pollux_sync.data.options import Options
    from pollux_sync.hooks.config import Config

_VERSION = 1


@attrs.frozen(kw_only=True)
class Conversation:
    """The turns of a conversation, and what the next turn needs: provider, model and system instruction.

    ``directory`` is the working directory of the last turn. Settings that may hold a secret, such as keys and
    addresses, are not among the fields: a conversation is written to a file.
    """

    name: str
    directory: str = ""
    provider: str = ""
    model: str = ""
    system: str | None = None
    turns: tuple[dict[str, Any], ...] = ()
    response_id: str | None = None
    version: int = _VERSION

    @property
    def path(self) -> Path:
        """The file that keeps this conversation."""
        return _locate_folder() / f"{self.name}.json"

    def add_to(self, options: Options, provider: str) -> Options:
        """Return options that continue this conversation with a provider."""
        if not self.turns:
            return attrs.evolve(options, history=[])
        if provider == self.provider:
            return attrs.evolve(options, continue_from={STATE_KEY: self._build_state()})
        # What a provider needs back of its own answers means nothing to another one.
        return attrs.evolve(options, history=[_drop_key(turn, "provider_state") for turn in self.turns])

    def follow(self, state: Mapping[str, Any], config: Config, options: Options) -> Self:
        """Return the conversation after an answer, whose state is ``state``."""
        return attrs.evolve(
            self,
            directory=str(Path.cwd()),
            provider=config.provider,
            model=config.model,
            system=options.system_instruction,
            turns=tuple(state["history"]),
            response_id=state.get("response_id"),
        )

    def drop_answer(self) -> Self:
        """Return the conversation as it was when the last question had been asked. Raises ConfigurationError."""
        return self._cut(self._find_last_question() + 1)

    def drop_question(self) -> Self:
        """Return the conversation without its last question and the answer. Raises ConfigurationError."""
        return self._cut(self._find_last_question())

    def to_markdown(self) -> str:
        """Return the conversation as Markdown."""
        return "\n".join(f"## {turn['role']}\n\n{_format_turn(turn)}\n" for turn in self.turns)

    def _build_state(self) -> dict[str, Any]:
        state = {
            "version": STATE_VERSION,
            "history": list(self.turns),
            "response_id": self.response_id,
            "provider_state": self.turns[-1].get("provider_state"),
        }
        return {name: value for name, value in state.items() if value is not None}

    def _find_last_question(self) -> int:
        roles = [turn["role"] for turn in self.turns]
        if "user" not in roles:
            raise ConfigurationError("the conversation has no question yet", hint="ask one first")
        return len(roles) - 1 - roles[::-1].index("user")

    def _cut(self, n_turns: int) -> Self:
        # The provider's own copy goes on after the cut, so its id is of no use.
        return attrs.evolve(self, turns=self.turns[:n_turns], response_id=None)


def list_conversations() -> list[str]:
    """Return the names of all kept conversations, the last one first."""
    return [file.stem for file in _list_files()]


def recall_conversation(arguments: Namespace) -> Conversation:
    """Return the conversation that the arguments name, or a new one.

    Provider, model and system instruction of the conversation become those of the arguments, where these name none.
    Raises ConfigurationError.
    """
    _create_folder()
    if arguments.is_continued:
        stored = _find_last(str(Path.cwd()))
    elif arguments.conversation is not None:
        stored = _read_named(arguments.conversation)
    else:
        stored = Conversation(name=f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")
    if stored.turns:
        fill_arguments(arguments, provider=stored.provider, model=stored.model, system_instruction=stored.system)
    return stored


def join_conversation(question: Question, conversation: Conversation) -> Question:
    """Return the question as the next turn of a conversation. Raises ConfigurationError for several prompts."""
    if len(question.prompts) > 1 or question.per_source:
        raise ConfigurationError("a conversation takes one prompt at a time", hint="pass one prompt, or leave out -c")
    options = conversation.add_to(question.options, question.config.provider)
    return attrs.evolve(question, options=options)


def keep_conversation(
    conversation: Conversation, state: Mapping[str, Any] | None, config: Config, options: Options
) -> Conversation:
    """Write the conversation after an answer to its file, and return it. Without a ``state`` there was no answer.

    Raises PolluxError when it cannot be written.
    """
    if state is None:
        return conversation
    followed = conversation.follow(state, config, options)
    store_conversation(followed)
    return followed


def store_conversation(conversation: Conversation) -> None:
    """Write a conversation to its file, which only the user can read. Raises PolluxError."""
    try:
        # The file is made by mkstemp, which lets nobody else read it.
        write_atomically(conversation.path, attrs.asdict(conversation))
    except OSError as error:
        raise PolluxError(f"the conversation was not kept in {conversation.path}: {error.strerror}") from error


def _locate_folder() -> Path:
    return locate_state_folder() / "conversations"


def _list_files() -> list[Path]:
    return sorted(_locate_folder().glob("[!.]*.json"), key=os.path.getmtime, reverse=True)


def _create_folder() -> None:
    # Before anything is asked: an answer that cannot be kept would be lost for the conversation.
    folder = _locate_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"conversations cannot be kept in {folder}: {error.strerror}",
            hint="set XDG_STATE_HOME to a folder that can be written",
        ) from error


def _format_turn(turn: Mapping[str, Any]) -> str:
    sources = [f"* {source['identifier']}" for source in turn.get("sources") or ()]
    return "\n\n".join(filter(None, ["\n".join(sources), (turn.get("content") or "").rstrip()]))


def _drop_key(turn: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in turn.items() if name != key}


def _read_named(name: str) -> Conversation:
    fresh = Conversation(name=check_name("conversation", name))
    return _read(fresh.path) if fresh.path.exists() else fresh


def _find_last(directory: str) -> Conversation:
    conversations = (_read(file) for file in _list_files())
    found = next((stored for stored in conversations if stored.directory == directory), None)
    if found is None:
        raise ConfigurationError(
            "no conversation was held in this working directory",
            hint="begin one with pollux-sync chat, or name one: --conversation NAME",
        )
    return found


def _read(path: Path) -> Conversation:
    try:
        fields = json.loads(read_file(path))
        if fields["version"] > _VERSION:
            raise ConfigurationError(f"{path} was written by a newer pollux-sync", hint="upgrade pollux-sync")
        return Conversation(**fields | {"turns": tuple(fields["turns"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(
            f"the conversation in {path} cannot be read: {error}", hint="delete the file, or begin another one"
        ) from error
