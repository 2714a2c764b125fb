import copy
import hashlib
import json
import os
import pickle
import tracemalloc

import pytest

from pollux_sync import Source, SourceError
from pollux_sync.data.source import BytesLoader

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
VIDEO = Source.from_youtube("https://www.youtube.com/watch?v=dQw4w9WgXcQ")

EVERY_KIND = [
    Source.from_text("Call me Ishmael."),
    Source.from_json({"year": 1851}),
    Source.from_file(__file__),
    VIDEO.with_gemini_video_settings(fps=2),
    Source.from_uri("gs://bucket/whale.pdf", mime_type="application/pdf"),
    Source.from_arxiv("1706.03762"),
]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# from_text


def test_text_is_loaded_as_utf8():
    assert Source.from_text("Straße").content_loader() == "Straße".encode()


def test_text_counts_bytes_and_not_characters():
    assert Source.from_text("ß").size_bytes == 2


def test_text_is_plain_text():
    source = Source.from_text("hello")
    assert (source.source_type, source.mime_type) == ("text", "text/plain")


def test_text_is_called_after_its_first_fifty_characters():
    assert Source.from_text("x" * 60).identifier == "x" * 50


def test_text_takes_a_given_identifier():
    assert Source.from_text("hello", identifier="greeting").identifier == "greeting"


def test_text_keeps_an_empty_identifier_that_was_given():
    assert Source.from_text("hello", identifier="").identifier == ""


def test_text_may_be_empty():
    assert Source.from_text("").size_bytes == 0


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["text"]])
def test_text_refuses_what_is_not_a_string(wrong):
    with pytest.raises(SourceError, match="text must be a string, got ") as caught:
        Source.from_text(wrong)
    assert caught.value.hint == "use Source.from_json for other data"


def test_text_refuses_a_lone_surrogate_and_says_where():
    with pytest.raises(SourceError, match="lone surrogate at position 3") as caught:
        Source.from_text("abc\ud800")
    assert "errors='replace'" in caught.value.hint


@pytest.mark.parametrize("build", [Source.from_text, Source.from_json])
def test_identifier_must_be_a_string(build):
    with pytest.raises(SourceError, match="identifier"):
        build("text", identifier=3)


# from_json


def test_json_is_loaded_as_json_text():
    source = Source.from_json({"name": "Ahab", "legs": 1})
    assert json.loads(source.content_loader()) == {"name": "Ahab", "legs": 1}


def test_json_is_called_json_data():
    assert Source.from_json([1]).identifier == "json-data"


def test_json_takes_a_given_identifier():
    assert Source.from_json([1], identifier="crew").identifier == "crew"


def test_json_has_the_json_type_and_its_size():
    source = Source.from_json([1, 2])
    assert (source.source_type, source.mime_type, source.size_bytes) == ("json", "application/json", 6)


def test_json_keeps_letters_readable():
    assert Source.from_json("Straße").content_loader() == '"Straße"'.encode()


def test_json_dumps_an_object_with_model_dump_first():
    class Whale:
        def model_dump(self):
            return {"colour": "white"}

    assert Source.from_json(Whale()).content_loader() == b'{"colour": "white"}'


@pytest.mark.parametrize("wrong", [object(), {1, 2}, b"bytes", float("nan"), {"depth": float("inf")}])
def test_json_refuses_what_json_cannot_say(wrong):
    with pytest.raises(SourceError, match="cannot be written as JSON") as caught:
        Source.from_json(wrong)
    assert caught.value.hint == "pass dicts, lists, strings and numbers only"


def test_json_chains_why_it_cannot_be_written():
    with pytest.raises(SourceError) as caught:
        Source.from_json(object())
    assert isinstance(caught.value.__cause__, TypeError)


def test_json_refuses_data_that_holds_itself():
    loop = []
    loop.append(loop)
    with pytest.raises(SourceError, match="Circular reference"):
        Source.from_json(loop)


# from_file


