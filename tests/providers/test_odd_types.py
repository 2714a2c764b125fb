"""Odd types in the answers about batches, files and models: a value or a documented error, never a surprise."""

import json
import math

import pytest
from hypothesis import given, settings

import pollux_anthropic.batching
import pollux_anthropic.files
import pollux_anthropic.services
import pollux_gemini.batching
import pollux_gemini.services
import pollux_openai.batching
import pollux_openai.files
import pollux_openai.services
from odd_json import ODD_VALUES, change_one_field, iter_paths, replace_part
from pollux_sync.data.jobs import DeferredBatch, DeferredHandle, DeferredJob
from pollux_sync.data.provider import HttpResponse
from pollux_sync.engine.collecting import _merge_states
from pollux_sync.errors import PolluxError
from pollux_sync.wire.faults import HttpError, ReplyError, classify_error
from pollux_sync.wire.lists import read_list
from pollux_sync.wire.lookups import find_marked_jobs

pytestmark = pytest.mark.drawn

MARK = "pollux-0123456789ab-cafe0123"
JOB = DeferredJob(job_id="batch_1", first=0, request_count=3)
BATCH = DeferredBatch(
    path=None, model="m", first=0, request_count=3, n_bytes=9, mark=f"{MARK}-000000", created_at=1_764_000_000.0
)
HANDLE = DeferredHandle(provider="p", model="m", request_count=3, submitted_at=1.0, mark=MARK, jobs=(JOB,))
#: What a decoder may raise: the core reads these as faults of the service.
DOCUMENTED = (HttpError, ReplyError, PolluxError)


def answer(body):
    return HttpResponse(status=200, body=body)


def check_state(state):
    """A state is good for the arithmetic of the core, and for JSON."""
    snapshot = _merge_states(HANDLE, [state])
    assert all(type(count) is int and count >= 0 for count in (snapshot.succeeded, snapshot.failed, snapshot.pending))
    for moment in (state.completed_at, state.expires_at):
        assert moment is None or math.isfinite(moment - 1.0)
    assert state.provider_code is None or isinstance(state.provider_code, str)
    json.dumps(snapshot.to_dict(), allow_nan=False)


def check_row(row):
    assert isinstance(row.custom_id, str)
    assert row.error is None or isinstance(row.error, str)
    if row.error_response is not None:
        fault = classify_error(HttpError(row.error_response))
        assert fault.status_code is None or 100 <= fault.status_code < 600


def check_rows(rows):
    for row in rows:
        check_row(row)


def check_job(job):
    if job is not None:
        assert job.job_id
        assert isinstance(job.job_id, str)
        json.dumps(job.provider_state)


def check_assets(assets):
    for asset in assets:
        assert asset.id
        assert isinstance(asset.id, str)
        assert asset.expires_at is None or math.isfinite(asset.expires_at)


def check_models(models):
    for model in models:
        assert isinstance(model.id, str)
        for count in (model.context_tokens, model.max_output_tokens):
            assert count is None or type(count) is int
        assert model.created_at is None or math.isfinite(model.created_at)


def check_text(text):
    assert text is None or isinstance(text, str)


def check_nothing(_):
    pass


# -- OpenAI

OPENAI_BATCH = {
    "id": "batch_1",
    "object": "batch",
    "status": "completed",
    "errors": {"object": "list", "data": [{"code": "bad", "message": "no", "param": None, "line": 2}]},
    "input_file_id": "file-1",
    "output_file_id": "file-2",
    "error_file_id": "file-3",
    "created_at": 1_764_000_000,
    "completed_at": 1_764_000_100,
    "expires_at": 1_764_086_400,
    "request_counts": {"total": 3, "completed": 2, "failed": 1},
    "metadata": {"pollux_mark": BATCH.mark},
}
OPENAI_FAILED = OPENAI_BATCH | {"status": "failed", "failed_at": 1_764_000_100}
OPENAI_ROW = {
    "custom_id": "pollux-000001",
    "response": {"status_code": 400, "request_id": "r", "body": {"error": {"code": "c", "message": "m"}}},
    "error": None,
}
OPENAI_ERROR_ROW = OPENAI_ROW | {"response": None, "error": {"code": "batch_expired", "message": "late"}}
OPENAI_PAGE = {"object": "list", "data": [OPENAI_BATCH], "has_more": True}


