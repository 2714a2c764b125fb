"""Context caches over both ways to the wire, against a server that keeps them."""

import itertools
import time
from datetime import UTC, datetime

import pytest

from gemini_api import Files, answer, error, text
from pollux_gemini import url_context
from pollux_sync import (
    CacheError,
    ConfigurationError,
    Options,
    Source,
    create_cache,
    delete_cache,
    extend_cache,
    list_caches,
    run,
    run_many,
)
from pollux_sync.testing.server import Answer

TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {}}}


class Keeping(Files):
    """Files, caches, and answers that read them."""

    def __init__(self):
        super().__init__()
        self.caches = {}
        self.numbers = itertools.count(1)

    def __call__(self, request):
        path = request.path.partition("?")[0]
        if "/cachedContents" in path:
            return self.serve_cache(request, path)
        if path.endswith(":generateContent") and request.json().get("cachedContent") not in {None, *self.caches}:
            return build_cache_error()
        return super().__call__(request)

    def serve_cache(self, request, path):
        name = path.removeprefix("/v1beta/")
        if request.method == "POST":
            name = f"cachedContents/{next(self.numbers)}"
            self.caches[name] = request.json()
        elif request.method == "GET":
            names = sorted(self.caches)
            first = int(request.path.rpartition("pageToken=")[2]) if "pageToken" in request.path else 0
            page = {"cachedContents": [self.describe_cache(name) for name in names[first : first + 2]]}
            more = {"nextPageToken": str(first + 2)} if first + 2 < len(names) else {}
            return Answer(json=page | more)
        elif name not in self.caches:
            return build_cache_error()
        elif request.method == "PATCH":
            self.caches[name] |= request.json()
        else:
            del self.caches[name]
            return Answer(json={})
        return Answer(json=self.describe_cache(name))

    def describe_cache(self, name):
        cache = self.caches[name]
        ends = datetime.fromtimestamp(time.time() + float(cache["ttl"][:-1]), UTC).isoformat().replace("+00:00", "Z")
        return {
            "name": name,
            "model": cache["model"],
            "expireTime": ends,
            "usageMetadata": {"totalTokenCount": 4100},
            "displayName": cache.get("displayName", ""),
        }


def build_cache_error():
    return error(403, "CachedContent not found (or permission denied)", status="PERMISSION_DENIED")


@pytest.fixture
def keeping(server):
    server.handler = Keeping()
    return server.handler


def test_caches_the_content_that_a_call_would_send(config, keeping, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    sources = [Source.from_text("note"), Source.from_file(tmp_path / "a.pdf")]
    storing = config(uploads="always")
    handle = create_cache(sources, config=storing, system_instruction="be brief", tools=[TOOL], ttl_seconds=1_000_000)
    assert keeping.caches["cachedContents/1"] == {
        "model": "models/gemini-2.5-flash",
        "ttl": "1000000s",
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "note"},
                    {"fileData": {"fileUri": "https://files.example/files/1", "mimeType": "application/pdf"}},
                ],
            }
        ],
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": TOOL["parameters"]}]}],
    }
    assert (handle.name, handle.model, handle.n_tokens) == ("cachedContents/1", "gemini-2.5-flash", 4100)
    assert handle.expires_at == pytest.approx(time.time() + 1_000_000, abs=60)
    assert keeping.deleted == ["files/1"]


def test_keeps_a_label_as_the_display_name(config, keeping):
    handle = create_cache([Source.from_text("manual")], config=config(), label="handbook, 3rd edition")
    assert keeping.caches[handle.name]["displayName"] == "handbook, 3rd edition"
    assert handle.label == "handbook, 3rd edition"


def test_reads_the_labels_of_listed_caches(config, keeping):
    for label in ("a", None, "b"):
        create_cache([Source.from_text("manual")], config=config(), label=label)
    assert [handle.label for handle in list_caches(config=config())] == ["a", None, "b"]


def test_extending_a_cache_leaves_its_label(config, keeping, server):
    handle = create_cache([Source.from_text("manual")], config=config(), label="handbook")
    assert extend_cache(handle, 7200, config=config()).label == "handbook"
    assert server.requests[-1].json() == {"ttl": "7200s"}


@pytest.mark.parametrize("name", ["", None, 5, ["x"]])
def test_a_display_name_that_is_no_text_is_no_label(config, server, name):
    cache = {"name": "cachedContents/1", "model": "models/m", "expireTime": "2090-01-01T00:00:00Z"}
    server.reply(Answer(json={"cachedContents": [cache | {"displayName": name}]}))
    assert [handle.label for handle in list_caches(config=config())] == [None]


