"""Golden files: what the first version of each layout wrote must load for ever. Never rewrite a file in ``golden``."""

import json
from pathlib import Path

import attrs
import pytest

from pollux_sync import CacheHandle, DeferredHandle, Options, Source
from pollux_sync.data.handles import Asset
from pollux_sync.data.interaction import Continuation
from pollux_sync.data.jobs import DeferredJob, SubmissionAttempt
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.request import UriPart
from pollux_sync.data.source import BytesLoader
from pollux_sync.engine.conversing import build_conversation
from pollux_sync.engine.journaling import JobFile, StoredUpload, read_job_file

GOLDEN = Path(__file__).parent / "golden"

CACHE = CacheHandle("cachedContents/whale", "gemini-flash", "gemini", 2_000_000_000.5)
MARK = "pollux-0123456789ab-cafe0123"
JOBS = (
    DeferredJob(
        job_id="batch_1", first=0, request_count=2, provider_state={"input_file_id": "file-1", "n": 2, "none": None}
    ),
    DeferredJob(job_id="batch_2", first=2, request_count=1),
)
FILES = (
    Asset(id="file-9", mime_type="application/pdf"),
    Asset(id="file-8", mime_type="image/png", uri="https://files.example/8", expires_at=1_764_100_000.0),
)
LEAST = DeferredHandle(
    provider="openai",
    model="m",
    request_count=1,
    submitted_at=1_764_000_000.25,
    mark=MARK,
    jobs=(DeferredJob(job_id="batch_1", first=0, request_count=1),),
)
FULL = attrs.evolve(
    LEAST,
    request_count=3,
    jobs=JOBS,
    files=FILES,
    response_schema={"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    account="a1b2c3",
    base_url="https://llm.example/v1",
)
BEGUN = JobFile(content="0123456789abcdef" * 4, mark=MARK, begun_at=1_764_000_000.0)
ATTEMPTED = attrs.evolve(
    BEGUN,
    uploads=(StoredUpload(identity="ab" * 32, asset=FILES[0]),),
    attempted=SubmissionAttempt(first=0, request_count=2, created_at=1_764_000_001.5),
)


def read_golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "handle"),
    [
        ("cache_handle_least", CACHE),
        (
            "cache_handle_full",
            attrs.evolve(CACHE, n_tokens=4096, account="a1b2c3", base_url="https://llm.example/v1"),
        ),
        ("cache_handle_labelled", attrs.evolve(CACHE, label="handbook, 3rd edition")),
        ("deferred_handle_least", LEAST),
        ("deferred_handle_full", FULL),
    ],
)
def test_a_stored_handle_loads(name, handle):
    assert type(handle).from_dict(read_golden(name)) == handle


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("job_file_begun", BEGUN),
        ("job_file_attempted", ATTEMPTED),
        ("job_file_finished", attrs.evolve(ATTEMPTED, attempted=None, jobs=JOBS, handle=FULL)),
    ],
)
def test_a_stored_job_file_loads(name, content):
    assert read_job_file(GOLDEN / f"{name}.json") == content


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("source_text", Source.from_text("Grüße an den Wal", identifier="note")),
        ("source_json", Source.from_json({"a": [1, None]})),
        (
            "source_youtube",
            Source.from_youtube("https://youtu.be/x").with_gemini_video_settings(fps=1, start_offset="90s"),
        ),
        ("source_uri", Source.from_uri("gs://a/b.pdf", mime_type="application/pdf")),
        ("source_arxiv", Source.from_arxiv("1706.03762")),
        ("source_bytes", Source("file", "a.bin", "image/png", 3, BytesLoader(b"abc"))),
    ],
)
def test_a_stored_source_loads(name, source):
    assert Source.from_dict(read_golden(name)) == source


def test_a_stored_conversation_loads():
    state = read_golden("conversation")
    options = Options(continue_from={"_conversation_state": state})
    conversation = build_conversation(options, "openai", lambda source, role: UriPart(source))
    assert [turn.role for turn in conversation.turns] == ["user", "assistant", "tool", "user", "assistant"]
    assert conversation.turns[0].parts[0] == UriPart(Source.from_uri("gs://a/b.pdf", mime_type="application/pdf"))
    assert conversation.turns[1].tool_calls == (ToolCall("call_1", "weigh", '{"unit": "t"}'),)
    assert conversation.turns[2].is_error
    assert (conversation.response_id, conversation.provider_state) == ("resp_2", {"id": "resp_2"})
    assert Continuation.from_dict(state).to_dict() == state