def require_object(decode):
    """The carrier refuses answers that are no objects before it calls a decoder."""
    return lambda body: decode(body) if isinstance(body, dict) else None


def find_openai_job(page):
    batching = pollux_openai.batching
    entries = [batching.decode_entry(remote) for remote in read_list(answer(page), "data")]
    found = find_marked_jobs([(answer(page), entries)], BATCH)
    return batching.choose_match([entry.remote for entry in found], BATCH)


# -- Anthropic

ANTHROPIC_BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0},
    "created_at": "2026-11-24T00:00:00Z",
    "ended_at": "2026-11-24T01:00:00.5Z",
    "expires_at": "2026-11-25T00:00:00Z",
    "results_url": "https://example.org/results",
}
ANTHROPIC_ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}, "request_id": "r"}
ANTHROPIC_ROW = {"custom_id": "pollux-000001-cafe0123", "result": {"type": "errored", "error": ANTHROPIC_ERROR}}
ANTHROPIC_FILE = {"id": "file_1", "filename": f"{MARK}-a.pdf", "mime_type": "application/pdf", "expires_at": None}
ANTHROPIC_PAGE = {"data": [ANTHROPIC_BATCH], "has_more": True, "last_id": "msgbatch_1", "next_page": None}
ANTHROPIC_MODELS = {
    "data": [
        {
            "id": "claude",
            "display_name": "Claude",
            "max_input_tokens": 9,
            "max_tokens": 5,
            "created_at": "2026-11-24T00:00:00Z",
        }
    ]
}


def match_anthropic_batches(page):
    batching = pollux_anthropic.batching
    for remote in batching.read_objects(page):
        if batching.is_possible_match(remote, BATCH):
            batching.has_ended(remote)
    for _, value in batching.build_next_query(page):
        check_text(value)


class OnePage:
    """A client that answers with one page, and with an empty one after it."""

    def __init__(self, page):
        self._pages = [page]

    def send(self, request, timeout_s):
        return answer(self._pages.pop() if self._pages else {"data": []})


def find_anthropic_files(page):
    return pollux_anthropic.files.find_uploads(MARK, OnePage(page), 5.0)


# -- Gemini

GEMINI_METADATA = {
    "displayName": BATCH.mark,
    "state": "BATCH_STATE_SUCCEEDED",
    "batchStats": {"requestCount": "3", "successfulRequestCount": "2", "failedRequestCount": 1},
    "createTime": "2026-11-24T00:00:00Z",
    "endTime": "2026-11-24T01:00:00.123456789Z",
}
GEMINI_ERROR = {"code": 8, "message": "busy", "details": [{"retryDelay": "3s"}]}
GEMINI_ROWS = [
    {"metadata": {"key": "pollux-000000"}, "error": GEMINI_ERROR},
    {"metadata": {"key": "pollux-000001"}, "response": {"candidates": []}},
]
GEMINI_BATCH = {
    "name": "batches/1",
    "metadata": GEMINI_METADATA,
    "done": True,
    "response": {"inlinedResponses": {"inlinedResponses": GEMINI_ROWS}},
}
GEMINI_FAILED = {"name": "batches/1", "metadata": GEMINI_METADATA, "done": True, "error": GEMINI_ERROR}
GEMINI_FILE = {
    "name": "files/1",
    "displayName": f"{MARK}-a.pdf",
    "mimeType": "application/pdf",
    "uri": "https://example.org/files/1",
    "expirationTime": "2026-11-25T00:00:00Z",
    "source": "UPLOADED",
}
GEMINI_MODELS = {
    "models": [
        {"name": "models/gemini", "displayName": "Gemini", "inputTokenLimit": 9, "outputTokenLimit": 5},
        {"name": "models/other"},
    ],
    "nextPageToken": "t",
}


def search_gemini_batches(body):
    batching = pollux_gemini.batching
    check_text(batching.read_page_token(answer(body)))
    found = find_marked_jobs([(answer(body), batching.decode_entries(answer(body)))], BATCH)
    remote = batching.choose_match(found)
    return [] if remote is None else [batching.build_job(remote, BATCH, [])]


def check_jobs(jobs):
    for job in jobs:
        check_job(job)


def decode_gemini_state(body):
    return pollux_gemini.batching.build_state(pollux_gemini.batching.decode_batch(answer(body)))


