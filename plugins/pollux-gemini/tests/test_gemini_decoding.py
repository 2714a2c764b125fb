import attrs
import pytest

from gemini_api import USAGE, candidate, function_call, response, text, thought
from pollux_gemini.decoding import decode
from pollux_sync.data.findings import AnswerFile, Citation, HostedCall
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import Reply, ToolCall, Usage
from pollux_sync.wire.faults import HttpError, ReplyError
from transcripts import add_unknown_fields, iter_field_removals, remove_unknown_fields


def decode_body(body):
    return decode(HttpResponse(status=200, body=body))


COUNTED = Usage(input_tokens=11, output_tokens=7, total_tokens=18, reasoning_tokens=3, cached_tokens=2)
CITATIONS = {"citationSources": [{"uri": "https://a.example", "startIndex": 0, "endIndex": 4}]}
RATINGS = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": True}]
GROUNDING = {"webSearchQueries": ["x"]}
PAGES = {"urlMetadata": [{"retrievedUrl": "https://a.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"}]}
CODE = {"executableCode": {"language": "PYTHON", "code": "1"}}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thoughtSignature": "c2ln"}


def build_response(reason, *parts, **fields):
    return response(candidates=[candidate(*parts, finishReason=reason, **fields)])


#: What Gemini may answer, and what of the reply differs from an empty one that ended by itself.
TRANSCRIPTS = {
    "normal": (response(text("hel"), text("lo")), {"text": "hello"}),
    "tool": (
        response(function_call("weather", {"city": "Zürich"}, call_id="a1")),
        {"tool_calls": (ToolCall("a1", "weather", '{"city": "Zürich"}'),), "finish_reason": "tool_calls"},
    ),
    "parallel tools without ids": (
        response(text("both"), function_call("a", {"n": 1}, signature="c2ln"), function_call("b")),
        {
            "text": "both",
            "tool_calls": (ToolCall("call_0", "a", '{"n": 1}'), ToolCall("call_1", "b", "{}")),
            "finish_reason": "tool_calls",
        },
    ),
    "reasoning": (
        response(thought("first"), thought("then"), text("x", thoughtSignature="c2ln")),
        {"text": "x", "reasoning": "first\n\nthen"},
    ),
    "blocked": (
        {"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": RATINGS}, "usageMetadata": USAGE},
        {
            "finish_reason": "content_filter",
            "raw_finish_reason": "SAFETY",
            "response_id": None,
            "model": None,
            "artifacts": {"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": RATINGS}},
        },
    ),
    "truncated": (
        build_response("MAX_TOKENS", text("hel")),
        {"text": "hel", "finish_reason": "length", "raw_finish_reason": "MAX_TOKENS"},
    ),
    "truncated before the first word": (
        response(candidates=[{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]),
        {"finish_reason": "length", "raw_finish_reason": "MAX_TOKENS"},
    ),
    "filtered": (
        response(candidates=[{"finishReason": "SAFETY", "safetyRatings": RATINGS, "finishMessage": "no"}]),
        {
            "finish_reason": "content_filter",
            "raw_finish_reason": "SAFETY",
            "artifacts": {"safetyRatings": RATINGS, "finishMessage": "no"},
        },
    ),
    "a call that cannot be read": (
        response(candidates=[{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "print(x"}]),
        {
            "finish_reason": "error",
            "raw_finish_reason": "MALFORMED_FUNCTION_CALL",
            "artifacts": {"finishMessage": "print(x"},
        },
    ),
    "a call that was cut off": (
        build_response("MAX_TOKENS", function_call("a", call_id="a1")),
        {
            "tool_calls": (ToolCall("a1", "a", "{}"),),
            "finish_reason": "length",
            "raw_finish_reason": "MAX_TOKENS",
        },
    ),
    "empty": (response(), {}),
    "extras": (
        build_response(
            "STOP",
            text("x"),
            CODE,
            IMAGE,
            citationMetadata=CITATIONS,
            groundingMetadata=GROUNDING,
            urlContextMetadata=PAGES,
        ),
        {
            "text": "x",
            "artifacts": {
                "citationMetadata": CITATIONS,
                "groundingMetadata": GROUNDING,
                "urlContextMetadata": PAGES,
                "parts": [CODE, IMAGE],
            },
            "usage": attrs.evolve(COUNTED, web_search_requests=1),
            "citations": (Citation(url="https://a.example", start=0, end=1),),
            "hosted_calls": (
                HostedCall(kind="code_execution", name="codeExecution", input="1"),
                HostedCall(kind="web_search", name="googleSearch", input={"queries": ["x"]}),
                HostedCall(kind="web_fetch", name="urlContext", input={"url": "https://a.example"}),
            ),
            "files": (AnswerFile(mime_type="image/png", data="AA=="),),
        },
    ),
    "two candidates": (
        response(candidates=[candidate(text("x")), candidate(text("y"))]),
        {"text": "x", "artifacts": {"candidates": [candidate(text("y"))]}},
    ),
}
PLAIN = Reply(usage=COUNTED, finish_reason="stop", raw_finish_reason="STOP", response_id="r1", model="gemini-2.5-flash")


