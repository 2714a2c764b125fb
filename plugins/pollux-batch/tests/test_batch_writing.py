import csv
import json
from decimal import Decimal

import attrs
import pytest

from pollux_batch import WorkItemResult, read_csv, read_jsonl, run_batch, stream_batch, write_results
from pollux_batch.tabulating import TableWriter
from pollux_batch.writing import ResultWriter
from pollux_sync import Config
from pollux_sync.errors import ConfigurationError

CONFIG = Config(provider="any", model="any", use_mock=True)
USAGE = {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}


def build_result(item_id, output="yes", **facts):
    return WorkItemResult(item_id=item_id, success="error" not in facts, output=output, **facts)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_table(path):
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_json_lines_with_the_columns_of_the_input(tmp_path):
    results = [build_result("a", context={"text": "Hello", "n": 1}, token_usage=USAGE, cost=Decimal("0.01"))]
    write_results(results, tmp_path / "out.jsonl")
    (row,) = read_lines(tmp_path / "out.jsonl")
    assert row == {"text": "Hello", "n": 1, "id": "a", "output": "yes", "error": None, "usage": USAGE, "cost": "0.01"}


def test_writes_csv_with_the_columns_of_all_rows(tmp_path):
    results = [build_result("a", context={"x": "1"}), build_result("b", {"v": [1]}, context={"y": 'a "b",\nc'})]
    write_results(results, tmp_path / "out.csv")
    one, two = read_table(tmp_path / "out.csv")
    assert one == {"x": "1", "id": "a", "output": "yes", "error": "", "usage": "", "cost": "", "y": ""}
    assert (two["y"], two["output"], two["x"]) == ('a "b",\nc', '{"v": [1]}', "")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_writes_failed_rows_apart(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    written = write_results([build_result("a"), build_result("b", None, error="APIError: refused")], path)
    assert (written.succeeded, written.failed) == (1, 1)
    assert written.failed_path == tmp_path / f"out.failed{suffix}"
    read = read_lines if suffix == ".jsonl" else read_table
    assert [row["id"] for row in read(path)] == ["a"]
    assert [(row["id"], row["error"]) for row in read(written.failed_path)] == [("b", "APIError: refused")]


def test_makes_no_file_of_failures_where_nothing_failed(tmp_path):
    written = write_results([build_result("a")], tmp_path / "out.jsonl")
    assert written.failed_path is None
    assert list_names(tmp_path) == ["out.jsonl"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.failed.jsonl"])
def test_refuses_a_path_in_use_before_the_first_result_is_read(tmp_path, name):
    (tmp_path / name).write_text("mine")

    def iter_results():
        raise AssertionError("read")
        yield

    with pytest.raises(ConfigurationError, match="exists already"):
        write_results(iter_results(), tmp_path / "out.jsonl")
    assert (tmp_path / name).read_text() == "mine"


def test_overwrites_both_files_if_asked(tmp_path):
    (tmp_path / "out.jsonl").write_text("old")
    (tmp_path / "out.failed.jsonl").write_text("old")
    write_results([build_result("a")], tmp_path / "out.jsonl", overwrite=True)
    assert list_names(tmp_path) == ["out.jsonl"]
    assert len(read_lines(tmp_path / "out.jsonl")) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("out.xlsx", "no known format"), ("no/out.csv", "does not exist"), (f"{'x' * 240}.csv", "cannot be written")],
)
def test_refuses_a_path_that_cannot_be_written(tmp_path, name, message):
    with pytest.raises(ConfigurationError, match=message):
        write_results([], tmp_path / name)


def test_leaves_nothing_behind_when_the_results_fail(tmp_path):
    def iter_results():
        yield build_result("a")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_results(iter_results(), tmp_path / "out.csv")
    assert list_names(tmp_path) == []


def test_leaves_nothing_behind_without_commit(tmp_path):
    with ResultWriter(tmp_path / "out.jsonl") as writer:
        writer.write(build_result("a"))
    assert list_names(tmp_path) == []


