"""Sources: what has no content or cannot be read is told at once, and several texts are introduced by their names."""

import pickle

import pytest

from acme_server import FileServer, build_answer
from pollux_sync import (
    APIError,
    CacheHandle,
    Config,
    ConfigurationError,
    Environment,
    Input,
    Options,
    Session,
    Source,
    SourceError,
    create_cache,
    explain,
    interact,
    run,
    run_many,
    stream_many,
)
from pollux_sync.testing import Script
from pollux_sync.testing.server import Answer

MOCK = Config(provider="openai", model="any", use_mock=True)
KEEP = Options(on_error="keep")
FIRST, SECOND = Source.from_text("one", identifier="first"), Source.from_text("two", identifier="second")
INTRODUCED = ['<source name="first">\none\n</source>', '<source name="second">\ntwo\n</source>']


@pytest.fixture
def write(tmp_path):
    """Writes a file and makes its source."""

    def make(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return Source.from_file(path)

    return make


def list_texts(*sources, **options):
    (request,) = explain("q", sources=sources, config=MOCK, options=Options(**options)).requests
    return [part["text"] for part in request.body["parts"]]


# Empty sources


@pytest.mark.parametrize(
    "source",
    [
        Source.from_text("", identifier="minutes"),
        Source.from_text(" \n\t ", identifier="minutes"),
        Source.from_text("\ufeff", identifier="minutes"),
        Source.from_json("", identifier="minutes"),
        Source.from_json(None, identifier="minutes"),
        Source("file", "minutes", "application/pdf", 7, lambda: b""),
    ],
)
@pytest.mark.parametrize("prompt", ["q", None])
def test_refuses_a_source_without_content_by_name(source, prompt):
    with pytest.raises(SourceError, match="'minutes' is empty") as caught:
        run(prompt, source=source, config=MOCK)
    assert (caught.value.source, bool(caught.value.hint)) == ("minutes", True)


@pytest.mark.parametrize("name", ["a.txt", "a.pdf", "a.json", "a.png", "a"])
@pytest.mark.parametrize("provider", ["anthropic", "gemini", "openai", "openrouter"])
def test_refuses_an_empty_file_whatever_its_type(write, provider, name):
    config = Config(provider=provider, model="claude-sonnet-4-6", api_key="made-up")
    with pytest.raises((SourceError, ConfigurationError), match=name):
        explain("q", sources=[write(name, b"")], config=config)


def test_counts_the_place_of_a_source_that_has_no_name():
    with pytest.raises(SourceError, match=r"sources\[1\] is empty"):
        run_many("q", sources=[FIRST, Source.from_text("")], config=MOCK)


@pytest.mark.parametrize("data", [{}, [], 0, False, "x"])
def test_takes_data_that_says_little(data):
    assert run("q", source=Source.from_json(data), config=MOCK)["status"] == "ok"


# Encodings


@pytest.mark.parametrize(
    "content", ["Grüße".encode("cp1252"), "a;b".encode("utf-16"), "a;b".encode("utf-16-le"), "a;b".encode("utf-32")]
)
def test_refuses_text_that_is_not_utf_8_with_the_name_of_the_file(write, content):
    with pytest.raises(SourceError, match=r"table\.csv' is not UTF-8 text") as caught:
        run("q", source=write("table.csv", content), config=MOCK)
    assert "convert it to UTF-8" in caught.value.hint


# All at once


def test_tells_all_sources_that_cannot_be_used_at_once(write):
    bad = [write("latin.txt", b"caf\xe9"), Source.from_text(" ", identifier="blank")]
    with pytest.raises(SourceError, match=r"2 of 3 sources.*latin\.txt.*blank") as caught:
        run_many("q", sources=[FIRST, *bad], config=MOCK)
    told = pickle.loads(pickle.dumps(caught.value)).source_errors  # noqa: S301
    assert [error.source for error in told] == [source.identifier for source in bad]
    assert [type(error) for error in told] == [SourceError, SourceError]


def test_tells_what_a_provider_does_not_take_beside_what_cannot_be_read(write):
    config = Config(provider="anthropic", model="claude-sonnet-4-6", api_key="made-up")
    sources = [write("film.mp4", b"\x00\x00\x00\x18ftypisom"), Source.from_text("")]
    with pytest.raises(SourceError) as caught:
        explain("q", sources=sources, config=config)
    assert [type(error) for error in caught.value.source_errors] == [ConfigurationError, SourceError]


def test_keeps_the_error_class_when_all_sources_have_it(write):
    config = Config(provider="anthropic", model="claude-sonnet-4-6", api_key="made-up")
    films = [write(name, b"\x00\x00\x00\x18ftypisom") for name in ("a.mp4", "b.mp4")]
    with pytest.raises(ConfigurationError, match=r"a\.mp4.*b\.mp4") as caught:
        explain("q", sources=films, config=config)
    assert caught.value.hint.count("it takes text") == 1


@pytest.mark.parametrize("ask", [run_many, lambda *args, **kwargs: stream_many(*args, **kwargs).result()])
def test_keeps_the_good_sources_with_per_source_and_on_error_keep(ask):
    model = Script(otherwise="fine")
    config = Config(provider="openai", model="any", use_mock=True, plugins=[model])
    sources = [FIRST, Source.from_text("", identifier="blank"), SECOND]
    result = ask(["p", "q"], sources=sources, config=config, options=KEEP, per_source=True)
    assert result["answers"] == ["fine", "fine", "", "", "fine", "fine"]
    assert [error and error["source"] for error in result["errors"]] == [None, None, "blank", "blank", None, None]
    assert (result["status"], len(model.requests)) == ("partial", 4)


def test_raises_before_anything_is_sent_without_on_error_keep():
    model = Script(otherwise="fine")
    config = Config(provider="openai", model="any", use_mock=True, plugins=[model])
    with pytest.raises(SourceError, match="blank"):
        run_many("p", sources=[FIRST, Source.from_text("", identifier="blank")], config=config, per_source=True)
    assert model.requests == []


def test_names_the_source_of_a_call_that_failed(server, config):
    server.handler = lambda request: Answer(status=400) if b"two" in request.body else build_answer("fine")
    with pytest.raises(APIError) as caught:
        run_many("p", sources=[FIRST, SECOND], config=config(), per_source=True)
    assert pickle.loads(pickle.dumps(caught.value)).source == "second"  # noqa: S301
    assert "about 'second'" in caught.value.__notes__[0]


def test_names_the_source_of_an_upload_that_failed(server, config, write):
    server.handler = FileServer()
    server.handler.failing_uploads = {"a.png": 400}
    source = write("a.png", b"\x89PNG\r\n\x1a\n")
    with pytest.raises(APIError) as caught:
        run("p", source=source, config=config())
    assert caught.value.source == source.identifier


# Several texts


def test_introduces_each_of_several_texts():
    assert list_texts(FIRST, SECOND) == INTRODUCED


def test_leaves_a_single_text_as_it_is(write):
    assert list_texts(FIRST) == ["one"]
    config = Config(provider="openai", model="any", api_key="made-up")
    body = explain("q", sources=[FIRST, write("a.pdf", b"%PDF-1.7")], config=config).requests[0].body
    assert body["input"][0]["content"][0]["text"] == "one"


def test_leaves_texts_as_they_are_with_label_sources_false():
    assert list_texts(FIRST, SECOND, label_sources=False) == ["one", "two"]


@pytest.mark.parametrize("value", [None, "no", 1])
def test_refuses_a_label_sources_that_is_no_boolean(value):
    with pytest.raises(ConfigurationError, match="label_sources"):
        Options(label_sources=value)


def test_names_a_file_by_its_own_name_and_by_its_path_where_that_is_repeated(write):
    names = [write(name, b"x") for name in ("a/notes.txt", "b/notes.txt", "c.txt")]
    firsts = [text.splitlines()[0] for text in list_texts(*names)]
    assert firsts == [
        f'<source name="{names[0].identifier}">',
        f'<source name="{names[1].identifier}">',
        '<source name="c.txt">',
    ]


def test_numbers_sources_of_one_name():
    firsts = [text.splitlines()[0] for text in list_texts(*map(Source.from_json, (1, 2, 3)))]
    assert firsts == ['<source name="json-data">', '<source name="json-data (2)">', '<source name="json-data (3)">']


def test_keeps_a_name_on_one_line_and_inside_its_quotes():
    odd = Source.from_text("x", identifier='say "hi"\nplease')
    assert list_texts(odd, FIRST)[0].splitlines()[0] == "<source name=\"say 'hi'_please\">"


def test_introduces_no_text_that_has_a_call_of_its_own():
    requests = explain("q", sources=[FIRST, SECOND], config=MOCK, per_source=True).requests
    assert [request.body["parts"] for request in requests] == [[{"text": "one"}], [{"text": "two"}]]


def test_introduces_texts_once_in_a_conversation_that_goes_on():
    model = Script(otherwise="fine")
    config = Config(provider="openai", model="any", use_mock=True, plugins=[model])
    first = run_many("p", sources=[FIRST, SECOND], config=config, options=Options(history=[]))
    run("q", config=config, options=Options(continue_from=first))
    assert str(model.requests[1]).count("<source ") == 2


def test_introduces_texts_in_a_session_and_an_interaction():
    model = Script(otherwise="fine")
    config = Config(provider="openai", model="any", use_mock=True, plugins=[model])
    with Session(config) as session:
        session.run_many("p", sources=[FIRST, SECOND])
    interact(Environment(sources=[FIRST, SECOND]), Input("p"), config=config)
    off = Options(label_sources=False)
    interact(Environment(sources=[FIRST, SECOND]), Input("p"), config=config, options=off)
    assert [str(request).count("<source ") for request in model.requests] == [2, 2, 0]


def test_makes_another_cache_where_the_names_of_the_texts_differ():
    config = Config(provider="gemini", model="any", use_mock=True)
    renamed = Source.from_text("two", identifier="other")

    def cache(*sources, **fields) -> CacheHandle:
        return create_cache(sources, config=config, **fields)

    made = cache(FIRST, SECOND)
    assert made.name == cache(FIRST, SECOND).name
    assert len({made.name, cache(FIRST, renamed).name, cache(FIRST, SECOND, label_sources=False).name}) == 3
    assert cache(SECOND).name == cache(renamed).name
