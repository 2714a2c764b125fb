"""One configuration held open over many calls: `Session`."""

from __future__ import annotations

import os
import time
import weakref
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Self

from pollux_sync.api.asking import answer_request, require_one_source
from pollux_sync.api.caching import create_cache, delete_cache
from pollux_sync.api.deferring import defer_many
from pollux_sync.api.streaming import open_stream
from pollux_sync.api.tools import build_continue_options, build_tool_loop, run_loop
from pollux_sync.engine.interacting import build_interaction, build_output
from pollux_sync.engine.preparing import SharedUploads
from pollux_sync.engine.requesting import build_request, require_config
from pollux_sync.errors import ConfigurationError, PolluxError
from pollux_sync.process import clients

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    from pollux_sync._typed import T
    from pollux_sync.api.streaming import Stream
    from pollux_sync.api.tools import LoopTool, OnToolError, ToolLoop
    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.handles import CacheHandle
    from pollux_sync.data.interaction import Environment, Input
    from pollux_sync.data.jobs import DeferredHandle
    from pollux_sync.data.options import Options, ToolChoice
    from pollux_sync.data.output import Output
    from pollux_sync.data.progress import ProgressOption
    from pollux_sync.data.source import Source
    from pollux_sync.engine.streaming import ActiveStreams
    from pollux_sync.hooks.config import Config
    from pollux_sync.process import CallContext


