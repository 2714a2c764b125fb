"""Ask questions and wait for the answers: `run`, `run_many`, `to_jsonable`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from pollux_sync.data.result import dump_envelope
from pollux_sync.engine.enveloping import build_envelope, seal_envelope
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.preparing import connect_for_files, prepare_plan
from pollux_sync.engine.requesting import build_request
from pollux_sync.engine.sending import send_calls
from pollux_sync.errors import STOPS, ConfigurationError, Interrupted, SourceError, Terminated, build_stop
from pollux_sync.process import open_call_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from pollux_sync._typed import T
    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.options import Options
    from pollux_sync.data.progress import ProgressOption
    from pollux_sync.data.reply import Outcome
    from pollux_sync.data.request import Prepared, Request
    from pollux_sync.data.source import Source
    from pollux_sync.hooks.config import Config
    from pollux_sync.hooks.relay import Hooks
    from pollux_sync.process import CallContext


def run(
    prompt: str | None = None,
    *,
    source: Source | None = None,
    config: Config,
    options: Options[T] | None = None,
) -> ResultEnvelope[T]:
    """Ask one question, about one source or none; ``result["answers"][0]`` is the answer.

    Blocks until the answer is there. Raises ConfigurationError, SourceError or PlanningError before
    anything is sent, APIError when the provider fails for good.
    """
    return run_many(prompt, sources=require_one_source(prompt, source), config=config, options=options)


def require_one_source(prompt: object, source: Source | None) -> tuple[Source, ...]:
    """Return the sources of a call that takes one prompt and at most one source.

    Raises ConfigurationError for several prompts, SourceError for a path in place of a Source.
    """
    if not (prompt is None or isinstance(prompt, str)):
        raise ConfigurationError(
            f"prompt must be a string or None, got {type(prompt).__name__}",
            hint="use run_many() or stream_many() for several prompts",
        )
    # A path is the commonest mistake here, and would fail much later with a puzzling AttributeError.
    given: object = source
    if isinstance(given, str | os.PathLike):
        hint = f"source=Source.from_file({os.fspath(given)!r}), or Source.from_text(...)"
        raise SourceError(f"source must be a Source, got {type(given).__name__}", hint=hint)
    return () if source is None else (source,)


def run_many(
    prompts: str | Sequence[str | None] | None = None,
    *,
    sources: Iterable[Source] = (),
    config: Config,
    options: Options[T] | None = None,
    per_source: bool = False,
    progress: ProgressOption = False,
) -> ResultEnvelope[T]:
    """Ask several questions about the same sources, at most ``config.request_concurrency`` at a time.

    Every prompt sees every source, and the answers come in prompt order. With ``per_source`` each prompt is
    asked about each source separately, and the answers come source by source: all prompts of the first, ...

    When some prompts fail, the others still finish; only a refused key stops the calls that have not begun. Then
    the error of the lowest index is raised with the envelope as ``error.partial_result``, or kept in the envelope
    with ``Options(on_error="keep")``.
    Ctrl-C deletes uploaded files and ends the call at once. Once calls were being sent it raises Interrupted, a
    KeyboardInterrupt with the answers so far as ``partial_result``. A signal handler that calls ``sys.exit`` does the
    same with Terminated, a SystemExit; see `exit_on_sigterm`.

    ``progress=True`` shows on stderr how far it has come: as a bar if rich is installed, or in a notebook tqdm, else as
    a line. A function is called with a `Progress` at the start and after each prompt, by the threads that ask.
    """
    # Monotonic: a wall clock may be set back while the call runs.
    started = time.monotonic()
    request = build_request(prompts, sources, config, options, per_source=per_source)
    return answer_request(request, open_call_context(request.config), started, progress=progress)


def answer_request(
    request: Request,
    context: AbstractContextManager[CallContext],
    started: float,
    *,
    progress: ProgressOption = False,
) -> ResultEnvelope:
    """Run the stages of `run_many` after the request. ``started`` is a reading of `time.monotonic`."""
    send = _choose_sender(progress)
    outcomes: Sequence[Outcome] = ()
    try:
        with context as (hooks, uploads):
            connect_for_files(request, hooks)
            plan = plan_calls(request, hooks)
            prepared = prepare_plan(plan, hooks, uploads)
            try:
                outcomes = send(prepared, hooks)
            except (Interrupted, Terminated) as stop:
                outcomes = stop.outcomes
                raise
    # Outside of the block: a stop may also come during the clean-up at its end, and must not lose the answers.
    except STOPS as cause:
        if not outcomes:
            raise
        envelope = build_envelope(prepared, outcomes, duration_s=time.monotonic() - started)
        if isinstance(cause, Interrupted | Terminated):
            cause.partial_result = envelope
            raise
        raise build_stop(cause, tuple(outcomes), envelope) from cause
    # A cache that the provider has lost must not be handed out again, whether the error is raised or kept.
    if request.options.cache is not None:
        from pollux_sync.api.caching import caches

        caches.forget_missing(request.options.cache, outcomes)
    return seal_envelope(prepared, outcomes, duration_s=time.monotonic() - started)


def _choose_sender(progress: ProgressOption) -> Callable[[Prepared, Hooks], Sequence[Outcome]]:
    """Return `send_calls`, with reports of the progress if they are wanted."""
    if progress is False:
        return send_calls
    from pollux_sync.data.reply import Failure
    from pollux_sync.showing import check_progress, follow

    check_progress(progress)

    def send(prepared: Prepared, hooks: Hooks) -> Sequence[Outcome]:
        with follow(progress, len(prepared.calls)) as counter:
            return send_calls(
                prepared, hooks, note=lambda outcome: counter.count(has_failed=isinstance(outcome, Failure))
            )

    return send


def to_jsonable(envelope: ResultEnvelope) -> dict[str, Any]:
    """Return the envelope as JSON-ready data: typed answers in ``structured`` become dicts, lists and texts."""
    # The usual wrong arguments are a Stream and an Output, which contain an envelope: the hint says how to get it.
    given: object = envelope
    if not isinstance(given, dict):
        raise ConfigurationError(
            f"to_jsonable takes the result of a call, got {type(given).__name__}",
            hint="for a stream pass stream.result(); for an Output call its to_jsonable()",
        )
    return dump_envelope(envelope)
