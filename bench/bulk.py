"""The peers of bulk work as code: many prompts, with a journal or without. Runs inside the peer's own environment.

A journal is a new SQLite file each time. An answer is on disk before its result is seen.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from contestants import KEY, MODEL, Adapter
from loopback import build_completion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The size of both queues in async-batch-llm's guide to large runs.
_QUEUE_SIZE = 512


class Batch(Adapter):
    """pollux-batch with its journal."""

    processes: int | None = None

    def open(self) -> None:
        from pollux_batch import stream_batch
        from pollux_sync import Config

        self.stream_batch = stream_batch
        fields = {"provider": "local", "model": MODEL, "api_key": KEY, "base_url": self.base_url}
        self.config = Config(**fields)
        self.generating = Config(**fields, plugins=(_build_generator(),))

    def ask_many(self, prompts: list[str]) -> list[str]:
        return [*self.iter_answers(prompts, self.config)]

    def generate(self, prompts: Iterable[str]) -> Iterator[str]:
        return self.iter_answers(prompts, self.generating)

    def iter_answers(self, prompts: Iterable[str], config: object) -> Iterator[str]:
        settings = {"workers": self.threads} | ({"processes": self.processes} if self.processes else {})
        with _new_journal() as journal:
            for result in self.stream_batch(prompts, config=config, journal=journal, **settings):
                yield result.output


class BatchInTwo(Batch):
    """pollux-batch with its journal, in two processes."""

    processes = 2


def _build_generator() -> object:
    """Return a plugin that makes the answers itself, from the bytes that the loopback server sends."""
    from pollux_sync.plugin import HttpResponse, hookimpl

    content = json.dumps(build_completion()).encode()

    class Generator:
        @hookimpl
        def pollux_send(self) -> HttpResponse:
            return HttpResponse(status=200, body=json.loads(content), content=content)

    return Generator()


class AsyncBatchLlm(Adapter):
    """async-batch-llm with its SQLite store, set up as its guides to large runs and high throughput do."""

    def open(self) -> None:
        import asyncio

        import async_batch_llm

        self.asyncio, self.package = asyncio, async_batch_llm

    def ask_many(self, prompts: list[str]) -> list[str]:
        model = self.package.OpenAICompatibleModel.from_api_key(
            MODEL, KEY, base_url=self.base_url, max_connections=self.threads, max_retries=0
        )
        return self.collect(self.package.ModelStrategy(model), prompts)

    def generate(self, prompts: Iterable[str]) -> list[str]:
        package = self.package
        text = build_completion()["choices"][0]["message"]["content"]
        outcome = package.CallOutcome(text, {"input_tokens": 25, "output_tokens": 80, "total_tokens": 105})

        async def invoke(_: str, **_arguments: object) -> object:
            return outcome

        identity = package.ArtifactIdentity(
            provider="generated", model=MODEL, prompt_version="1", parser_version="1", application_version="1"
        )
        return self.collect(package.CallableStrategy(invoke, identity=identity), prompts)

    def collect(self, strategy: object, prompts: Iterable[str]) -> list[str]:
        package = self.package
        config = package.ProcessorConfig(
            concurrency=self.threads, max_queue_size=_QUEUE_SIZE, max_result_queue_size=_QUEUE_SIZE
        )

        async def ask(journal: str) -> list[str]:
            store = package.SqliteArtifactStore(journal, durability=package.SqliteDurability.FULL)
            resume = package.ResumePolicy.REUSE_SUCCESSES
            results = package.process_stream(strategy, prompts, config=config, artifact_store=store, resume=resume)
            return [result.output async for result in results]

        with _new_journal() as journal:
            return self.asyncio.run(ask(journal))


class ChatPool(Adapter):
    """Chat Completions over a bare HTTP library in a pool of threads, without a journal."""

    def open(self) -> None:
        self.url = f"{self.base_url}/chat/completions"
        self.headers = {"Authorization": f"Bearer {KEY}"}

    def ask(self, prompt: str) -> str:
        answer = self.post({"model": MODEL, "messages": self.build_messages(prompt)})
        return answer["choices"][0]["message"]["content"]

    def post(self, body: dict) -> dict:
        raise NotImplementedError


class RequestsSessions(ChatPool):
    """A requests.Session for each thread."""

    def open(self) -> None:
        import threading

        import requests

        super().open()
        self.open_session = requests.Session
        self.own = threading.local()

    def post(self, body: dict) -> dict:
        if not hasattr(self.own, "session"):
            self.own.session = self.open_session()
        return self.own.session.post(self.url, json=body, headers=self.headers, timeout=600).json()


class Urllib3(ChatPool):
    """One urllib3 pool of connections for all threads."""

    def open(self) -> None:
        import urllib3

        super().open()
        self.pool_manager = urllib3.PoolManager(maxsize=self.threads)
        self.headers["Content-Type"] = "application/json"

    def post(self, body: dict) -> dict:
        content = json.dumps(body).encode()
        answer = self.pool_manager.request("POST", self.url, body=content, headers=self.headers, timeout=600)
        return json.loads(answer.data)


@contextmanager
def _new_journal() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        yield str(Path(folder, "journal.db"))
