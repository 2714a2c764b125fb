"""Plan -> deferred jobs at the provider, each submitted exactly once, however often the process is killed."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import attrs

from pollux_sync.data.events import DeferredSubmitted
from pollux_sync.data.jobs import DeferredBatch, DeferredHandle, SubmissionAttempt, build_custom_id, check_coverage
from pollux_sync.data.provider import encode_json
from pollux_sync.data.request import AssetPart, InlinePart, TextPart, UploadPart
from pollux_sync.engine.encoding import encode_request
from pollux_sync.engine.journaling import Journal
from pollux_sync.engine.planning import plan_calls, refuse_secrets
from pollux_sync.engine.preparing import (
    STOPPED_S,
    PendingUploads,
    delete_uploads,
    prepare_plan,
    upload_part,
    wait_until_ready,
)
from pollux_sync.engine.retrying import request_with_retries
from pollux_sync.engine.telling import tell_job
from pollux_sync.engine.threads import WorkerThreads, wait_for
from pollux_sync.errors import STOPS, APIError, ConfigurationError, PlanningError, PolluxError, is_refusal
from pollux_sync.hooks.folders import open_temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pollux_sync.data.handles import Asset
    from pollux_sync.data.jobs import DeferredJob
    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.request import Call, Part, Plan, Request
    from pollux_sync.hooks.relay import Hooks


class SubmissionLog(Protocol):
    """The record of one submission, from which it goes on after any interruption. The job file is one.

    What a method recorded must outlive the process when it returns: the next step relies on it. A log belongs to one
    sequence of calls, and two submissions must not use it at the same time.
    """

    @property
    def mark(self) -> str:
        """The text in the names of all that is stored for the submission, made once by `create_mark`."""
        ...

    @property
    def jobs(self) -> tuple[DeferredJob, ...]:
        """The recorded jobs, in the order in which they were recorded."""
        ...

    @property
    def attempted(self) -> SubmissionAttempt | None:
        """The recorded attempt, None once a job was recorded after it."""
        ...

    @property
    def is_open(self) -> bool:
        """True if a job may exist that is not recorded: after `mark_open`, until a job is recorded.

        Also true in a log that was read back with an attempt in it: whoever recorded it may have died at any moment.
        """
        ...

    def find_asset(self, part: UploadPart) -> Asset | None:
        """Return the recorded upload of this content and MIME type, or None. Called from several threads."""
        ...

    def record_upload(self, part: UploadPart, asset: Asset) -> None:
        """Record a file that has been stored."""
        ...

    def record_attempt(self, attempt: SubmissionAttempt) -> None:
        """Record that a job is about to be submitted, in place of an earlier attempt."""
        ...

    def mark_open(self) -> None:
        """Note that a submission failed in a way that proves nothing about the job. It need not outlive the process."""
        ...

    def record_job(self, job: DeferredJob) -> None:
        """Record a job that has been submitted; its attempt is over."""
        ...


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
    # Before the files are stored, and for a file whose jobs are all there.
    check_coverage(journal.jobs, len(plan.calls), is_whole=False)
    if journal.facts.handle is not None:
        return journal.facts.handle
    uploads = JobUploads(journal, hooks)
    try:
        handle = _submit_jobs(plan, hooks, journal, uploads)
        if journal.is_resumed or journal.was_open:
            # The jobs exist: their handle must not be lost over stray files, which expire.
            with suppress(PolluxError):
                delete_strays(handle.mark, handle.jobs, handle.files, hooks)
        journal.record_handle(handle)
    except BaseException as error:
        # An upload that Ctrl-C left in flight must not write the job file after it is gone.
        uploads.end()
        _clean_up(error, hooks, journal, job_file, has_uploaded=uploads.has_run)
        raise
    hooks.emit(DeferredSubmitted(handle))
    tell_job(handle, hooks)
    return handle


def _submit_jobs(plan: Plan, hooks: Hooks, journal: Journal, uploads: JobUploads) -> DeferredHandle:
    prepared = prepare_plan(plan, hooks, uploads)
    if prepared.blocked:
        raise prepared.blocked[min(prepared.blocked)]
    # All before the first job: an error of a middleware must not come when a part is submitted.
    jobs = submit_calls([*map(hooks.rewrite_call, prepared.calls)], hooks, journal)
    config, facts = hooks.config, journal.facts
    options = plan.request.options
    return DeferredHandle(
        provider=hooks.info.name,
        model=config.model,
        request_count=len(prepared.calls),
        submitted_at=time.time(),
        mark=facts.mark,
        jobs=jobs,
        files=tuple(stored.asset for stored in facts.uploads),
        response_schema=options.response_schema_json(),
        answer_mode="json_object" if options.wants_json_object else None,
        account=config.account,
        base_url=config.base_url,
    )


def submit_calls(calls: Sequence[Call], hooks: Hooks, log: SubmissionLog) -> tuple[DeferredJob, ...]:
    """Submit calls in as few jobs as the provider's limits allow; return the jobs.

    The files of the calls are delivered, and middleware has rewritten them (`Hooks.rewrite_call`). Each has its own
    options, schema and sources; its position in ``calls`` is the index of its custom id, whatever its own index is.
    Call again with the same calls and log after any failure: jobs that the log has are not submitted again, and one
    that may exist is looked up first.

    Raises ConfigurationError for a log of other calls, PlanningError for a request that is too large for any job,
    APIError with phase "batch_submit". After an error a job may exist that is not in the log if the log ``is_open``.
    """
    check_coverage(log.jobs, len(calls), is_whole=False)
    covered = sum(job.request_count for job in log.jobs)
    while covered < len(calls):
        job = _submit_next(calls, covered, hooks, log)
        log.record_job(job)
        covered += job.request_count
    return log.jobs


def build_batch_mark(mark: str, first: int) -> str:
    """Return the mark of the job whose first request has this index."""
    return f"{mark}-{first:06d}"


class JobUploads:
    """The files of a submission: named by its mark, recorded in its log, kept until `release_jobs` deletes them.

    Call `end` when preparing or submitting fails, so that a late upload does not write to the log.
    """

    #: The requests of a job are all that need its files.
    expected_uses = 1

    def __init__(self, log: SubmissionLog, hooks: Hooks) -> None:
        self._log = log
        self._hooks = hooks
        self._pending = PendingUploads(hooks)

    def upload(self, part: UploadPart, stop: threading.Event) -> Asset:
        """Return the recorded file, or store it now. Raises APIError with phase "upload"."""
        known = self._log.find_asset(part)
        if known is not None and (known.expires_at is None or known.expires_at > time.time() + _LEAST_LIFE_S):
            return wait_until_ready(known, part, self._hooks, stop)
        name = f"{self._log.mark}-{part.source.file_name or 'file'}"
        store = partial(upload_part, part, self._hooks, stop, name=name, lifetime_s=_LIFETIME_S)
        asset = self._pending.run(store, partial(self._log.record_upload, part))
        return wait_until_ready(asset, part, self._hooks, stop)

    @property
    def has_run(self) -> bool:
        """True if any upload was begun."""
        return self._pending.has_run

    def end(self) -> None:
        """Wait a moment for uploads in flight; one that lands later deletes its file."""
        self._pending.end()


def _submit_next(calls: Sequence[Call], first: int, hooks: Hooks, log: SubmissionLog) -> DeferredJob:
    """Submit as many calls from ``first`` on as one job holds.

    After an interruption it is the same number as before: a job that may exist can only be found if it is cut alike.
    """
    earlier = log.attempted if log.attempted is not None and log.attempted.first == first else None
    count = earlier.request_count if earlier else None
    with open_temporary_folder() as folder:
        path = folder / "requests.jsonl"
        lines = _encode_lines(calls, first, hooks, log.mark)
        written, n_bytes = _write_lines(path, lines, hooks, first=first, count=count)
        batch = DeferredBatch(
            path=path,
            model=hooks.config.model,
            first=first,
            request_count=written,
            n_bytes=n_bytes,
            mark=build_batch_mark(log.mark, first),
            created_at=earlier.created_at if earlier else time.time(),
            bookmark=earlier.bookmark if earlier else _fetch_bookmark(hooks),
            other_jobs=frozenset(job.job_id for job in log.jobs),
        )
        return _submit_once(batch, hooks, log)


def _fetch_bookmark(hooks: Hooks) -> str | None:
    fetch = partial(hooks.bookmark_deferred, hooks.config.timeout_s)
    return request_with_retries(fetch, hooks, phase="batch_submit")


def _submit_once(batch: DeferredBatch, hooks: Hooks, log: SubmissionLog) -> DeferredJob:
    """Submit one job. If an earlier attempt may have succeeded, look it up first."""
    # A job that may exist keeps the facts of its first attempt: by them it is looked up.
    if not log.is_open:
        log.record_attempt(_describe_attempt(batch))

    def attempt() -> DeferredJob:
        found = _find_lost_job(batch, hooks) if log.is_open else None
        if found is not None:
            return found
        try:
            return hooks.submit_deferred(batch, hooks.config.timeout_s)
        except BaseException as error:
            if not _proves_refusal(error, hooks):
                log.mark_open()
            raise

    job = request_with_retries(attempt, hooks, phase="batch_submit")
    return attrs.evolve(job, first=batch.first, request_count=batch.request_count)


def _describe_attempt(batch: DeferredBatch) -> SubmissionAttempt:
    return SubmissionAttempt(
        first=batch.first,
        request_count=batch.request_count,
        created_at=batch.created_at,
        bookmark=batch.bookmark,
    )


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


def _encode_lines(calls: Sequence[Call], first: int, hooks: Hooks, mark: str) -> Iterator[bytes]:
    # One by one and not as a slice: the sequence may build its calls when they are asked for.
    for index in range(first, len(calls)):
        call = calls[index].with_index(index)
        request = encode_request(call, hooks)
        _refuse_headers(request)
        refuse_secrets(call.options)
        row = hooks.encode_deferred(build_custom_id(index), request, mark, call)
        yield encode_json(row) + b"\n"


def _refuse_headers(request: HttpRequest) -> None:
    """Refuse headers of a call, for which a row of a job has no place."""
    if request.extra_headers:
        raise ConfigurationError(
            f"provider_headers cannot be deferred: {', '.join(request.extra_headers)}",
            hint="leave it out, or call run_many()",
        )


def _write_lines(path: Path, lines: Iterator[bytes], hooks: Hooks, *, first: int, count: int | None) -> tuple[int, int]:
    """Write ``count`` lines, or as many as the provider takes; return their number and their size in bytes.

    ``first`` is the index of the first line, for an error.
    """
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
                error = PlanningError(
                    f"one request is {len(line)} bytes long, a job holds at most {limits.max_bytes}",
                    hint="pass large content with Source.from_file, or as an address",
                )
                error.call_idx = first + written
                raise error
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
    # JSON mode has the hash of a schema that could be sent as well.
    header += ["json_object"] if options.wants_json_object else []
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


def delete_strays(mark: str, jobs: Sequence[DeferredJob], files: Sequence[Asset], hooks: Hooks) -> None:
    """Delete what an interrupted submission stored under its mark, except the files of its jobs and those given.

    Call it when all jobs exist, after a submission that was interrupted. Raises APIError with phase "batch_submit".
    """
    assets = _find_uploads(mark, hooks)
    owned = {asset.id for asset in files}
    owned.update(name for job in jobs for name in job.provider_state.get("files", ()))
    strays = [asset for asset in assets if asset.id not in owned]
    if strays:
        delete_uploads(strays, hooks)