def test_file_is_named_by_its_path(tmp_path):
    path = tmp_path / "notes.md"
    path.write_text("# Whales")
    source = Source.from_file(path)
    assert (source.source_type, source.identifier) == ("file", str(path))


def test_file_has_the_size_on_disk(tmp_path):
    path = tmp_path / "notes.md"
    path.write_bytes(b"12345")
    assert Source.from_file(path).size_bytes == 5


def test_file_is_found_by_a_path_that_is_text(tmp_path):
    path = tmp_path / "notes.txt"
    path.touch()
    assert Source.from_file(str(path)).path == path


def test_file_is_read_when_it_is_loaded_and_not_before(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("first")
    source = Source.from_file(path)
    path.write_text("second")
    assert source.content_loader() == b"second"


def test_file_type_is_guessed_by_its_name(tmp_path):
    path = tmp_path / "paper.PDF"
    path.write_bytes(b"as if it were one")
    assert Source.from_file(path).mime_type == "application/pdf"


@pytest.mark.parametrize("name", ["scan", "scan.jpg"])
def test_file_type_is_told_by_its_first_bytes_whatever_the_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(PNG)
    assert Source.from_file(path).mime_type == "image/png"


def test_type_that_is_not_registered_becomes_the_one_that_is():
    assert Source.from_uri("https://a.example/1", mime_type="image/jpg").mime_type == "image/jpeg"


def test_file_type_that_nothing_tells_is_octet_stream(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(b"\x00\x01")
    assert Source.from_file(path).mime_type == "application/octet-stream"


def test_file_type_as_given_wins(tmp_path):
    path = tmp_path / "paper.pdf"
    path.touch()
    assert Source.from_file(path, mime_type="text/plain").mime_type == "text/plain"


def test_file_that_is_missing_is_refused_with_its_path(tmp_path):
    with pytest.raises(SourceError, match=r"file not found: .*absent\.pdf") as caught:
        Source.from_file(tmp_path / "absent.pdf")
    assert "relative to the working directory" in caught.value.hint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_file_that_became_a_named_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF")
    source = Source.from_file(path)
    pinned = source.pin(sha256=sha256(b"%PDF"), size_bytes=4)
    path.unlink()
    os.mkfifo(path)
    for read in (source.open, source.content_loader, source.content_sha256, pinned.open):
        with pytest.raises(OSError, match="not a regular file"):
            read()
    with pytest.raises(SourceError, match="not a regular file"):
        next(source.iter_chunks())


def test_directory_is_not_a_file(tmp_path):
    with pytest.raises(SourceError, match="not a file") as caught:
        Source.from_file(tmp_path)
    assert "each file of a directory" in caught.value.hint


@pytest.mark.parametrize("name", ["with\0null", "x" * 5000])
def test_file_name_that_no_system_takes_is_a_source_error(name):
    with pytest.raises(SourceError):
        Source.from_file(name)


@pytest.mark.parametrize("wrong", [None, 3])
def test_file_refuses_what_is_not_a_path(wrong):
    with pytest.raises(SourceError, match="path"):
        Source.from_file(wrong)


def test_only_files_have_a_path():
    assert Source.from_text("hello").path is None


# from_youtube


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://youtube.com/watch?v=dQw4w9WgXcQ",
        "http://m.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://music.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://youtu.be/dQw4w9WgXcQ?t=42",
        "HTTPS://YOUTU.BE/dQw4w9WgXcQ",
        "https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ",
    ],
)
def test_youtube_keeps_the_url(url):
    assert Source.from_youtube(url).identifier == url


def test_youtube_is_a_video_of_no_size_here():
    assert (VIDEO.source_type, VIDEO.mime_type, VIDEO.size_bytes) == ("youtube", "video/mp4", 0)