def test_takes_labels_up_to_the_limit_of_the_service(config, keeping, server):
    assert create_cache([Source.from_text("manual")], config=config(), label="鯨" * 128).label == "鯨" * 128
    sent = len(server.requests)
    with pytest.raises(ConfigurationError, match="at most 128 characters"):
        create_cache([Source.from_text("manual")], config=config(), label="鯨" * 129)
    assert len(server.requests) == sent


def test_puts_a_small_file_into_the_cache_itself(config, keeping, server, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    create_cache([Source.from_file(tmp_path / "a.pdf")], config=config())
    assert keeping.caches["cachedContents/1"]["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjc="}}
    ]
    assert len(server.requests) == 1


def test_asks_with_the_prompt_alone(config, keeping, server):
    handle = create_cache([Source.from_text("manual")], config=config())
    result = run_many(["a", "b"], config=config(request_concurrency=1), options=Options(cache=handle))
    asked = [request.json() for request in server.requests if request.path.endswith(":generateContent")]
    assert [body["cachedContent"] for body in asked] == [handle.name] * 2
    assert asked[0]["contents"] == [{"role": "user", "parts": [{"text": "a"}]}]
    assert result["metrics"]["cache_hit"] is True


def test_extends_lists_and_deletes(config, keeping):
    handles = [
        create_cache([Source.from_text("manual")], config=config(), system_instruction=f"number {number}")
        for number in range(3)
    ]
    longer = extend_cache(handles[0], 7200, config=config())
    assert keeping.caches[longer.name]["ttl"] == "7200s"
    assert longer.expires_at > handles[0].expires_at + 3000
    assert [handle.name for handle in list_caches(config=config())] == [handle.name for handle in handles]
    for handle in handles:
        delete_cache(handle, config=config())
        delete_cache(handle, config=config())
    assert keeping.caches == {}


def test_distinguishes_a_lost_cache_from_a_bad_key(config, keeping):
    handle = create_cache([Source.from_text("manual")], config=config())
    keeping.caches.clear()
    with pytest.raises(CacheError, match="CachedContent not found") as caught:
        run_many(["a", "b"], config=config(), options=Options(cache=handle))
    assert (caught.value.kind, caught.value.status_code, caught.value.retryable) == ("cache_missing", 403, False)
    assert "create_cache" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "Not found: cached content metadata for 8450321187654893568."),
        (400, "Cache content 3786210001234 is expired."),
        (404, "CachedContent projects/1/locations/x/cachedContents/2 was not found."),
    ],
)
def test_knows_the_words_of_vertex_for_a_lost_cache(config, keeping, server, status, message):
    handle = create_cache([Source.from_text("manual")], config=config())
    server.reply(error(status, message))
    with pytest.raises(CacheError) as caught:
        run("a", config=config(), options=Options(cache=handle))
    assert (caught.value.kind, caught.value.status_code) == ("cache_missing", status)


@pytest.mark.parametrize("told", [[], "x", {"cachedContents": 5}, {"cachedContents": True}, {"html": "login"}])
def test_an_answer_that_is_no_list_does_not_say_that_there_are_no_caches(config, server, told):
    server.reply(Answer(json=told))
    with pytest.raises(CacheError, match="no list 'cachedContents'"):
        list_caches(config=config())


@pytest.mark.parametrize("name", [5, None, "", "/", ["x"]])
def test_a_cache_whose_name_cannot_delete_it_is_malformed(config, server, name):
    server.reply(Answer(json={"name": name, "model": "models/m", "expireTime": "2030-01-01T00:00:00Z"}))
    with pytest.raises(CacheError, match=r"describes no cache: .*name is"):
        create_cache([Source.from_text("manual")], config=config())


@pytest.mark.parametrize("told", [{}, {"name": "x"}, {"name": "x", "model": "models/m", "expireTime": "soon"}])
def test_an_answer_without_a_cache_is_malformed(config, server, told):
    server.reply(Answer(json=told))
    with pytest.raises(CacheError, match="describes no cache") as caught:
        create_cache([Source.from_text(str(told))], config=config())
    assert (caught.value.kind, caught.value.phase) == ("malformed", "cache")


def test_does_not_retry_a_refusal(config, server):
    server.reply(error(400, "Cached content is too small"), answer(text("never")))
    with pytest.raises(CacheError, match="too small"):
        create_cache([Source.from_text("tiny")], config=config())
    assert len(server.requests) == 1


def test_a_page_that_the_service_reads_itself_is_refused(config, server):
    with pytest.raises(ConfigurationError, match="cannot be cached"):
        create_cache([url_context("https://a.example")], config=config())
    assert server.requests == []
