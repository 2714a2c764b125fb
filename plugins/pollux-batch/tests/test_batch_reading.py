import pickle

import pytest

from pollux_batch import BatchItem, RowError, read_csv, read_jsonl, run_batch
from pollux_batch.data.items import BrokenItem
from pollux_sync import Config
from pollux_sync.errors import ConfigurationError

CONFIG = Config(provider="any", model="any", use_mock=True)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def errors_of(items):
    return [item.error.message for item in items if isinstance(item, BrokenItem)]


def prompts_of(items):
    return [item.prompt for item in items if isinstance(item, BatchItem)]


def test_reads_the_prompt_column_of_json_lines_and_carries_the_row(write):
    path = write("in.jsonl", '{"prompt": "Who?", "n": 1}\n\n{"prompt": "When?", "n": 2}\n')
    assert [*read_jsonl(path)] == [
        BatchItem("Who?", "row_1", context={"prompt": "Who?", "n": 1}),
        BatchItem("When?", "row_2", context={"prompt": "When?", "n": 2}),
    ]


def test_reads_a_csv_with_quotes_and_line_ends_in_cells(write):
    path = write("in.csv", 'id,text\r\n7,"Who, and\nwhen?"\r\n')
    assert [*read_csv(path, prompt="text", id="id")] == [
        BatchItem("Who, and\nwhen?", "7", context={"id": "7", "text": "Who, and\nwhen?"})
    ]


@pytest.mark.parametrize("read", [read_jsonl, read_csv])
def test_a_byte_order_mark_is_no_part_of_the_first_column(write, read):
    content = {read_jsonl: '{"prompt": "Who?"}\n', read_csv: "prompt\nWho?\n"}[read]
    assert prompts_of(read(write("in", b"\xef\xbb\xbf" + content.encode()))) == ["Who?"]


def test_fills_a_template_from_columns(write):
    path = write("in.csv", "text,to language\nHello,French\n")
    template = "Translate {text} into {to language}, as {{this}}: {text}"
    assert prompts_of(read_csv(path, template=template)) == ["Translate Hello into French, as {this}: Hello"]


def test_a_template_reads_no_attributes(write):
    path = write("in.jsonl", '{"text": "Hello"}\n')
    with pytest.raises(ConfigurationError, match=r"no column 'text\.__class__'"):
        read_jsonl(path, template="{text.__class__}")


def test_fills_values_other_than_texts_as_json(write):
    path = write("in.jsonl", '{"a": 1, "b": true, "c": ["é"]}\n')
    assert prompts_of(read_jsonl(path, template="{a} {b} {c}")) == ['1 true ["é"]']


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{text", "cannot be read"),
        ("{}", "not the name of a column"),
        ("{text!r}", "not the name of a column"),
        ("{text:>9}", "not the name of a column"),
        ("text", "names no column"),
    ],
)
def test_refuses_a_template_at_once(write, template, message):
    with pytest.raises(ConfigurationError, match=message):
        read_csv(write("in.csv", "text\nHello\n"), template=template)


@pytest.mark.parametrize("arguments", [{"prompt": "txt"}, {"template": "{txt}"}, {"prompt": "text", "id": "txt"}])
def test_refuses_an_unknown_column_at_once_and_lists_the_others(write, arguments):
    for read, content in ((read_csv, "id,text\n1,Hello\n"), (read_jsonl, '{"id": 1, "text": "Hello"}\n')):
        with pytest.raises(ConfigurationError, match="has no column 'txt'") as caught:
            read(write("in", content), **arguments)
        assert caught.value.hint == "its columns are: id, text"


def test_refuses_prompt_and_template_together(write):
    with pytest.raises(ConfigurationError, match="both given"):
        read_csv(write("in.csv", "text\nHello\n"), prompt="text", template="{text}")


@pytest.mark.parametrize("read", [read_jsonl, read_csv])
def test_refuses_a_path_that_is_no_file_at_once(tmp_path, read):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigurationError, match=r"is not a file|cannot be read"):
            read(path)


@pytest.mark.parametrize(("content", "message"), [("", "does not begin"), ("a,b,a\n", "several columns 'a'")])
def test_refuses_a_csv_without_names_of_columns(write, content, message):
    with pytest.raises(ConfigurationError, match=message):
        read_csv(write("in.csv", content))


def test_a_broken_line_of_json_fails_alone(write):
    lines = [b'{"prompt": "a"}', b"{", b"[1]", b'{"prompt": NaN}', b'"\xff"', b"[" * 100_000, b'{"prompt": "b"}']
    items = [*read_jsonl(write("in.jsonl", b"\n".join(lines)))]
    assert prompts_of(items) == ["a", "b"]
    assert [item.error.line for item in items if isinstance(item, BrokenItem)] == [2, 3, 4, 5, 6]


def test_a_broken_first_line_does_not_hide_the_columns(write):
    path = write("in.jsonl", '{\n{"text": "a"}\n')
    assert read_jsonl(path, prompt="text").columns == ("text",)


def test_a_broken_row_of_csv_fails_alone_with_the_line_on_which_it_begins(write):
    content = b'id,prompt\n1,"a\nb"\n2\n3,x,y\n4,\xff\n5,"x"y\n6,b\n'
    items = [*read_csv(write("in.csv", content))]
    assert prompts_of(items) == ["a\nb", "b"]
    assert errors_of(items) == [
        "line 4 has 1 cells, but there are 2 columns",
        "line 5 has 3 cells, but there are 2 columns",
        "line 6 is not UTF-8",
        "line 7 is not CSV: ',' expected after '\"'",
    ]


def test_reads_a_cell_as_long_as_a_book(write):
    assert len(prompts_of(read_csv(write("in.csv", "prompt\n" + "x" * 500_000)))[0]) == 500_000


def test_a_row_without_its_column_fails_alone(write):
    path = write("in.jsonl", '{"prompt": "a"}\n{"x": 1}\n{"prompt": null}\n{"prompt": " "}\n')
    assert errors_of(read_jsonl(path)) == [
        "line 2: column 'prompt' is missing",
        "line 3: column 'prompt' is null",
        "line 4 has a blank prompt",
    ]


def test_a_blank_or_repeated_id_fails_alone(write):
    items = [*read_csv(write("in.csv", "id,prompt\n1,a\n,b\n1,c\n2,d\n"), id="id")]
    assert errors_of(items) == ["line 3 has a blank id", "line 4 repeats the id '1'"]
    assert [item.id for item in items] == ["1", "row_2", "row_3", "2"]


def test_numbers_are_ids_too(write):
    items = [*read_jsonl(write("in.jsonl", '{"prompt": "a", "id": 7}\n'), id="id")]
    assert items[0].id == "7"


def test_a_broken_row_is_a_failed_result_with_its_own_row(write):
    path = write("in.csv", "id,prompt\n1,a\n1,b\n2,c,d\n")
    result = run_batch(read_csv(path, id="id"), config=CONFIG)
    assert result.outputs() == ["echo: a", None, None]
    assert [failed.item_id for failed in result.failures] == ["row_2", "row_3"]
    assert [failed.context for failed in result.failures] == [{"id": "1", "prompt": "b"}, None]
    assert result.failures[0].error == "RowError: line 3 repeats the id '1'"


def test_a_row_error_survives_pickling():
    error = pickle.loads(pickle.dumps(RowError("line 3 is broken", hint="mend it", line=3)))  # noqa: S301 - our own
    assert (error.message, error.hint, error.line) == ("line 3 is broken", "mend it", 3)