def test_youtube_loads_what_identifies_it():
    assert Source.from_youtube("https://youtu.be/x").content_loader() == b"youtube:https://youtu.be/x"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://vimeo.com/1",
        "https://youtube.com.evil.example/watch?v=1",
        "https://notyoutube.com/watch?v=1",
        "https://evil.example/?u=youtube.com",
        "https://youtube.com@evil.example/",
        "ftp://youtube.com/watch?v=1",
        "https://[youtube.com/",
        None,
        3,
    ],
)
def test_youtube_refuses_other_addresses(url):
    with pytest.raises(SourceError, match="not a YouTube URL") as caught:
        Source.from_youtube(url)
    assert "youtube.com/watch" in caught.value.hint


def test_youtube_drops_space_around_the_url():
    assert Source.from_youtube(" https://youtu.be/x\n").identifier == "https://youtu.be/x"


# from_uri


def test_uri_is_kept_with_its_type():
    source = Source.from_uri("gs://bucket/whale.pdf", mime_type="application/pdf")
    assert (source.source_type, source.identifier, source.mime_type) == (
        "uri",
        "gs://bucket/whale.pdf",
        "application/pdf",
    )


def test_uri_without_a_type_is_octet_stream():
    assert Source.from_uri("https://example.org/x").mime_type == "application/octet-stream"


def test_uri_loads_what_identifies_it_and_its_type():
    source = Source.from_uri("https://example.org/x", mime_type="text/html")
    assert source.content_loader() == b"uri:text/html:https://example.org/x"


@pytest.mark.parametrize(
    "uri", ["", "whale.pdf", "/home/ahab/whale.pdf", "C:\\whales\\white.pdf", "https://[", None, 3]
)
def test_uri_refuses_what_has_no_scheme(uri):
    with pytest.raises(SourceError, match="not a URI") as caught:
        Source.from_uri(uri)
    assert "Source.from_file" in caught.value.hint


# from_arxiv


@pytest.mark.parametrize(
    ("ref", "paper"),
    [
        ("1706.03762", "1706.03762"),
        ("0704.0001", "0704.0001"),
        ("1706.03762v5", "1706.03762v5"),
        ("  1706.03762v5\n", "1706.03762v5"),
        ("1706.03762.pdf", "1706.03762"),
        ("1706.03762.PDF", "1706.03762"),
        ("1706.03762/", "1706.03762"),
        ("1706.03762.pdf/", "1706.03762"),
        ("hep-th/9901001", "hep-th/9901001"),
        ("math.GT/0309136v1", "math.GT/0309136v1"),
        ("HEP-TH/9901001V2", "HEP-TH/9901001V2"),
        ("https://arxiv.org/abs/1706.03762", "1706.03762"),
        ("https://arxiv.org/pdf/1706.03762v5.pdf", "1706.03762v5"),
        ("http://www.arxiv.org/abs/hep-th/9901001/", "hep-th/9901001"),
        ("https://ARXIV.org/abs/1706.03762?context=cs#refs", "1706.03762"),
    ],
)
def test_arxiv_ref_becomes_the_address_of_its_pdf(ref, paper):
    assert Source.from_arxiv(ref).identifier == f"https://arxiv.org/pdf/{paper}.pdf"


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "   ",
        "170.03762",
        "1706.037",
        "1706.037620",
        "1706.03762v",
        "1706.03762v5v6",
        "\uff11\uff17\uff10\uff16.03762",
        "hep-th/990100",
        "math.GEO/0309136",
        "attention is all you need",
        "https://arxiv.org/list/cs.CL",
        "https://arxiv.org/abs/",
        "https://arxiv.org/1706.03762",
        "https://export.arxiv.org/abs/1706.03762",
        "https://arxiv.org.evil.example/abs/1706.03762",
        "https://evil.example/abs/1706.03762",
        "https://[arxiv.org/abs/1706.03762",
    ],
)
def test_arxiv_refuses_what_names_no_paper(ref):
    with pytest.raises(SourceError, match="not an arXiv ") as caught:
        Source.from_arxiv(ref)
    assert "1706.03762" in caught.value.hint


def test_arxiv_refuses_what_is_not_a_string_with_a_type_error():
    with pytest.raises(TypeError, match="ref must be a string, got int"):
        Source.from_arxiv(1706)


