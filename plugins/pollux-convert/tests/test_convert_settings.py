"""The plugin: its limits, the packages of its readers, what it keeps, and what its processes get."""

import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import attrs
import pytest

import pollux_convert
from documents import DRAWING, build_documents, build_pdf, build_source
from pollux_convert import KINDS, Convert
from pollux_convert.bounding import read_apart
from pollux_convert.keeping import PartsCache
from pollux_convert.tasks import Task
from pollux_sync import Config, ConfigurationError, Source, SourceError, explain
from pollux_sync.plugin import TEXT_RULE, SourceRule

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
DOCUMENTS = build_documents()
LIMITS = ["max_seconds", "max_input_bytes", "max_output_chars", "max_pages", "max_memory_bytes", "image_dpi"]


def convert(data, kind, *rules, **limits):
    return Convert(**limits).pollux_convert(build_source(data, kind), rules or (TEXT_RULE,))


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [0, -1, True, "many", None])
def test_limit_must_be_a_number_above_zero(name, value):
    with pytest.raises(ConfigurationError, match=name):
        Convert(**{name: value})


def test_limits_of_whole_things_are_whole_numbers():
    assert Convert(max_seconds=0.5).max_seconds == 0.5
    with pytest.raises(ConfigurationError, match="a whole number"):
        Convert(max_pages=1.5)


def test_is_found_by_its_name():
    config = Config(provider="local", model="m", base_url="http://127.0.0.1:9/v1", plugins=["convert"])
    shown = explain("What?", sources=[build_source(DOCUMENTS["ics"], "ics")], config=config)
    assert shown.sources[0].converted_from == "text/calendar"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.packages], ids=lambda kind: kind.name)
def test_missing_package_is_named_by_its_extra(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, kind.packages[0], None)
    with pytest.raises(SourceError, match="not installed") as caught:
        convert(DOCUMENTS[kind.name], kind.name)
    assert f"pip install 'pollux-convert[{kind.name}]'" in caught.value.hint


def test_missing_reader_of_a_text_can_be_done_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    with pytest.raises(SourceError) as caught:
        convert(DOCUMENTS["html"], "html")
    assert "mime_type='text/plain'" in caught.value.hint


def test_every_extra_is_of_a_kind():
    extras = PROJECT["optional-dependencies"]
    assert {kind.extra for kind in KINDS if kind.packages} == extras.keys() - {"all"}
    assert extras["all"] == [f"pollux-convert[{','.join(sorted(extras.keys() - {'all'}))}]"]


def test_what_the_provider_takes_decides():
    pictures = SourceRule(source_types={"file"}, mime_types=("image/png",), delivery="inline")
    assert convert(DOCUMENTS["pdf"], "pdf", pictures) is None
    (picture,) = convert(build_pdf(DRAWING), "pdf", TEXT_RULE, pictures)
    assert (picture.mime_type, picture.identifier, picture.load()[1:4]) == ("image/png", "a.pdf", b"PNG")


@pytest.mark.parametrize("source", [Source.from_text("x"), Source.from_uri("https://example.org/a.pdf")])
def test_only_files_are_converted(source):
    assert Convert().pollux_convert(source, (TEXT_RULE,)) is None


def test_other_kinds_are_not_converted_to_text():
    with pytest.raises(SourceError, match=r"'a\.zip' \(application/zip\) is none of the kinds"):
        Convert().convert_to_text(Source("file", "a.zip", "application/zip", 1, lambda: b"x"))


def test_equal_content_is_converted_once():
    # The second would fail, if anything were read again.
    (first,) = convert(DOCUMENTS["rtf"] + b" ", "rtf")
    (second,) = convert(DOCUMENTS["rtf"] + b" ", "rtf", max_seconds=0.0001)
    assert first == second


def test_cache_forgets_what_was_not_used_for_longest():
    cache = PartsCache(max_bytes=2)
    for key in "aba":
        cache.get(key, lambda: ("x",))
    cache.get("c", lambda: ("x",))
    assert cache.get("a", lambda: ("anew",)) == ("x",)
    assert cache.get("b", lambda: ("anew",)) == ("anew",)


def test_cache_does_not_keep_errors():
    cache = PartsCache(max_bytes=100)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: (str(1 // 0),))
    assert cache.get("a", lambda: ("x",)) == ("x",)


def test_threads_build_the_same_once():
    cache, built, first_waits = PartsCache(max_bytes=100), [], threading.Event()

    def build():
        first_waits.wait(10)
        built.append(1)
        return ("x",)

    threads = [threading.Thread(target=cache.get, args=("a", build)) for _ in range(3)]
    for thread in threads:
        thread.start()
    first_waits.set()
    for thread in threads:
        thread.join()
    assert built == [1]


def test_process_of_a_reader_has_no_keys(monkeypatch, tmp_path):
    # A module that is found first tells what it sees.
    (tmp_path / "striprtf").mkdir()
    (tmp_path / "striprtf" / "__init__.py").touch()
    (tmp_path / "striprtf" / "striprtf.py").write_text("import os\nrtf_to_text = lambda *a, **k: ' '.join(os.environ)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "made-up")
    (text,) = read_apart(rb"{\rtf1 seen}", Task("rtf", "", 150, 500, 100_000, 2_000_000_000), 60)
    assert "PYTHONPATH" in text
    assert "ANTHROPIC_API_KEY" not in text


def test_module_in_the_working_directory_is_not_imported(monkeypatch, tmp_path):
    (tmp_path / "zipfile.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert read_apart(DOCUMENTS["odt"], Task("odt", "", 150, 500, 100_000, 2_000_000_000), 60)


def test_process_of_a_reader_imports_nothing_of_the_core():
    code = (
        "import pollux_convert.reading, sys; print([n for n in ('attrs', 'pluggy', 'pollux_sync') if n in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], env={**os.environ}, text=True).strip() == "[]"


def test_package_has_the_names_that_it_lists():
    assert [getattr(pollux_convert, name) for name in dir(pollux_convert)]
    with pytest.raises(AttributeError, match="has no attribute 'convert_all'"):
        _ = pollux_convert.convert_all


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_files_of_a_kind_have_its_types(kind, tmp_path):
    for suffix in kind.suffixes:
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(DOCUMENTS[kind.name])
        assert Source.from_file(path).mime_type in kind.mime_types


def test_table_of_the_guide_is_that_of_the_kinds():
    rows = [
        f"| {kind.title} | {', '.join(f'`.{suffix}`' for suffix in kind.suffixes)} | {kind.contents} "
        f"| {f'`{kind.extra}`' if kind.extra else ''} |"
        for kind in KINDS
    ]
    table = "\n".join(["| kind | files | what becomes of it | extra |", "|---|---|---|---|", *rows])
    assert table in (ROOT / "docs" / "how-to" / "convert.md").read_text(), table


def test_settings_of_the_guide_are_those_of_the_plugin():
    rows = [f"| `{field.name}` | {field.default:,} |".replace(".0", "") for field in attrs.fields(Convert)]
    page = (ROOT / "docs" / "how-to" / "convert.md").read_text()
    assert [row for row in rows if row not in page] == []
