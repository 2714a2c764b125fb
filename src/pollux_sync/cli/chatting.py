"""A conversation at work: it asks, shows the answers as they arrive, and keeps every turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import attrs

from pollux_sync.api.sessions import Session
from pollux_sync.cli.answers import report_failures
from pollux_sync.cli.conversations import keep_conversation, store_conversation
from pollux_sync.cli.terminal import write_delta
from pollux_sync.commands import write_line
from pollux_sync.data.reply import Reply
from pollux_sync.engine.conversing import build_state
from pollux_sync.errors import STOPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pollux_sync.api.streaming import Stream
    from pollux_sync.cli.conversations import Conversation
    from pollux_sync.data.options import Options
    from pollux_sync.data.source import Source
    from pollux_sync.hooks.config import Config


@attrs.define
class Spending:
    """The cost of the answers of a chat. ``cost_usd`` is that of the answers whose price a plugin knows."""

    n_answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None

    def add(self, result: Mapping[str, Any]) -> None:
        """Add the tokens and the price of one answer."""
        self.n_answers += 1
        self.input_tokens += result["usage"].get("input_tokens") or 0
        self.output_tokens += result["usage"].get("output_tokens") or 0
        cost_usd = result["metrics"].get("cost_usd")
        if cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost_usd

    def __str__(self) -> str:
        answers = "1 answer" if self.n_answers == 1 else f"{self.n_answers} answers"
        cost = "" if self.cost_usd is None else f"; cost: ${self.cost_usd:.6f}"
        return f"{answers}; tokens: {self.input_tokens} in, {self.output_tokens} out{cost}"


@attrs.frozen
class PendingQuestion:
    """A question without an answer, and the conversation before it.

    Without a prompt the question is the last turn of that conversation.
    """

    before: Conversation
    prompt: str | None = None
    sources: Sequence[Source] = ()


class Chat:
    """One conversation with a model. Used as a context manager: files stay uploaded until its end."""

    def __init__(self, config: Config, options: Options, conversation: Conversation) -> None:
        self.conversation = conversation
        self.spending = Spending()
        #: The sources of the next question.
        self.sources: list[Source] = []
        #: Whether an answer was empty, or did not fit its schema.
        self.has_failed = False
        self._session = Session(config)
        self._options = options
        self._unanswered: PendingQuestion | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self._session.config.model

    def choose_model(self, name: str) -> None:
        """Ask another model of the provider from now on. Raises ConfigurationError."""
        config = attrs.evolve(self._session.config, model=name)
        self._session.close()
        self._session = Session(config)

    def ask(self, prompt: str) -> None:
        """Ask a question about the sources that wait for it, and show the answer. Raises what `stream_many` raises."""
        self._answer(PendingQuestion(self.conversation, prompt, self.sources))

    def retry(self) -> None:
        """Ask the last question again: the one that has no answer, else that of the last answer, which is dropped."""
        self._answer(self._unanswered or PendingQuestion(self.conversation.drop_answer()))

    def undo(self) -> None:
        """Forget the last question, and its answer if there is one. Raises ConfigurationError without a question."""
        if self._unanswered is None:
            self.conversation = self.conversation.drop_question()
            store_conversation(self.conversation)
        self._unanswered = None

    def _answer(self, question: PendingQuestion) -> None:
        self._unanswered, self.sources = question, []
        options = question.before.add_to(self._options, self._session.config.provider)
        with self._session.stream_many(question.prompt, sources=question.sources, options=options) as stream:
            texts: list[str] = []
            try:
                _show(stream, texts)
            except STOPS as stop:
                self._keep_partial("".join(texts), stream, question)
                if isinstance(stop, SystemExit):
                    raise
                return
            result = stream.result()
        self.spending.add(result)
        self._keep(result.get("_conversation_state"), question)
        self.has_failed |= report_failures(result, include_errors=True)

    def _keep_partial(self, text: str, stream: Stream, question: PendingQuestion) -> None:
        """Keep an answer that was stopped, so that the next question can be about it."""
        if text.strip():
            state = build_state(stream.plan.calls[0], Reply(text=text), self._session.config.provider)
            # The provider's own copy lacks this answer.
            self._keep({**state, "response_id": None}, question)

    def _keep(self, state: Mapping[str, Any] | None, question: PendingQuestion) -> None:
        self._unanswered = None
        self.conversation = keep_conversation(question.before, state, self._session.config, self._options)


def _show(stream: Stream, texts: list[str]) -> None:
    """Print the answer as it arrives; add its pieces to ``texts``."""
    try:
        for text in stream.text_chunks:
            texts.append(text)
            write_delta(text)
    finally:
        write_line("")
