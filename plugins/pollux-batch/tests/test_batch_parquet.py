import json
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from pyarrow import parquet

from pollux_batch import BatchItem, WorkItemResult, export_answers, read_parquet, run_batch, write_results
from pollux_batch.data.items import BrokenItem
from pollux_sync import Config
from pollux_sync.errors import ConfigurationError

CONFIG = Config(provider="any", model="any", use_mock=True)


@pytest.fixture
def write(tmp_path):
    def write(**columns):
        path = tmp_path / "in.parquet"
        parquet.write_table(pa.table(columns), path)
        return path

    return write


def list_errors(items):
    return [item.error.message for item in items if isinstance(item, BrokenItem)]


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_says_what_to_install_where_pyarrow_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for ask in (lambda: read_parquet("in.parquet"), lambda: write_results([], tmp_path / "out.parquet")):
        with pytest.raises(ConfigurationError, match="need the package pyarrow") as caught:
            ask()
        assert caught.value.hint == "pip install 'pollux-batch[parquet]'"


def test_does_not_import_pyarrow_until_a_parquet_file_is_opened():
    code = "import pollux_batch.cli, pollux_batch.reading, pollux_batch.writing, sys; print('pyarrow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_reads_items_and_refuses_rows_alone(write):
    path = write(n=[1, 2, 2], text=["Hello", None, "Bye"])
    items = [*read_parquet(path, template="{n}: {text}", id="n")]
    assert items[0] == BatchItem("1: Hello", "1", context={"n": 1, "text": "Hello"})
    assert list_errors(items) == ["line 2: column 'text' is null"]
    assert [*read_parquet(path, prompt="n", id="n")][2].error.message == "line 3 repeats the id '2'"


@pytest.mark.parametrize("arguments", [{"prompt": "txt"}, {"template": "{txt}"}, {"prompt": "text", "id": "txt"}])
def test_refuses_an_unknown_column_at_once_and_lists_the_others(write, arguments):
    with pytest.raises(ConfigurationError, match="has no column 'txt'") as caught:
        read_parquet(write(text=["Hello"], n=[1]), **arguments)
    assert caught.value.hint == "its columns are: text, n"


def test_refuses_two_columns_of_one_name(tmp_path):
    table = pa.table([["a"], ["b"]], names=["text", "text"])
    parquet.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(ConfigurationError, match="several columns 'text'"):
        read_parquet(tmp_path / "in.parquet", prompt="text")


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" * 10])
def test_refuses_a_file_of_another_kind_at_once(tmp_path, content):
    (tmp_path / "in.parquet").write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_parquet(tmp_path / "in.parquet")


