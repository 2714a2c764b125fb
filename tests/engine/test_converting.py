"""Sources that a provider cannot take: plugins convert them, never silently."""

import pytest

from pollux_sync import (
    Config,
    ConfigurationError,
    Options,
    ProviderBugError,
    Source,
    SourceError,
    explain,
    hookimpl,
    run_many,
)
from pollux_sync.data.source import BytesLoader
from pollux_sync.testing.server import Answer, ScriptedServer

SHEET = "application/vnd.ms-excel"


class SheetReader:
    """Converts sheets, or files of another type, to text."""

    def __init__(self, convert=lambda source: Source.from_text("a;b", identifier=source.identifier), mime_type=SHEET):
        self._convert = convert
        self._mime_type = mime_type
        self.seen = []

    @hookimpl
    def pollux_convert(self, source, accepted):
        self.seen.append((source.identifier, [rule.delivery for rule in accepted]))
        return self._convert(source) if source.mime_type == self._mime_type else None


def build_file(name="prices.xls", mime_type=SHEET):
    return Source("file", name, mime_type, 3, BytesLoader(b"xls"))


def show(*sources, plugins):
    config = Config(provider="local", model="m", base_url="http://127.0.0.1:9/v1", plugins=plugins)
    return explain("sum?", sources=sources, config=config)


def test_is_sent_in_place_of_the_source():
    (request,) = show(build_file(), plugins=[SheetReader()]).requests
    assert "a;b" in str(request.body)


def test_is_asked_about_what_the_provider_does_not_take():
    reader = SheetReader()
    shown = show(Source.from_text("x", identifier="plain"), build_file(), plugins=[reader])
    assert [name for name, _ in reader.seen] == ["prices.xls"]
    assert "text" in reader.seen[0][1]
    assert [source.converted_from for source in shown.sources] == [None, SHEET]


def test_is_asked_about_files_that_would_be_sent_as_text():
    files = [build_file("page.html", "text/html"), build_file("notes.md", "text/markdown")]
    shown = show(*files, plugins=[SheetReader(mime_type="text/html")])
    assert [source.converted_from for source in shown.sources] == ["text/html", None]


def test_is_shown_by_explain():
    shown = show(build_file(), plugins=[SheetReader()])
    assert f"prices.xls: converted from {SHEET} to text/plain" in str(shown)
    assert shown.to_dict()["sources"][0]["converted_from"] == SHEET


def test_the_first_plugin_that_can_has_its_way():
    other = SheetReader(lambda source: Source.from_text("second", identifier=source.identifier))
    (request,) = show(build_file(), plugins=[other, SheetReader()]).requests
    assert ("a;b" in str(request.body)) != ("second" in str(request.body))


def test_what_no_plugin_converts_is_refused():
    with pytest.raises(ConfigurationError, match=r"cannot take file 'a\.xyz'"):
        show(build_file("a.xyz", "application/x-unknown"), plugins=[SheetReader()])


def test_what_cannot_be_converted_is_an_error_of_its_source():
    def fail(_):
        raise SourceError("the sheet is damaged", hint="open it, and save it again")

    with pytest.raises(SourceError, match="the sheet is damaged") as caught:
        show(build_file(), plugins=[SheetReader(fail)])
    assert caught.value.source == "prices.xls"


def test_a_converted_source_that_the_provider_does_not_take_is_refused():
    reader = SheetReader(lambda _: build_file("other.zip", "application/zip"))
    with pytest.raises(SourceError, match="does not take either") as caught:
        show(build_file(), plugins=[reader])
    assert caught.value.hint


def test_another_answer_is_a_defect_of_the_plugin():
    with pytest.raises(ProviderBugError, match="pollux_convert"):
        show(build_file(), plugins=[SheetReader(lambda _: "text")])


def split(source):
    return tuple(Source.from_text(f"half {number}", identifier=source.identifier) for number in (1, 2))


def test_one_source_may_become_several_in_order():
    shown = show(Source.from_text("x", identifier="plain"), build_file(), plugins=[SheetReader(split)])
    body = str(shown.requests[0].body)
    assert -1 < body.index("plain") < body.index("half 1") < body.index("half 2")
    assert f"prices.xls: converted from {SHEET} to 2 x text/plain" in str(shown)


@pytest.fixture
def ask():
    """Return a function that asks a server about files, one call each; its answers are numbered."""

    def ask(*files, plugins, **options):
        with ScriptedServer() as server:
            server.reply(*[Answer(json=build_completion(f"answer {number}")) for number in (1, 2)])
            config = Config(
                provider="local", model="m", base_url=f"{server.url}/v1", plugins=plugins, request_concurrency=1
            )
            return run_many(["sum?"], sources=files, config=config, options=Options(**options), per_source=True)

    return ask


def build_completion(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


def test_is_in_the_result(ask):
    result = ask(build_file(), plugins=[SheetReader()])
    assert result["answers"] == ["answer 1"]
    assert result["diagnostics"]["conversions"] == [
        {"source": "prices.xls", "mime_type": SHEET, "sent_as": "text/plain"}
    ]


def test_one_that_fails_leaves_the_others(ask):
    def convert(source):
        if source.identifier == "bad.xls":
            raise SourceError("the sheet is damaged", hint="save it again")
        return Source.from_text("fine", identifier=source.identifier)

    result = ask(build_file("bad.xls"), build_file("good.xls"), plugins=[SheetReader(convert)], on_error="keep")
    assert result["answers"] == ["", "answer 1"]
    assert result["errors"][0]["source"] == "bad.xls"
    assert [one["source"] for one in result["diagnostics"]["conversions"]] == ["good.xls"]


def test_each_source_is_asked_about_once_however_many_it_becomes(ask):
    result = ask(build_file("two.xls"), Source.from_text("x", identifier="plain"), plugins=[SheetReader(split)])
    assert result["answers"] == ["answer 1", "answer 2"]
    assert [label["source"] for label in result["diagnostics"]["calls"]] == ["two.xls", "plain"]
    assert [one["source"] for one in result["diagnostics"]["conversions"]] == ["two.xls", "two.xls"]


def test_one_that_fails_after_several_leaves_them(ask):
    def convert(source):
        if source.identifier == "bad.xls":
            raise SourceError("the sheet is damaged", hint="save it again")
        return split(source)

    result = ask(build_file("two.xls"), build_file("bad.xls"), plugins=[SheetReader(convert)], on_error="keep")
    assert result["answers"] == ["answer 1", ""]
    assert result["errors"][1]["source"] == "bad.xls"


def test_a_source_of_several_parts_can_be_a_turn_of_a_conversation(ask):
    result = ask(build_file("two.xls"), plugins=[SheetReader(split)], history=[])
    assert result["answers"] == ["answer 1"]
