"""Plan -> deferred jobs at the provider, each submitted exactly once, however often the process is killed."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs

from pollux_sync.data.events import DeferredSubmitted
from pollux_sync.data.handles import DeferredHandle, build_custom_id, check_coverage
from pollux_sync.data.provider import encode_json
from pollux_sync.data.request import AssetPart, DeferredBatch, InlinePart, TextPart, UploadPart
from pollux_sync.engine.encoding import encode_request
from pollux_sync.engine.journaling import Journal
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.preparing import (
    STOPPED_S,
    PendingUploads,
    delete_uploads,
    prepare_plan,
    upload_part,
    wait_until_ready,
)
from pollux_sync.engine.retrying import request_with_retries
from pollux_sync.engine.threads import WorkerThreads, wait_for
from pollux_sync.errors import STOPS, APIError, ConfigurationError, PlanningError, PolluxError, is_refusal
from pollux_sync.hooks.folders import open_temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pollux_sync.data.handles import Asset, DeferredJob
    from pollux_sync.data.request import Call, Part, Plan, Request
    from pollux_sync.hooks.relay import Hooks

#: How long uploads of a job are kept: longer than the day that it may take.
_LIFETIME_S = 3 * 86_400.0
#: How much of its life an upload must have left to be used again after an interruption, in seconds.
_LEAST_LIFE_S = 86_400.0


def submit(request: Request, hooks: Hooks, job_file: Path | None) -> DeferredHandle:
    """Submit the jobs of a request, or return those that the job file shows to be submitted already.

    Raises what planning raises before anything is sent, APIError with phase "upload" or "batch_submit".
    """
    plan = plan_calls(request, hooks, is_deferred=True)
    journal = Journal(job_file, hash_content(plan, hooks))
    check_coverage(journal.facts.jobs, len(plan.calls), is_whole=False)
    if journal.facts.handle is not None:
        return journal.facts.handle
    uploads = _JobUploads(journal, hooks)
    try:
        handle = _submit_jobs(plan, hooks, journal, uploads)
        if journal.is_resumed or journal.was_open:
            # The jobs exist: their handle must not be lost over stray files, which expire.
            with suppress(PolluxError):
                _delete_strays(handle, hooks)
        journal.record_handle(handle)
    except BaseException as error:
        # An upload that Ctrl-C left in flight must not write the job file after it is gone.
        uploads.end()
        _clean_up(error, hooks, journal, job_file, has_uploaded=uploads.has_run)
        raise
    hooks.emit(DeferredSubmitted(handle))
    return handle


def _submit_jobs(plan: Plan, hooks: Hooks, journal: Journal, uploads: _JobUploads) -> DeferredHandle:
    prepared = prepare_plan(plan, hooks, uploads)
    if prepared.blocked:
        raise prepared.blocked[min(prepared.blocked)]
    covered = sum(job.request_count for job in journal.facts.jobs)
    while covered < len(prepared.calls):
        job = _submit_next(prepared.calls, covered, hooks, journal)
        journal.record_job(job)
        covered += job.request_count
    config, facts = hooks.config, journal.facts
    schema = plan.request.options.response_schema_json()
    return DeferredHandle(
        provider=hooks.info.name,
        model=config.model,
        request_count=len(prepared.calls),
        submitted_at=time.time(),
        mark=facts.mark,
        jobs=facts.jobs,
        files=tuple(stored.asset for stored in facts.uploads),
        response_schema=schema,
        account=config.account,
        base_url=config.base_url,
    )


def build_batch_mark(mark: str, first: int) -> str:
    """Return the mark of the job whose first request has this index."""
    return f"{mark}-{first:06d}"


class _JobUploads:
    """The files of a job: named by its mark, recorded in its journal, kept until it ends."""

    #: The requests of a job are all that need its files.
    expected_uses = 1

    def __init__(self, journal: Journal, hooks: Hooks) -> None:
        self._journal = journal
        self._hooks = hooks
        self._pending = PendingUploads(hooks)

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        known = self._journal.find_asset(part)
        if known is not None and (known.expires_at is None or known.expires_at > time.time() + _LEAST_LIFE_S):
            return wait_until_ready(known, part, self._hooks, stop)
        name = f"{self._journal.facts.mark}-{part.source.file_name or 'file'}"
        store = partial(upload_part, part, self._hooks, stop, name=name, lifetime_s=_LIFETIME_S)
        asset = self._pending.run(store, partial(self._journal.record_upload, part))
        return wait_until_ready(asset, part, self._hooks, stop)

    @property
    def has_run(self) -> bool:
        """True if any upload was begun."""
        return self._pending.has_run

    def end(self) -> None:
        """Wait a moment for uploads in flight; one that lands later deletes its file."""
        self._pending.end()


def _submit_next(calls: Sequence[Call], first: int, hooks: Hooks, journal: Journal) -> DeferredJob:
    """Submit as many calls from ``first`` on as one job holds.

    After an interruption it is the same number as before: a job that may exist can only be found if it is cut alike.
    """
    attempted = journal.facts.attempted
    earlier = attempted if attempted is not None and attempted.first == first else None
    count = earlier.request_count if earlier else None
    with open_temporary_folder() as folder:
        path = folder / "requests.jsonl"
        written, n_bytes = _write_lines(path, _encode_lines(calls[first:], hooks, journal.facts.mark), hooks, count)
        batch = DeferredBatch(
            path=path,
            model=hooks.config.model,
            first=first,
            request_count=written,
            n_bytes=n_bytes,
            mark=build_batch_mark(journal.facts.mark, first),
            created_at=earlier.created_at if earlier else time.time(),
            bookmark=earlier.bookmark if earlier else _fetch_bookmark(hooks),
            other_jobs=frozenset(job.job_id for job in journal.facts.jobs),
        )
        return _submit_once(batch, hooks, journal)


def _fetch_bookmark(hooks: Hooks) -> str | None:
    fetch = partial(hooks.bookmark_deferred, hooks.config.timeout_s)
    return request_with_retries(fetch, hooks, phase="batch_submit")


def _submit_once(batch: DeferredBatch, hooks: Hooks, journal: Journal) -> DeferredJob:
    """Submit one job. If an earlier attempt may have succeeded, look it up first."""
    journal.record_attempt(batch)

    def attempt() -> DeferredJob:
        found = _find_lost_job(batch, hooks) if journal.is_open else None
        if found is not None:
            return found
        try:
            return hooks.submit_deferred(batch, hooks.config.timeout_s)
        except BaseException as error:
            if not _proves_refusal(error, hooks):
                journal.mark_open()
            raise

    job = request_with_retries(attempt, hooks, phase="batch_submit")
    return attrs.evolve(job, first=batch.first, request_count=batch.request_count)


def _find_lost_job(batch: DeferredBatch, hooks: Hooks) -> DeferredJob | None:
    """Return the job of an earlier attempt, or None."""
    policy, timeout_s = hooks.config.retry, hooks.config.timeout_s
    found = hooks.find_deferred(batch, timeout_s)
    if found is not None or not policy.initial_delay_s:
        return found
    # A request whose client is gone may still be under way at the service, and its job is in no list yet.
    wait_for(time.sleep, policy.max_delay_s)
    return hooks.find_deferred(batch, timeout_s)


def _proves_refusal(error: BaseException, hooks: Hooks) -> bool:
    """Return whether the error proves that no job was created."""
    if isinstance(error, PolluxError) and not isinstance(error, APIError):
        return True
    if isinstance(error, APIError):
        return is_refusal(error.status_code)
    try:
        return isinstance(error, Exception) and is_refusal(hooks.classify(error).status_code)
    except PolluxError:
        return False


def _encode_lines(calls: Sequence[Call], hooks: Hooks, mark: str) -> Iterator[bytes]:
    for call in calls:
        request = encode_request(hooks.rewrite_call(call), hooks)
        row = hooks.encode_deferred(build_custom_id(call.index), request, mark)
        yield encode_json(row) + b"\n"


def _write_lines(path: Path, lines: Iterator[bytes], hooks: Hooks, count: int | None) -> tuple[int, int]:
    """Write ``count`` lines, or as many as the provider takes; return their number and their size in bytes."""
    limits = hooks.info.deferred
    written = size = 0
    with _open_for_writing(path) as file:
        for line in lines:
            is_full = limits is not None and (
                written == limits.max_requests or (written > 0 and size + len(line) > limits.max_bytes)
            )
            if written == count or (count is None and is_full):
                break
            if limits is not None and len(line) > limits.max_bytes:
                raise PlanningError(
                    f"one request is {len(line)} bytes long, a job holds at most {limits.max_bytes}",
                    hint="pass large content with Source.from_file, or as an address",
                )
            file.write(line)
            written += 1
            size += len(line)
    return written, size


@contextmanager
def _open_for_writing(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("wb") as file:
            yield file
    except OSError as error:
        raise PolluxError(
            f"the requests cannot be written to {path}: {error.strerror}",
            hint="free space there, or let TMPDIR name another folder",
        ) from error


def hash_content(plan: Plan, hooks: Hooks) -> str:
    """Return a hash over all that two equal submissions share: prompts, sources, options, model and account.

    Job files hold it, so it must stay the same in every release.
    """
    config, options = hooks.config, plan.request.options
    # Only options that are set: one that a later release adds must not change the hash of a job file that is in use.
    names = {traits.name for traits in options.iter_set()} - {"response_schema", "on_error"}
    settings = attrs.asdict(options, filter=lambda field, _: field.name in names)
    header = [hooks.info.name, config.model, config.account, config.base_url, settings, options.response_schema_hash()]
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, default=str).encode())
    previous: tuple[Part, ...] | None = None
    for call in plan.calls:
        # All calls of one plan usually share their parts: these are hashed once.
        parts = [] if call.parts is previous else [_build_part_identity(part) for part in call.parts]
        previous = call.parts
        digest.update(json.dumps([parts, call.prompt]).encode())
    return digest.hexdigest()


def _build_part_identity(part: Part) -> list[Any]:
    if isinstance(part, TextPart):
        return ["text", part.text]
    content: str | list[Any] = part.source.identifier
    if isinstance(part, UploadPart):
        content = part.identity
    elif isinstance(part, InlinePart):
        content = hashlib.sha256(part.data).hexdigest()
    elif isinstance(part, AssetPart):
        content = part.asset.id
    hints = [[hint.provider, hint.name, hint.payload] for hint in part.source.provider_hints]
    return [type(part).__name__, part.source.mime_type, content, hints]


def _clean_up(
    error: BaseException, hooks: Hooks, journal: Journal, job_file: Path | None, *, has_uploaded: bool
) -> None:
    """Delete what was stored, after a refusal. After a failure that proves nothing, keep what is needed to go on."""
    facts = journal.facts
    if facts.jobs or journal.is_open:
        _explain_remains(error, journal, job_file)
        return
    assets = {stored.asset.id: stored.asset for stored in facts.uploads}
    is_clean = True
    # Before the first deletion: if this call is killed now, or a deletion fails, the next one must not use these files.
    with suppress(PolluxError):
        journal.record_refusal()
    # A file may have been stored although no answer came, and a refused job may have stored its input. A call that was
    # killed here may have left what no record names any more.
    is_stopped = isinstance(error, STOPS)
    if facts.attempted is not None or has_uploaded or journal.is_resumed:
        found = _find_remaining_uploads(facts.mark, hooks, is_stopped=is_stopped)
        is_clean = found is not None
        assets |= {asset.id: asset for asset in found or ()}
    # What cannot be deleted now is by the next call with the file; without one it expires.
    if delete_uploads([*assets.values()], hooks, is_stopped=is_stopped) and is_clean:
        journal.discard()


def _explain_remains(error: BaseException, journal: Journal, job_file: Path | None) -> None:
    """Say in the error what exists or may exist at the provider, and how to go on."""
    remains = _describe_remains(journal)
    way_on = (
        f"call again with job_file={str(job_file)!r}: it looks for the job before it submits it again"
        if job_file is not None
        else "look for it in the provider's lists of batches and files before you submit again; "
        "with job_file= the next call finds it itself, and nothing is paid twice"
    )
    # Not in the text of Ctrl-C, which has none, or of an error that asks to choose among the jobs that exist.
    if isinstance(error, PolluxError) and not isinstance(error, ConfigurationError):
        error.args = (f"{error.message}; {remains}",)
        error.hint = f"{error.hint}; then {way_on}" if error.hint else way_on
    else:
        error.add_note(f"{remains}: {way_on}")


def _describe_remains(journal: Journal) -> str:
    facts, attempted, texts = journal.facts, journal.facts.attempted, []
    if journal.is_open and attempted is not None:
        mark = build_batch_mark(facts.mark, attempted.first)
        texts.append(f"a job of {attempted.request_count} requests named {mark} may exist")
    texts.append(f"files whose names begin with {facts.mark} may exist")
    ids = [job.job_id for job in facts.jobs] + [stored.asset.id for stored in facts.uploads]
    return ", and ".join(texts) + (f" (known: {', '.join(ids)})" if ids else "")


def _find_uploads(mark: str, hooks: Hooks) -> list[Asset]:
    """Return the files that were stored under a submission's mark."""
    return request_with_retries(lambda: hooks.find_uploads(mark, hooks.config.timeout_s), hooks, phase="batch_submit")


def _find_remaining_uploads(mark: str, hooks: Hooks, *, is_stopped: bool) -> list[Asset] | None:
    """Return the files of a submission that failed, None if they cannot be found; after a stop within seconds."""
    if not is_stopped:
        try:
            return _find_uploads(mark, hooks)
        except PolluxError:
            return None
    results: list[list[Asset] | None] = [None]
    workers = WorkerThreads(lambda mark: hooks.find_uploads(mark, STOPPED_S), [mark], threading.Event(), results)
    with suppress(Exception):
        workers.start(1)
        workers.wait(STOPPED_S)
    return results[0]


def _delete_strays(handle: DeferredHandle, hooks: Hooks) -> None:
    """Delete what an interrupted submission stored without recording it."""
    assets = _find_uploads(handle.mark, hooks)
    owned = {asset.id for asset in handle.files}
    owned.update(name for job in handle.jobs for name in job.provider_state.get("files", ()))
    strays = [asset for asset in assets if asset.id not in owned]
    if strays:
        delete_uploads(strays, hooks)
