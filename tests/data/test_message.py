import json
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pollux_sync import (
    ConfigurationError,
    Message,
    Options,
    Source,
    SourceError,
    ToolCall,
    messages_from_openai,
    messages_to_openai,
)

PNG = "data:image/png;base64,iVBORw=="
CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text("abc_0", min_size=1, max_size=8)
text_parts = st.builds(lambda text: {"type": "text", "text": text}, texts)
addresses = st.one_of(
    st.builds(lambda name: f"https://example.org/{name}", names),
    st.builds(lambda name: f"https://example.org/{name}.webp?size=1", names),
    st.builds(
        lambda kind, content: f"data:image/{kind};base64,{b64encode(content).decode()}",
        st.sampled_from(["png", "jpeg", "svg+xml"]),
        st.binary(min_size=1, max_size=40),
    ),
)
image_parts = st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, addresses)
text_contents = st.one_of(texts, st.lists(text_parts, min_size=1, max_size=3))
user_contents = st.one_of(text_contents, st.lists(st.one_of(text_parts, image_parts), min_size=1, max_size=4))
calls = st.lists(
    st.builds(
        lambda call_id, name, arguments: {
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        },
        names,
        names,
        texts,
    ),
    min_size=1,
    max_size=3,
)
messages = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer"]), "content": text_contents}),
    st.fixed_dictionaries({"role": st.just("user"), "content": user_contents}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": text_contents}, optional={"tool_calls": calls, "refusal": names}
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.none(), "tool_calls": calls}, optional={"refusal": names}
    ),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none(), "refusal": names}),
    st.fixed_dictionaries(
        {"role": st.just("tool"), "content": text_contents, "tool_call_id": names}, optional={"name": names}
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(messages, max_size=4))
def test_a_transcript_comes_back_as_it_was(transcript):
    loaded = messages_from_openai(transcript)
    assert messages_to_openai(loaded) == transcript
    assert messages_from_openai(json.loads(json.dumps(messages_to_openai(loaded)))) == loaded


@settings(max_examples=100, deadline=None)
@given(messages)
def test_every_message_can_be_part_of_a_history(data):
    turn = Message.from_openai(data).to_turn()
    assert Options(history=[turn]).history == [turn]
    images = [part for part in data["content"] or () if isinstance(part, dict) and "image_url" in part]
    stored = [Source.from_dict(item) for item in turn.get("sources", ())]
    assert len([source for source in stored if source.mime_type.startswith("image/")]) == len(images)


def test_a_message_that_a_client_library_dumped_is_read_without_its_nulls():
    dumped = {"role": "assistant", "content": "hi", "refusal": None, "annotations": [], "audio": None}
    dumped |= {"function_call": None, "tool_calls": None}
    assert Message.from_openai(dumped) == Message("assistant", "hi")


def test_content_may_be_absent_where_it_may_be_null():
    read = Message.from_openai({"role": "assistant", "tool_calls": [CALL]})
    assert read == Message("assistant", tool_calls=[ToolCall("c", "weather", "{}")])
    assert read.to_openai() == {"role": "assistant", "content": None, "tool_calls": [CALL]}


def test_a_call_without_a_type_is_one_of_a_function():
    call = {key: value for key, value in CALL.items() if key != "type"}
    assert Message.from_openai({"role": "assistant", "tool_calls": [call]}).tool_calls[0].name == "weather"


@pytest.mark.parametrize(
    ("url", "mime"),
    [
        ("https://example.org/a.png", "image/png"),
        ("https://example.org/show?id=3", "image/jpeg"),
        ("gs://bucket/a.webp", "image/webp"),
        (PNG, "image/png"),
    ],
)
def test_an_image_becomes_a_source(url, mime):
    message = Message.from_openai({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]})
    (source,) = message.content
    assert source.mime_type == mime