def decode_gemini_rows(body):
    return list(pollux_gemini.batching.iter_rows(pollux_gemini.batching.decode_batch(answer(body)).answers))


def dump_line(value):
    return json.dumps(value).encode()


DECODERS = {
    "openai state": (
        OPENAI_BATCH,
        require_object(lambda body: pollux_openai.batching.decode_state(body, JOB)),
        check_state,
    ),
    "openai failed state": (
        OPENAI_FAILED,
        require_object(lambda body: pollux_openai.batching.decode_state(body, JOB)),
        check_state,
    ),
    "openai job": (
        OPENAI_BATCH,
        lambda body: pollux_openai.batching.build_job(pollux_openai.files.read_id(answer(body)), BATCH, None),
        check_job,
    ),
    "openai search": (OPENAI_PAGE, require_object(find_openai_job), check_job),
    "openai cursor": (OPENAI_PAGE, lambda page: pollux_openai.files._read_cursor(answer(page)), check_text),
    "openai row": (OPENAI_ROW, lambda row: pollux_openai.batching.decode_row(dump_line(row)), check_row),
    "openai error row": (OPENAI_ERROR_ROW, lambda row: pollux_openai.batching.decode_row(dump_line(row)), check_row),
    "openai models": (
        {"data": [{"id": "gpt", "created": 1_764_000_000}]},
        lambda body: pollux_openai.services.decode_models(answer(body)),
        check_models,
    ),
    "anthropic state": (ANTHROPIC_BATCH, pollux_anthropic.batching.decode_state, check_state),
    "anthropic job": (ANTHROPIC_BATCH, lambda body: pollux_anthropic.batching.decode_job(body, BATCH), check_job),
    "anthropic search": (ANTHROPIC_PAGE, match_anthropic_batches, check_nothing),
    "anthropic own row": (
        ANTHROPIC_ROW,
        lambda row: pollux_anthropic.batching.is_own_row(row, BATCH),
        check_nothing,
    ),
    "anthropic row": (ANTHROPIC_ROW, lambda row: pollux_anthropic.batching.decode_row(row, "cafe0123"), check_row),
    "anthropic files": ({"data": [ANTHROPIC_FILE]}, find_anthropic_files, check_assets),
    "anthropic models": (
        ANTHROPIC_MODELS,
        lambda body: list(pollux_anthropic.services.decode_models(answer(body))),
        check_models,
    ),
    "gemini state": (GEMINI_BATCH, decode_gemini_state, check_state),
    "gemini failed state": (GEMINI_FAILED, decode_gemini_state, check_state),
    "gemini job": (GEMINI_BATCH, lambda body: pollux_gemini.batching.decode_job(answer(body), BATCH), check_job),
    "gemini search": ({"operations": [GEMINI_BATCH], "nextPageToken": "t"}, search_gemini_batches, check_jobs),
    "gemini rows": (GEMINI_BATCH, decode_gemini_rows, check_rows),
    "gemini file row": (
        GEMINI_ROWS[0],
        lambda row: list(pollux_gemini.batching.iter_rows([row])),
        check_rows,
    ),
    "gemini files": (
        {"files": [GEMINI_FILE]},
        lambda body: [asset for _, asset in pollux_gemini.batching.decode_uploads(answer(body), MARK)],
        check_assets,
    ),
    "gemini models": (
        GEMINI_MODELS,
        lambda body: pollux_gemini.services.decode_models(answer(body)),
        check_models,
    ),
}


every_decoder = pytest.mark.parametrize(("body", "decode", "check"), DECODERS.values(), ids=DECODERS)


def decode_and_check(body, decode, check):
    try:
        value = decode(body)
    except DOCUMENTED:
        return
    if value is not None:
        check(value)


@every_decoder
def test_an_odd_value_in_any_field_is_a_value_or_a_documented_error(body, decode, check):
    for path in iter_paths(body):
        for odd in ODD_VALUES:
            decode_and_check(replace_part(body, path, odd), decode, check)


@every_decoder
def test_any_value_in_any_field_is_a_value_or_a_documented_error(body, decode, check):
    @settings(deadline=None)
    @given(changed=change_one_field(body))
    def decode_changed(changed):
        decode_and_check(changed, decode, check)

    decode_changed()