class Session:
    """One configuration held open over many calls, from any number of threads: ``with Session(config) as session``.

    The client stays open, and a file is uploaded once for all calls that use it. Uploads, and caches that the
    session created, are deleted when it is closed, which is when the block ends. Its methods are the functions of
    the same names; ``options`` apply to every call that passes none of its own.
    """

    def __init__(self, config: Config, *, options: Options | None = None) -> None:
        self.config = require_config(config)
        self.options = options
        # What the session holds lives in a stack of its own: the finalizer must not refer to the session itself, or it
        # would never be collected.
        held = ExitStack()
        self._hooks = held.enter_context(clients.lease_alone(config))
        self._uploads = held.enter_context(SharedUploads(self._hooks))
        self._caches: list[CacheHandle] = []
        # A forked child gets a copy of the session, whose files and sockets belong to the parent.
        self._process = os.getpid()
        # A finalizer also runs at the end of the process, for a session that nobody closed.
        self._end = weakref.finalize(self, _close_session, held, self._caches, config, self._process)

    def __repr__(self) -> str:
        state = "open" if self._end.alive else "closed"
        return f"Session({self.config.provider}, model {self.config.model}: {state})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete uploads and caches. Calls that still run lose their files; new calls are refused."""
        self._end()

    def abort(self) -> None:
        """End all calls of this session that are in flight, from another thread.

        Each fails at once with an APIError and is not tried again. What the provider had begun may be billed all the
        same; a call over a client that you passed in, such as an SDK's, ends with its answer. A stream keeps its text
        so far as the error's ``partial_text``. The session makes no further call; `close` still deletes its files.
        """
        if self._end.alive and self._process == os.getpid():
            self._hooks.abort()

    def run(
        self, prompt: str | None = None, *, source: Source | None = None, options: Options[T] | None = None
    ) -> ResultEnvelope[T]:
        """As `pollux_sync.run`."""
        return self.run_many(prompt, sources=require_one_source(prompt, source), options=options)

    def run_many(
        self,
        prompts: str | Sequence[str | None] | None = None,
        *,
        sources: Iterable[Source] = (),
        options: Options[T] | None = None,
        per_source: bool = False,
        progress: ProgressOption = False,
    ) -> ResultEnvelope[T]:
        """As `pollux_sync.run_many`."""
        started = time.monotonic()
        request = build_request(prompts, sources, self.config, options or self.options, per_source=per_source)
        return answer_request(request, self._context(), started, progress=progress)

    def continue_tool(
        self,
        continue_from: ResultEnvelope | dict[str, Any],
        tool_results: Sequence[Mapping[str, Any]],
        *,
        options: Options[T] | None = None,
    ) -> ResultEnvelope[T]:
        """As `pollux_sync.continue_tool`."""
        return self.run(options=build_continue_options(continue_from, tool_results, options or self.options))

    def run_tools(
        self,
        prompt: str | None = None,
        *,
        tools: Sequence[LoopTool],
        sources: Iterable[Source] = (),
        options: Options[T] | None = None,
        tool_choice: ToolChoice | None = None,
        max_steps: int = 10,
        tool_concurrency: int = 1,
        on_tool_error: OnToolError = "tell",
    ) -> ResultEnvelope[T]:
        """As `pollux_sync.run_tools`."""
        loop = self._build_loop(tools, max_steps, tool_concurrency, on_tool_error)
        # With the method of the session, so that all rounds share its client and its uploads.
        return run_loop(loop, self.run_many, prompt, sources, loop.add_tools(options or self.options, tool_choice))

    def stream_tools(
        self,
        prompt: str | None = None,
        *,
        tools: Sequence[LoopTool],
        sources: Iterable[Source] = (),
        options: Options[T] | None = None,
        tool_choice: ToolChoice | None = None,
        max_steps: int = 10,
        tool_concurrency: int = 1,
        on_tool_error: OnToolError = "tell",
    ) -> Stream[T]:
        """As `pollux_sync.stream_tools`."""
        from pollux_sync.api.toolstreams import open_loop

        loop = self._build_loop(tools, max_steps, tool_concurrency, on_tool_error)
        first = loop.add_tools(options or self.options, tool_choice)
        return open_loop(loop, self._open_round, prompt, sources, first)

    def _build_loop(
        self, tools: Sequence[LoopTool], max_steps: int, tool_concurrency: int, on_tool_error: OnToolError
    ) -> ToolLoop:
        return build_tool_loop(
            lambda: nullcontext(self._hooks),
            tools,
            max_steps=max_steps,
            tool_concurrency=tool_concurrency,
            on_tool_error=on_tool_error,
        )

    def _open_round(
        self,
        active: ActiveStreams,
        prompt: str | None = None,
        *,
        sources: Iterable[Source] = (),
        options: Options | None = None,
    ) -> Stream:
        request = build_request(prompt, sources, self.config, options)
        return open_stream(request, self._context(), time.monotonic(), self._check_open, active)

    def interact(
        self,
        environment: Environment | None = None,
        input: Input | str | None = None,  # noqa: A002 - named as in pollux-ai
        *,
        options: Options[T] | None = None,
    ) -> Output[T]:
        """As `pollux_sync.interact`."""
        interaction = build_interaction(environment, input, options or self.options, self._hooks.info)
        envelope = self.run_many(interaction.prompt, sources=interaction.sources, options=interaction.options)
        return build_output(interaction, envelope)

    def stream(
        self, prompt: str | None = None, *, source: Source | None = None, options: Options[T] | None = None
    ) -> Stream[T]:
        """As `pollux_sync.stream`."""
        return self.stream_many(prompt, sources=require_one_source(prompt, source), options=options)

    def stream_many(
        self,
        prompts: str | Sequence[str | None] | None = None,
        *,
        sources: Iterable[Source] = (),
        options: Options[T] | None = None,
        per_source: bool = False,
    ) -> Stream[T]:
        """As `pollux_sync.stream_many`."""
        started = time.monotonic()
        request = build_request(prompts, sources, self.config, options or self.options, per_source=per_source)
        return open_stream(request, self._context(), started, self._check_open)

    def defer(
        self,
        prompt: str | None = None,
        *,
        source: Source | None = None,
        options: Options | None = None,
        job_file: str | PathLike[str] | None = None,
    ) -> DeferredHandle:
        """As `pollux_sync.defer`. A job outlives the session, and so do its files."""
        return self.defer_many(prompt, sources=require_one_source(prompt, source), options=options, job_file=job_file)

    def defer_many(
        self,
        prompts: str | Sequence[str | None] | None = None,
        *,
        sources: Iterable[Source] = (),
        options: Options | None = None,
        job_file: str | PathLike[str] | None = None,
    ) -> DeferredHandle:
        """As `pollux_sync.defer_many`. A job outlives the session, and so do its files."""
        self._check_open()
        # With uploads of its own: the files of a job must outlive the session.
        return defer_many(
            prompts, sources=sources, config=self.config, options=options or self.options, job_file=job_file
        )

    def create_cache(
        self,
        sources: Iterable[Source] = (),
        *,
        system_instruction: str | None = None,
        tools: Sequence[dict[str, Any]] | None = None,
        ttl_seconds: int = 3600,
        label_sources: bool = True,
        label: str | None = None,
    ) -> CacheHandle:
        """As `pollux_sync.create_cache`; the cache is deleted with the session."""
        self._check_open()
        handle = create_cache(
            sources,
            config=self.config,
            system_instruction=system_instruction,
            tools=tools,
            ttl_seconds=ttl_seconds,
            label_sources=label_sources,
            label=label,
        )
        # The finalizer holds this same list, so it also deletes caches that are added later.
        self._caches.append(handle)
        return handle

    @contextmanager
    def _context(self) -> Iterator[CallContext]:
        """Give the session's own client and uploads, which stay open when the call ends."""
        self._check_open()
        yield self._hooks, self._uploads

    def _check_open(self) -> None:
        if not self._end.alive:
            raise ConfigurationError("the session is closed", hint="make calls before its with block ends")
        if self._process != os.getpid():
            raise ConfigurationError("the session belongs to another process", hint="open one in each process")
        if self._hooks.is_aborted:
            raise ConfigurationError("the session has been aborted", hint="open another one for further calls")


def _close_session(held: ExitStack, caches: list[CacheHandle], config: Config, process: int) -> None:
    if process != os.getpid():  # a forked child ends: files and sockets belong to its parent
        return
    # Caches are deleted while the client is still held; the stack then deletes the uploads and ends the lease.
    with held:
        # The same content asked for twice is one cache.
        for cache in {cache.name: cache for cache in caches}.values():
            with suppress(PolluxError):  # an undeleted cache expires
                delete_cache(cache, config=config)
