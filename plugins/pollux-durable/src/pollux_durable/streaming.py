"""The stream of an agent: events while it works, for readers in any process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from pollux_durable.data.events import EventDraft
from pollux_sync.plugin import TextDelta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_durable.activeruns import ActiveRun
    from pollux_durable.data.agents import AgentResult
    from pollux_durable.data.events import EventPayload
    from pollux_durable.data.runs import JsonObject, RunInfo
    from pollux_durable.hosting import Host
    from pollux_durable.invoking import ExecutionHandle
    from pollux_sync.data.streaming import StreamEvent

#: Texts that arrive within this time are published together: each event is a transaction.
FLUSH_S = 0.05
FINISH = "agent_finish"


class StepPublisher:
    """Publishes what an agent does, and its text while it arrives."""

    def __init__(self, host: Host, run: ActiveRun, agent_id: str) -> None:
        self._host = host
        self._run = run
        self._agent_id = agent_id
        self._lock = threading.Lock()
        self._texts: list[str] = []
        self._number = 0
        self._n_chunks = 0
        self._flushed_at = 0.0
        self._timer: threading.Timer | None = None

    def show(self, number: int, event: StreamEvent | None) -> None:
        """Publish an event of a streamed answer; None begins a step, and takes back what it has shown before."""
        if event is None:
            with self._lock:
                self._number, self._n_chunks = number, 0
            self.publish("stream_start", {"step": number})
        elif isinstance(event, TextDelta):
            self._add(event.text)
        else:
            self._flush()

    def publish_text(self, number: int, text: str) -> None:
        """Publish the whole text of a step that was not streamed."""
        self.show(number, None)
        self._add(text)
        self._flush()

    def _add(self, text: str) -> None:
        if not text:
            return
        with self._lock:
            self._texts.append(text)
            wait_s = self._flushed_at + FLUSH_S - time.monotonic()
            if wait_s > 0 and self._timer is None:
                self._timer = threading.Timer(wait_s, self._flush)
                self._timer.daemon = True
                self._timer.start()
        if wait_s <= 0:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            text = "".join(self._texts)
            self._texts.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not text:
                return
            self._flushed_at = time.monotonic()
            data = {"step": self._number, "content": text, "chunk_index": self._n_chunks}
            self._n_chunks += 1
            # Under the lock, so that pieces are published in their order.
            self._publish("text_delta", data, None)

    def publish(self, event_type: str, data: JsonObject) -> None:
        """Publish an event of the agent, once for each content."""
        self._flush()
        self._publish(event_type, data, None)

    def finish(self, result: AgentResult) -> None:
        """Publish the end of the agent, once."""
        self._flush()
        self._publish(FINISH, {"result": result.to_dict()}, f"{self._run.execution_id}:{FINISH}")

    def _publish(self, event_type: str, data: JsonObject, once: str | None) -> None:
        draft = EventDraft(
            topic=self._run.topic,
            event_type=event_type,
            data={"agent_id": self._agent_id, **data},
            execution_id=self._run.execution_id,
            once=once,
        )
        self._host.publish([draft])


class AgentStream:
    """The events of an agent's run. Any of its iterators may be read, from any thread, again and again."""

    def __init__(self, handle: ExecutionHandle) -> None:
        self._handle = handle

    @property
    def id(self) -> str:
        """The id of the run."""
        return self._handle.id

    @property
    def handle(self) -> ExecutionHandle:
        """The handle of the run."""
        return self._handle

    @property
    def events(self) -> Iterator[EventPayload]:
        """Yield all events of the run, from the first on, until the agent has finished.

        After ``stream_start`` of a step, what the same step sent before does not count: its call was made anew.
        """
        for event in self._handle.events():
            yield event
            if event.event_type == FINISH and event.execution_id == self.id:
                return

    @property
    def text_chunks(self) -> Iterator[str]:
        """Yield the text as it arrives. A call that had to be made anew shows its text again: see `text`."""
        for event in self.events:
            if event.event_type == "text_delta" and event.execution_id == self.id:
                yield event.data["content"]

    def text(self) -> str:
        """Return the whole text, when the agent has finished. Raises RunFailedError if it failed."""
        texts: dict[int, str] = {}
        for event in self.events:
            if event.execution_id != self.id:
                continue
            if event.event_type == "stream_start":
                texts[event.data["step"]] = ""
            elif event.event_type == "text_delta":
                texts[event.data["step"]] += event.data["content"]
        self._handle.result()
        return "".join(texts[step] for step in sorted(texts))

    def result(self, timeout: float | None = None) -> AgentResult:
        """Wait for the run and return its result. Raises as `ExecutionHandle.result` does."""
        result: AgentResult = self._handle.result(timeout)
        return result

    def get(self) -> RunInfo:
        """Return what is known of the run."""
        return self._handle.get()
