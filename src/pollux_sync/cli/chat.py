"""``pollux-sync chat``: a conversation in the terminal."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from pollux_sync.cli.asking import (
    add_caching_arguments,
    add_conversation_arguments,
    add_setting_arguments,
    add_template_arguments,
    build_settings,
    parse_arguments,
    parse_sources,
)
from pollux_sync.cli.chatting import Chat
from pollux_sync.cli.codes import EXIT_CODES
from pollux_sync.cli.commands import build_parser
from pollux_sync.cli.conversations import recall_conversation
from pollux_sync.cli.entries import MARKER, Entry, iter_entries
from pollux_sync.cli.exits import format_error
from pollux_sync.cli.slashes import describe_slashes, run_slash
from pollux_sync.cli.templating import apply_template
from pollux_sync.cli.terminal import is_stdin_piped
from pollux_sync.commands import DONE, FAILED, declare_parser, write_error, write_remark
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from pollux_sync.cli.commands import BuiltInParser

_EPILOG = f"""\
A line is a question. A text of several lines stands between two lines of {MARKER}. Ctrl-C ends an answer and keeps what
came; at the prompt it leaves. From a pipe each line is a question too, and the first error ends the chat.

commands in a chat:
{describe_slashes()}

{EXIT_CODES}"""


def build_chat_parser() -> BuiltInParser:
    """Return the parser of ``pollux-sync chat``."""
    parser = build_parser("chat", "[PROMPT...] [-s SOURCE]... [-p PROVIDER] [-m MODEL] [options]", epilog=_EPILOG)
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="a question to begin with")
    add_setting_arguments(parser)
    add_caching_arguments(parser)
    add_conversation_arguments(parser)
    add_template_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="hide the line about tokens and cost at the end")
    return parser


@declare_parser(build_chat_parser)
def main(argv: Sequence[str]) -> int:
    """Hold a conversation on the standard streams until stdin ends. Return 1 if an answer is empty or misfits."""
    arguments = parse_arguments(argv, build_chat_parser())
    _check_stdin(arguments)
    if arguments.template is not None or arguments.param:
        apply_template(arguments)
    conversation = recall_conversation(arguments)
    config, options = build_settings(arguments)
    sources = parse_sources(arguments.source)
    with Chat(config, options, conversation) as chat:
        chat.sources += sources
        try:
            return _hold(chat, [Entry(prompt) for prompt in arguments.prompts])
        finally:
            if chat.spending.n_answers and not arguments.quiet:
                write_remark(str(chat.spending))


def _hold(chat: Chat, first: Sequence[Entry]) -> int:
    for entry in chain(first, iter_entries()):
        try:
            if entry.is_command and run_slash(chat, entry.text):
                break
            if not entry.is_command:
                chat.ask(entry.text)
        except PolluxError as error:
            # The lines of a pipe that follow would be asked without the answer on which they count.
            if is_stdin_piped():
                raise _choose_error(chat, error) from error
            write_error(format_error(error.message, error.hint))
    return FAILED if chat.has_failed else DONE


def _choose_error(chat: Chat, error: PolluxError) -> PolluxError:
    # The exit code of bad usage promises that nothing was sent.
    return PolluxError(error.message, hint=error.hint) if chat.spending.n_answers else error


def _check_stdin(arguments: Namespace) -> None:
    if "-" in {*arguments.prompts, *arguments.source}:
        raise ConfigurationError(
            "standard input is what you say in a chat, and cannot be a source or a prompt",
            hint="save the text to a file and pass -s FILE",
        )