def test_refuses_a_missing_file_at_once(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_parquet(tmp_path / "missing.parquet")


def test_says_so_where_a_file_is_damaged_in_the_middle(write):
    path = write(text=[f"text {number}" for number in range(10_000)])
    content = bytearray(path.read_bytes())
    content[1_000:20_000] = b"\xff" * 19_000
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run_batch(read_parquet(path, prompt="text"), config=CONFIG)


def test_reads_a_file_without_rows(write, tmp_path):
    result = run_batch(read_parquet(write(text=pa.array([], pa.string())), prompt="text"), config=CONFIG)
    assert result.outputs() == []
    write_results(result.results, tmp_path / "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 0
    assert [*read_parquet(tmp_path / "out.parquet")] == []


def test_fills_values_other_than_texts_as_they_print_or_as_json(write):
    path = write(
        day=[date(2026, 11, 26)],
        at=[datetime(2026, 11, 26, 12, 30)],  # noqa: DTZ001 - as a file may have it
        price=[Decimal("1.50")],
        nested=[{"on": date(2026, 1, 2), "tags": ["é"]}],
        raw=["né".encode()],
    )
    items = [*read_parquet(path, template="{day}|{at}|{price}|{nested}|{raw}")]
    assert items[0].prompt == '2026-11-26|2026-11-26 12:30:00|1.50|{"on": "2026-01-02", "tags": ["é"]}|né'


def test_a_row_with_a_value_that_python_cannot_hold_fails_alone(write):
    days = pa.array([0, 10**7, 1], pa.int32()).cast(pa.date32())
    items = [*read_parquet(write(day=days, raw=[b"a", b"b", b"\xff"]), template="{day} {raw}")]
    assert items[0].prompt == "1970-01-01 a"
    assert list_errors(items)[0].startswith("line 2 has a value that Python cannot hold")
    assert list_errors(items)[1] == "line 3: column 'raw' is not UTF-8"


def test_writes_columns_of_their_types(tmp_path):
    contexts = [
        {"n": 1, "f": 1, "b": True, "mixed": 1, "none": None, "large": 2**60, "wide": 2**60, "huge": 2**70},
        {"n": 2, "f": 0.5, "b": None, "mixed": "x", "none": None, "large": 1, "wide": 0.5, "huge": 1},
    ]
    results = [
        WorkItemResult(item_id=f"item {number}", success=True, output=output, context=context)
        for number, (output, context) in enumerate(zip(["x", [1]], contexts, strict=True))
    ]
    write_results(results, tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "n": "int64",
        "f": "double",
        "b": "bool",
        "large": "int64",
        **dict.fromkeys(["mixed", "none", "wide", "huge", "id", "output", "error", "usage", "cost"], "string"),
    }
    assert [(row["output"], row["mixed"], row["f"], row["large"], row["wide"]) for row in table.to_pylist()] == [
        ("x", "1", 1.0, 2**60, str(2**60)),
        ("[1]", "x", 0.5, 1, "0.5"),
    ]


def test_writes_failed_rows_apart(write, tmp_path):
    result = run_batch(read_parquet(write(text=["Hello", None]), prompt="text"), config=CONFIG)
    written = write_results(result.results, tmp_path / "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet")["text"].to_pylist() == ["Hello"]
    (failed,) = parquet.read_table(written.failed_path).to_pylist()
    assert (failed["id"], failed["error"]) == ("row_2", "RowError: line 2: column 'text' is null")


def test_leaves_nothing_behind_when_the_results_fail(tmp_path):
    def iter_results():
        yield WorkItemResult(item_id="a", success=True, output="x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_results(iter_results(), tmp_path / "out.parquet")
    assert list_names(tmp_path) == []


def test_carries_values_that_json_does_not_have_into_other_formats(write, tmp_path):
    path = write(
        text=["Hello"], day=[date(2026, 11, 26)], share=[float("nan")], nested=[{"parts": [1.5, float("inf")]}]
    )
    result = run_batch(read_parquet(path, prompt="text"), config=CONFIG)
    write_results(result.results, tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["day"], row["share"], row["nested"]) == ("2026-11-26", None, {"parts": [1.5, None]})


def test_reads_what_it_wrote(write, tmp_path):
    result = run_batch(read_parquet(write(text=["Hello", "Bye"]), prompt="text"), config=CONFIG)
    write_results(result.results, tmp_path / "out.parquet")
    again = run_batch(read_parquet(tmp_path / "out.parquet", prompt="output", id="id"), config=CONFIG)
    assert again.outputs(with_ids=True) == [("row_1", "echo: echo: Hello"), ("row_2", "echo: echo: Bye")]


def test_exports_a_journal(tmp_path):
    run_batch(["Hello"], config=CONFIG, journal=tmp_path / "j.db")
    assert export_answers(tmp_path / "j.db", tmp_path / "out.parquet", config=CONFIG) == 1
    assert parquet.read_table(tmp_path / "out.parquet")["output"].to_pylist() == ["echo: Hello"]


def test_reads_a_large_group_piece_by_piece(write):
    path = write(text=[f"{number} " * 100 for number in range(100_000)])
    assert parquet.ParquetFile(path).num_row_groups == 1
    before, peak = pa.total_allocated_bytes(), 0
    for _ in read_parquet(path, prompt="text"):
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 8_000_000  # of 59 million characters


def test_writes_long_texts_in_small_groups(tmp_path):
    results = (WorkItemResult(item_id=f"item {number}", success=True, output="x" * 2**20) for number in range(40))
    write_results(results, tmp_path / "out.parquet")
    file = parquet.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [16, 16, 8]