def test_does_not_replace_a_file_that_came_while_it_wrote(tmp_path):
    def iter_results():
        yield build_result("a")
        (tmp_path / "out.jsonl").write_text("mine")

    with pytest.raises(ConfigurationError, match="exists already"):
        write_results(iter_results(), tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_refuses_a_column_of_the_input_that_it_would_replace(tmp_path):
    with pytest.raises(ConfigurationError, match="column 'output' already"):
        write_results([build_result("a", context={"output": "x"})], tmp_path / "out.jsonl")
    write_results([build_result("a", context={"output": "x"})], tmp_path / "out.jsonl", prefix="second_")
    (row,) = read_lines(tmp_path / "out.jsonl")
    assert (row["output"], row["second_output"]) == ("x", "yes")


def test_keeps_the_id_of_the_input(tmp_path):
    write_results([build_result("row_1", context={"id": 7})], tmp_path / "out.jsonl")
    assert read_lines(tmp_path / "out.jsonl")[0]["id"] == 7


def test_writes_typed_outputs_as_json_and_others_as_their_repr(tmp_path):
    @attrs.frozen
    class Person:
        name: str

    write_results([build_result("a", Person("Ada")), build_result("b", object)], tmp_path / "out.jsonl")
    assert [row["output"] for row in read_lines(tmp_path / "out.jsonl")] == [{"name": "Ada"}, "<class 'object'>"]


def test_writes_half_a_character_as_a_replacement(tmp_path):
    write_results([build_result("a", "cut \ud83d")], tmp_path / "out.csv")
    assert read_table(tmp_path / "out.csv")[0]["output"] == "cut \ufffd"


def test_reads_what_it_wrote(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,text\n1,Hello\n2,Bye\n3\n")
    results = stream_batch(read_csv(path, template="Translate {text}", id="id"), config=CONFIG, ordered=True)
    write_results(results, tmp_path / "out.jsonl")
    again = run_batch(read_jsonl(tmp_path / "out.jsonl", prompt="output", id="id"), config=CONFIG)
    assert again.outputs(with_ids=True) == [("1", "echo: echo: Translate Hello"), ("2", "echo: echo: Translate Bye")]
    assert [row["id"] for row in read_lines(tmp_path / "out.failed.jsonl")] == ["row_3"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.failed.jsonl"])
def test_refuses_a_path_to_which_another_run_is_writing(tmp_path, name):
    with (
        ResultWriter(tmp_path / "out.jsonl"),
        pytest.raises(ConfigurationError, match=f"{name}' is being written by another run") as caught,
    ):
        ResultWriter(tmp_path / name)
    assert caught.value.hint == "wait for its end, or pass another path"


def test_the_run_that_was_first_writes_its_file_whole(tmp_path):
    with ResultWriter(tmp_path / "out.csv") as writer:
        writer.write(build_result("a"))
        with pytest.raises(ConfigurationError, match="being written"):
            write_results([build_result("b")], tmp_path / "out.csv", overwrite=True)
        writer.commit()
    assert [row["id"] for row in read_table(tmp_path / "out.csv")] == ["a"]
    assert list_names(tmp_path) == ["out.csv"]


def test_uses_the_temporary_file_that_a_killed_run_left(tmp_path):
    (tmp_path / ".out.csv.part").write_text("half a li")
    (tmp_path / ".out.csv.csv").write_text("half a ta")
    write_results([build_result("a")], tmp_path / "out.csv")
    assert [row["id"] for row in read_table(tmp_path / "out.csv")] == ["a"]
    assert list_names(tmp_path) == ["out.csv"]


def test_a_finished_file_is_not_taken_for_one_that_is_being_written(tmp_path):
    with TableWriter(tmp_path / "out.jsonl") as first:
        first.write({"id": "a"})
        first.commit()
        with TableWriter(tmp_path / "out.jsonl", overwrite=True) as second:
            second.write({"id": "b"})
            second.commit()
    assert [row["id"] for row in read_lines(tmp_path / "out.jsonl")] == ["b"]
