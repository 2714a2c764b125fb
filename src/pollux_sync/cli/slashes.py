"""The commands inside a chat: ``/sources FILE``, ``/model NAME`` and others."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pollux_sync.cli.asking import parse_sources
from pollux_sync.commands import write_remark
from pollux_sync.data.checks import suggest_key
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.cli.chatting import Chat

QUIT = "quit"


def run_slash(chat: Chat, line: str) -> bool:
    """Run a command of a chat, which is written without its slash; return True to leave the chat.

    Raises ConfigurationError and SourceError, and what the question raises that a command asks again.
    """
    name, _, rest = line.partition(" ")
    if name not in SLASHES:
        raise ConfigurationError(
            f"no command of a chat is called /{name}",
            hint=f"{suggest_key(name, SLASHES)}; begin a question with two slashes",
        )
    SLASHES[name].work(chat, rest.strip())
    return name == QUIT


def describe_slashes() -> str:
    """Return a line about each command."""
    uses = {f"/{name} {slash.argument}".rstrip(): slash.about for name, slash in SLASHES.items()}
    width = max(map(len, uses))
    return "\n".join(f"  {use.ljust(width)}  {about}" for use, about in uses.items())


class Slash(NamedTuple):
    """A command of a chat. ``work`` takes the chat and the text after the name."""

    argument: str
    about: str
    work: Callable[[Chat, str], None]


def _add_sources(chat: Chat, rest: str) -> None:
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise ConfigurationError(f"/sources: {error}", hint="close every quote") from error
    chat.sources += parse_sources(words)
    write_remark(", ".join(source.identifier for source in chat.sources) or "no sources wait for the next question")


def _choose_model(chat: Chat, rest: str) -> None:
    if rest:
        chat.choose_model(rest)
    write_remark(chat.model)


def _undo(chat: Chat, _rest: str) -> None:
    chat.undo()
    write_remark("the last question is forgotten")


def _save(chat: Chat, rest: str) -> None:
    if not rest:
        raise ConfigurationError("/save needs a file", hint="/save talk.md")
    try:
        with Path(rest).expanduser().open("x", encoding="utf-8") as file:
            file.write(chat.conversation.to_markdown())
    except OSError as error:
        raise ConfigurationError(f"cannot save to {rest}: {error.strerror}", hint="name a new file") from error


def _show_help(_chat: Chat, _rest: str) -> None:
    for line in describe_slashes().splitlines():
        write_remark(line)


SLASHES = {
    "sources": Slash("FILE...", "add sources to the next question", _add_sources),
    "model": Slash("[NAME]", "show the model, or ask another one from now on", _choose_model),
    "retry": Slash("", "ask the last question again", lambda chat, _: chat.retry()),
    "undo": Slash("", "forget the last question and its answer", _undo),
    "save": Slash("FILE", "write the conversation to a new file, as Markdown", _save),
    "help": Slash("", "list these commands", _show_help),
    QUIT: Slash("", "leave; so does Ctrl-D", lambda _chat, _: None),
}