def test_an_image_inside_is_its_bytes():
    message = Message.from_openai({"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]})
    (source,) = message.content
    assert (source.content_loader(), source.size_bytes) == (b"\x89PNG", 4)


def test_no_detail_means_auto():
    image = {"url": "https://example.org/a.png", "detail": "auto"}
    (source,) = Message.from_openai({"role": "user", "content": [{"type": "image_url", "image_url": image}]}).content
    assert source.identifier == image["url"]


def test_accepts_an_image_file_in_a_transcript(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    message = Message("user", [Source.from_file(tmp_path / "a.png")])
    assert message.to_openai()["content"] == [{"type": "image_url", "image_url": {"url": PNG}}]


@pytest.mark.parametrize("write", [Message.to_openai, Message.to_turn])
def test_a_missing_image_file_is_a_source_error(tmp_path, write):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    message = Message("user", [Source.from_file(tmp_path / "a.png")])
    (tmp_path / "a.png").unlink()
    with pytest.raises(SourceError, match=r"cannot read .*a\.png"):
        write(message)


@pytest.mark.parametrize(
    "source", [Source.from_text("a"), Source.from_uri("https://example.org/a.pdf"), Source.from_arxiv("1706.03762")]
)
def test_a_transcript_holds_no_other_source(source):
    with pytest.raises(ConfigurationError, match="a transcript cannot hold"):
        Message("user", [source]).to_openai()


def test_text_and_images_keep_their_order_in_a_turn():
    picture = Source.from_uri("https://example.org/a.png")
    turn = Message("user", ["Before:", picture, "after."]).to_turn()
    assert turn["content"] == "after."
    assert [Source.from_dict(item) for item in turn["sources"]] == [Source.from_text("Before:"), picture]


def test_an_image_at_the_end_leaves_no_text_behind_it():
    turn = Message("user", ["Before:", Source.from_uri("https://example.org/a.png")]).to_turn()
    assert (turn["content"], len(turn["sources"])) == ("", 2)


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        (Message("developer", "Be brief."), {"role": "system", "content": "Be brief."}),
        (Message("user", ["a", "b"]), {"role": "user", "content": "a\n\nb"}),
        (Message("assistant", refusal="No."), {"role": "assistant", "content": "No."}),
        (Message("assistant", "Well.", refusal="No."), {"role": "assistant", "content": "Well.\n\nNo."}),
        (
            Message("assistant", tool_calls=[ToolCall("c", "weather", "{}")]),
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c", "name": "weather", "arguments": "{}"}],
            },
        ),
        (
            Message("tool", "sunny", tool_call_id="c", name="weather"),
            {"role": "tool", "content": "sunny", "tool_call_id": "c"},
        ),
    ],
)
def test_a_message_is_a_turn(message, turn):
    assert message.to_turn() == turn


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"role": "model", "content": "a"}, "role 'model' is not known"),
        ({"role": None, "content": "a"}, "role None is not known"),
        ({"role": "user"}, "a message of the user has no content"),
        ({"role": "assistant"}, "a message of the assistant has no content"),
        ({"role": "user", "content": []}, "content is an empty list"),
        ({"role": "user", "content": 3}, "content must be a list, got int"),
        ({"role": "user", "content": ["a", 3]}, r"content\[1\] must be str or Source, got int"),
        ({"role": "tool", "content": "a"}, "tool_call_id must be a string"),
        ({"role": "user", "content": "a", "tool_call_id": "c"}, "tool_call_id is for messages of the tool"),
        ({"role": "user", "content": "a", "name": "Ada"}, "name is for messages of the tool, not of the user"),
        ({"role": "user", "content": "a", "refusal": "no"}, "refusal is for messages of the assistant"),
        ({"role": "assistant", "refusal": " "}, "refusal must not be empty"),
        ({"role": "tool", "content": "a", "tool_call_id": "c", "name": 3}, "name must be a string"),
        ({"role": "user", "content": "a", "tool_calls": [ToolCall("c", "w", "{}")]}, "tool_calls is for messages"),
        ({"role": "assistant", "tool_calls": [CALL]}, r"tool_calls\[0\] must be ToolCall, got dict"),
        ({"role": "assistant", "content": [Source.from_text("a")]}, "the assistant holds a source"),
    ],
)
def test_refuses_invalid_messages(arguments, problem):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        Message(**arguments)
    assert caught.value.hint


def user(part):
    return {"role": "user", "content": [part]}


def build_call(**changes):
    return {"role": "assistant", "content": None, "tool_calls": [CALL | changes]}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("hi", r"messages\[0\] must be a dict"),
        ({"content": "hi"}, r"messages\[0\]: role None is not known"),
        ({"role": "function", "name": "f", "content": "x"}, r"messages\[0\]: role 'function'"),
        ({"role": "assistant", "content": None, "function_call": {"name": "f"}}, "holds function_call"),
        ({"role": "assistant", "content": None, "audio": {"id": "a"}}, "holds audio, which cannot be kept"),
        (user("a"), r"messages\[0\]\['content'\]\[0\] must be a dict"),
        (user({"type": "file", "file": {"file_id": "f"}}), "is of type 'file', which cannot be read"),
        (user({"type": "text", "text": 3}), r"\['text'\] must be a string, got int"),
        (user({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}), "holds cache_control"),
        (user({"type": "image_url"}), r"\['image_url'\] must be a dict"),
        (user({"type": "image_url", "image_url": {"url": None}}), r"\['url'\] must be a string"),
        (user({"type": "image_url", "image_url": {"url": "a.png"}}), "image_url'].*: not a URI: 'a.png'"),
        (user({"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}), "asks for a detail"),
        (user({"type": "image_url", "image_url": {"url": "data:image/png,a"}}), "not an image in base64"),
        (user({"type": "image_url", "image_url": {"url": "data:image/png;base64,a"}}), "not an image in base64"),
        (user({"type": "image_url", "image_url": {"url": "data:text/plain;base64,YQ=="}}), "not an image in base64"),
        ({"role": "assistant", "content": None, "tool_calls": ["x"]}, r"\['tool_calls'\]\[0\] must be a dict"),
        ({"role": "assistant", "content": None, "tool_calls": 3}, "tool_calls must be a list"),
        (build_call(type="custom"), "is of type 'custom'"),
        (build_call(id=None), r"\['id'\] must be a string"),
        (build_call(function=None), r"\['function'\] must be a dict"),
        (
            build_call(function={"name": "f", "arguments": {"a": 1}}),
            r"\['arguments'\] must be a string, got dict",
        ),
    ],
)
def test_refuses_content_that_a_transcript_cannot_keep(data, problem):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        messages_from_openai([data])
    assert caught.value.hint


@pytest.mark.parametrize("transcript", ["hi", {"role": "user", "content": "a"}, 3])
def test_refuses_values_that_are_not_transcripts(transcript):
    with pytest.raises(ConfigurationError, match="a transcript must be a list of dicts"):
        messages_from_openai(transcript)