def test_arxiv_is_a_pdf_of_no_size_here():
    source = Source.from_arxiv("1706.03762")
    assert (source.source_type, source.mime_type, source.size_bytes) == ("arxiv", "application/pdf", 0)


def test_arxiv_loads_its_address():
    source = Source.from_arxiv("1706.03762")
    assert source.content_loader() == b"https://arxiv.org/pdf/1706.03762.pdf"


# video settings


def test_video_settings_are_for_gemini():
    clip = VIDEO.with_gemini_video_settings(start_offset="10s", end_offset="90s", fps=2)
    assert clip.gemini_video_settings_for("gemini") == {"start_offset": "10s", "end_offset": "90s", "fps": 2.0}


@pytest.mark.parametrize("provider", ["openai", "Gemini", "", None])
def test_video_settings_are_no_business_of_others(provider):
    assert VIDEO.with_gemini_video_settings(fps=1).gemini_video_settings_for(provider) is None


@pytest.mark.parametrize("provider", ["openai", None])
def test_provider_hints_are_none_for_others(provider):
    assert VIDEO.with_gemini_video_settings(fps=1).provider_hints_for(provider) is None


def test_video_settings_are_none_by_default():
    assert VIDEO.gemini_video_settings_for("gemini") is None


def test_provider_hints_are_listed_by_their_names():
    hints = VIDEO.with_gemini_video_settings(fps=1).provider_hints_for("gemini")
    assert hints == {"video_metadata": {"fps": 1.0}}


def test_video_settings_leave_the_source_as_it_was():
    VIDEO.with_gemini_video_settings(fps=1)
    assert VIDEO.provider_hints == ()


def test_video_settings_replace_earlier_ones():
    clip = VIDEO.with_gemini_video_settings(start_offset="10s").with_gemini_video_settings(fps=1)
    assert clip.gemini_video_settings_for("gemini") == {"fps": 1.0}


def test_video_settings_fit_any_source_of_a_video_type():
    source = Source.from_uri("gs://bucket/whale.webm", mime_type="video/webm")
    assert source.with_gemini_video_settings(fps=1).provider_hints


def test_video_settings_keep_fps_as_a_float():
    fps = VIDEO.with_gemini_video_settings(fps=24).gemini_video_settings_for("gemini")["fps"]
    assert isinstance(fps, float)


def test_video_settings_need_a_video():
    with pytest.raises(SourceError, match="video settings need a video, 'hello' is text/plain") as caught:
        Source.from_text("hello").with_gemini_video_settings(fps=1)
    assert "YouTube" in caught.value.hint


def test_video_settings_need_a_value():
    with pytest.raises(SourceError, match="no video setting given") as caught:
        VIDEO.with_gemini_video_settings()
    assert caught.value.hint == "pass start_offset, end_offset or fps"


@pytest.mark.parametrize("name", ["start_offset", "end_offset"])
@pytest.mark.parametrize("wrong", ["", " ", 3, True])
def test_video_offset_must_be_a_non_blank_string(name, wrong):
    with pytest.raises(SourceError, match=f"{name} must be a non-blank string"):
        VIDEO.with_gemini_video_settings(**{name: wrong})


@pytest.mark.parametrize("wrong", [0, -1, 24.1, True, "1", float("nan"), float("inf")])
def test_video_fps_must_be_a_number_up_to_24(wrong):
    with pytest.raises(SourceError, match="fps must be a number above 0 and at most 24"):
        VIDEO.with_gemini_video_settings(fps=wrong)


def test_video_settings_that_were_handed_out_are_detached():
    clip = VIDEO.with_gemini_video_settings(fps=1)
    clip.gemini_video_settings_for("gemini")["fps"] = 24
    clip.provider_hints_for("gemini")["video_metadata"]["fps"] = 24
    assert clip.gemini_video_settings_for("gemini") == {"fps": 1.0}


# identity