@pytest.mark.parametrize(("body", "fields"), TRANSCRIPTS.values(), ids=TRANSCRIPTS)
def test_reads_an_answer(body, fields):
    assert attrs.evolve(decode_body(body), provider_state=None) == attrs.evolve(PLAIN, **fields)


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_with_fields_it_does_not_know(body):
    """What is kept to be replayed aside: of a text with something beside it, it is the part itself."""
    reply = remove_unknown_fields(decode_body(add_unknown_fields(body, own=["args"])))
    assert attrs.evolve(reply, provider_state=None) == attrs.evolve(decode_body(body), provider_state=None)


def is_blocked(body):
    return (body.get("promptFeedback") or {}).get("blockReason")


@pytest.mark.parametrize("body", [body for body, _ in TRANSCRIPTS.values()], ids=TRANSCRIPTS)
def test_reads_an_answer_without_any_one_field(body):
    answers = [less for less in iter_field_removals(body) if less.get("candidates") or is_blocked(less)]
    assert all(decode_body(less) for less in answers)


@pytest.mark.parametrize(
    "parts",
    [
        [text("x", thoughtSignature="c2ln")],
        [thought("hm"), text("x")],
        [text("x"), function_call("a"), text("y")],
        [text("x"), text("", thoughtSignature="c2ln")],
        [CODE, text("x")],
    ],
)
def test_keeps_the_parts_that_must_be_replayed(parts):
    assert decode_body(response(*parts)).provider_state == {"gemini_parts": parts}


def test_keeps_no_copy_of_mere_text():
    assert decode_body(response(text("x"), text("y"))).provider_state is None


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("CONTINUATION", "length"),
        ("RECITATION", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("UNEXPECTED_TOOL_CALL", "error"),
        ("MISSING_THOUGHT_SIGNATURE", "error"),
        ("SOMETHING_NEW", None),
        (None, None),
    ],
)
def test_tells_how_the_answer_ended(reason, finish):
    reply = decode_body(build_response(reason, text("x")))
    assert (reply.finish_reason, reply.raw_finish_reason) == (finish, reason)


def test_counts_tokens_of_service_tools_as_input():
    usage = {"promptTokenCount": 5, "toolUsePromptTokenCount": 20, "candidatesTokenCount": 2, "totalTokenCount": 27}
    expected = Usage(input_tokens=25, output_tokens=2, total_tokens=27)
    assert decode_body(response(text("x"), usageMetadata=usage)).usage == expected


@pytest.mark.parametrize("usage", [None, [], {}, {"promptTokenCount": "many"}])
def test_takes_missing_usage_for_unknown(usage):
    assert decode_body(response(text("x"), usageMetadata=usage)).usage == Usage()


@pytest.mark.parametrize("content", [None, [], {"parts": None}, {"parts": ["junk", {"functionCall": {"args": {}}}]}])
def test_tolerates_malformed_content(content):
    reply = decode_body({"candidates": [{"content": content}, "junk"]})
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("", (), None)


def test_raises_an_error_inside_a_200():
    with pytest.raises(HttpError, match="broke"):
        decode_body({"error": {"code": 500, "message": "it broke", "status": "INTERNAL"}})


@pytest.mark.parametrize("body", [[], "x", None, {}, {"candidates": []}, {"candidates": None, "promptFeedback": {}}])
def test_raises_when_there_is_no_answer(body):
    with pytest.raises(ReplyError):
        decode_body(body)


@pytest.mark.parametrize(
    ("sent", "tier"), [("standard", "default"), ("unspecified", "default"), ("FLEX", "flex"), ("priority", "priority")]
)
def test_names_the_tier_that_served(sent, tier):
    reply = decode_body(response(text("x"), usageMetadata=USAGE | {"serviceTier": sent}))
    assert (reply.service_tier, reply.artifacts) == (tier, None)


@pytest.mark.parametrize(
    ("segment", "passage"),
    [
        # Bytes of all texts together: an umlaut has two, and thoughts do not count.
        ({"startIndex": 5, "endIndex": 14}, "über uns"),
        ({"partIndex": 2, "endIndex": 3}, "uns"),
        ({"partIndex": 2, "endIndex": 3, "text": "uns."}, "uns."),
        ({"startIndex": 90, "endIndex": 95, "text": "Tief"}, "Tief"),
    ],
)
def test_finds_the_passage_of_a_citation(segment, passage):
    metadata = {
        "groundingChunks": [{"web": {"uri": "https://a.example"}}],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
    }
    parts = text("Tief über "), thought("hm"), text("uns.")
    reply = decode_body(build_response("STOP", *parts, groundingMetadata=metadata))
    (citation,) = reply.citations
    assert reply.text[citation.start : citation.end] == passage


@pytest.mark.parametrize("segment", [{"endIndex": 4, "text": "Hoch"}, {"partIndex": 7, "endIndex": 4, "text": "Hoch"}])
def test_names_no_passage_that_the_answer_does_not_have(segment):
    metadata = {"groundingChunks": [{}], "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}]}
    (citation,) = decode_body(build_response("STOP", text("Tief"), groundingMetadata=metadata)).citations
    assert (citation.start, citation.end) == (None, None)


def test_counts_repeated_passages_over_all_texts():
    metadata = {"citationSources": [{"uri": "https://a.example", "startIndex": 5, "endIndex": 14}]}
    reply = decode_body(build_response("STOP", text("Tief "), text("über uns"), citationMetadata=metadata))
    assert reply.citations == (Citation(url="https://a.example", start=5, end=13),)