def test_content_hash_is_the_sha256_of_the_content():
    assert Source.from_text("hello").content_sha256() == sha256(b"hello")


def test_identity_is_the_content_hash():
    assert Source.from_text("hello").cache_identity_hash() == sha256(b"hello")


def test_identity_does_not_depend_on_the_name():
    first, second = (Source.from_text("hello", identifier=name) for name in "ab")
    assert first.cache_identity_hash() == second.cache_identity_hash()


def test_identity_of_a_file_is_that_of_equal_text(tmp_path):
    path = tmp_path / "hello.txt"
    path.write_text("hello")
    assert Source.from_file(path).cache_identity_hash() == Source.from_text("hello").cache_identity_hash()


def test_identity_of_a_uri_changes_with_its_type():
    first, second = (Source.from_uri("https://example.org/x", mime_type=mime) for mime in ("a/b", "c/d"))
    assert first.cache_identity_hash() != second.cache_identity_hash()


def test_identity_takes_in_the_hints_of_the_provider_that_asks():
    clip = VIDEO.with_gemini_video_settings(end_offset="9s", fps=1)
    content = f"{VIDEO.content_sha256()}|" + '{"video_metadata":{"end_offset":"9s","fps":1.0}}'
    assert clip.cache_identity_hash(provider="gemini") == sha256(content.encode())


@pytest.mark.parametrize("provider", ["openai", None])
def test_identity_leaves_out_the_hints_of_other_providers(provider):
    clip = VIDEO.with_gemini_video_settings(fps=1)
    assert clip.cache_identity_hash(provider=provider) == VIDEO.cache_identity_hash()


def test_identity_of_a_large_file_is_found_without_holding_it_in_memory(tmp_path):
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    source = Source.from_file(path)
    tracemalloc.start()
    source.cache_identity_hash()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2_000_000


def test_large_file_becomes_a_source_without_being_read(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    tracemalloc.start()
    Source.from_file(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2_000_000


def test_identity_of_a_file_that_vanished_raises_os_error(tmp_path):
    path = tmp_path / "gone.txt"
    path.touch()
    source = Source.from_file(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        source.cache_identity_hash()


@pytest.mark.parametrize("source", EVERY_KIND, ids=lambda source: source.source_type)
def test_open_returns_the_content_of_the_loader(source):
    with source.open() as stream:
        assert stream.read() == source.content_loader()


# as a value


@pytest.mark.parametrize("source", EVERY_KIND, ids=lambda source: source.source_type)
def test_source_survives_pickling(source):
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301 - our own bytes


@pytest.mark.parametrize("source", EVERY_KIND, ids=lambda source: source.source_type)
def test_source_survives_copying(source):
    assert copy.deepcopy(source) == source


def test_equal_sources_are_equal_and_hash_alike():
    first, second = Source.from_text("hello"), Source.from_text("hello")
    assert first == second
    assert hash(first) == hash(second)


def test_sources_of_other_content_differ():
    assert Source.from_text("a", identifier="x") != Source.from_text("b", identifier="x")


def test_sources_with_other_hints_differ():
    assert VIDEO.with_gemini_video_settings(fps=1) != VIDEO


def test_every_kind_can_be_kept_in_a_set():
    assert len(set(EVERY_KIND + EVERY_KIND)) == len(EVERY_KIND)


def test_source_is_frozen():
    with pytest.raises(AttributeError):
        VIDEO.identifier = "https://youtu.be/other"


def test_repr_shows_no_content():
    source = Source.from_text("the secret of the white whale", identifier="notes")
    assert "secret" not in repr(source)


def test_repr_of_a_loader_shows_no_content():
    assert "secret" not in repr(Source.from_json({"secret": 1}).content_loader)


def test_spells_types_one_way(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    assert Source.from_file(tmp_path / "a", mime_type=" Image/PNG ").mime_type == "image/png"
    assert Source.from_uri("https://a.example/x", mime_type="Application/PDF").mime_type == "application/pdf"


@pytest.mark.parametrize(
    "source",
    [
        Source.from_text("Grüße", identifier="note"),
        Source.from_json({"a": 1}),
        Source.from_youtube("https://youtu.be/x").with_gemini_video_settings(fps=1),
        Source.from_uri("gs://a/b.pdf", mime_type="application/pdf"),
        Source.from_arxiv("1706.03762"),
        Source("file", "a.bin", "image/png", 3, BytesLoader(b"abc")),
    ],
)
def test_a_source_survives_json(source):
    assert Source.from_dict(json.loads(json.dumps(source.to_dict()))) == source


@pytest.mark.parametrize(
    "item",
    [
        None,
        {},
        {"source_type": "tape", "identifier": "x", "mime_type": "a/b"},
        {"source_type": "tape", "identifier": "x", "mime_type": "a/b", "text": "a"},
        {"source_type": "file", "identifier": "x"},
        {"source_type": "file", "identifier": "x", "mime_type": "a/b"},
        {"source_type": "file", "identifier": "x", "mime_type": "a/b", "data": "not base64!"},
        {"source_type": "text", "identifier": "x", "mime_type": "a/b", "text": 5},
        {"source_type": "text", "identifier": "x", "mime_type": 5, "text": "a"},
        {"source_type": "text", "identifier": 5, "mime_type": "a/b", "text": "a"},
        {"source_type": "text", "identifier": "x", "mime_type": "a/b", "text": "a", "colour": "white"},
        {"source_type": "text", "identifier": "x", "mime_type": "a/b", "text": "a", "provider_hints": [["gemini"]]},
        {"source_type": "text", "identifier": "x", "mime_type": "a/b", "text": "a", "provider_hints": ["abc"]},
    ],
)
def test_refuses_what_is_no_stored_source(item):
    with pytest.raises(SourceError, match="not a stored source") as caught:
        Source.from_dict(item)
    assert "to_dict" in caught.value.hint


def test_names_the_field_of_a_stored_source_that_is_wrong():
    with pytest.raises(SourceError, match=r"not a stored source: expected a string, got 5 @ \$\.text"):
        Source.from_dict({"source_type": "text", "identifier": "x", "mime_type": "a/b", "text": 5})


# Names and types that a request cannot carry


@pytest.mark.parametrize(
    "mime_type",
    [
        "pdf",
        "",
        " ",
        "image/",
        "/png",
        "image png",
        "image/png\r\nX-Evil: 1",
        "image/p\tng",
        "\u56fe/png",
        "text/x; a=\u00e9",
        5,
    ],
)
def test_refuses_a_type_that_no_header_could_carry(mime_type):
    with pytest.raises(SourceError, match="mime_type") as caught:
        Source("file", "a", mime_type, 0, lambda: b"")
    assert "mime_type" in caught.value.hint


@pytest.mark.parametrize(
    "mime_type", ["image/svg+xml", "text/plain; charset=utf-8", "text/plain;charset=utf-8", 'text/x; a="b c"; d=e']
)
def test_takes_a_type_with_parameters(mime_type):
    assert Source("file", "a", mime_type, 0, lambda: b"").mime_type == mime_type


@pytest.mark.parametrize("mime_type", ["", None])
def test_names_the_type_of_a_stored_file_that_lacks_one(mime_type):
    with pytest.raises(SourceError, match="mime_type") as caught:
        Source.from_file_id("x", mime_type=mime_type)
    assert "mime_type" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (Source("file", "a/caf\udce9\n\x01.pdf", "application/pdf", 0, bytes), "caf___.pdf"),
        (Source("file", "a/caf\u00e9 1?x.pdf", "application/pdf", 0, bytes), "caf\u00e9 1?x.pdf"),
        (Source.from_uri("https://a.example/x/caf%C3%A9%0A.pdf?x=1"), "caf\u00e9_.pdf"),
        (Source.from_uri("https://a.example"), ""),
    ],
)
def test_names_a_file_as_a_request_can_carry_it(source, name):
    assert source.file_name == name
