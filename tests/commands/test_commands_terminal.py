import io
import json
import sys
from contextlib import redirect_stdout

import pytest

from control_characters import EVIL, SHOWN
from pollux_sync.commands import (
    escape_controls,
    escape_line,
    flush_output,
    write_error,
    write_json,
    write_line,
    write_remark,
    write_table,
    write_text,
)


class Stream(io.TextIOWrapper):
    """A standard stream that encodes."""

    def __init__(self, encoding):
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n")

    def getvalue(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


class GoneStream(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError


@pytest.mark.parametrize("text", ["", "plain", "two\nlines\tand a tab", "é 世界 🐋", "\u200f\u05d0"])
def test_text_without_control_characters_stays(text):
    assert escape_controls(text) == text


def test_each_control_character_is_escaped():
    assert escape_controls(EVIL) == SHOWN
    for code in [*range(9), *range(11, 32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]:
        assert escape_controls(chr(code)).isascii()


def test_a_line_stays_one_line():
    assert escape_line(f"{EVIL}\none\ttwo") == rf"{SHOWN}\none\ttwo"


@pytest.mark.parametrize("write", [write_line, write_remark])
def test_line_is_written_without_control_characters(write, capsys):
    write(f"{EVIL}\nerror: none")
    written = capsys.readouterr()
    assert written.out + written.err == f"{SHOWN}\\nerror: none\n"


def test_errors_have_several_lines(capsys):
    write_error(f"error: {EVIL}\n  hint: look again")
    assert capsys.readouterr().err == f"error: {SHOWN}\n  hint: look again\n"


def test_remarks_come_after_the_results_before_them(monkeypatch):
    both = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(both, encoding="utf-8", newline="\n"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(both, encoding="utf-8", newline="\n", line_buffering=True))
    write_line("result")
    write_remark("remark")
    assert both.getvalue() == b"result\nremark\n"


def test_table_has_aligned_columns(capsys):
    write_table([("name", "n", "note"), ("a longer one", "1", "")], indent="  ")
    assert capsys.readouterr().out == "  name          n  note\n  a longer one  1\n"


def test_cell_of_a_table_stays_in_its_row(capsys):
    write_table(iter([("two\nlines", "a\x1b[2J"), ("b", "c")]))
    assert capsys.readouterr().out == "two\\nlines  a\\x1b[2J\nb           c\n"


def test_table_without_rows_writes_nothing(capsys):
    write_table([])
    assert capsys.readouterr().out == ""


def test_json_keeps_the_characters_that_stdout_can_encode(capsys):
    write_json({"name": "café"})
    assert capsys.readouterr().out == '{\n  "name": "café"\n}\n'


def test_json_without_an_indent_is_one_line(capsys):
    write_json({"name": "two\nlines", "at": [1]}, indent=None)
    assert capsys.readouterr().out == '{"name": "two\\nlines", "at": [1]}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_has_no_control_characters_and_means_the_same(encoding):
    with redirect_stdout(Stream(encoding)) as stdout:
        write_json(f"café {EVIL}")
    written = stdout.getvalue()
    assert escape_controls(written) == written
    assert json.loads(written) == f"café {EVIL}"


def test_lone_surrogate_is_written_as_an_escape(capsys):
    write_line("a\ud800")
    write_json("a\ud800")
    assert capsys.readouterr().out == 'a\\ud800\n"a\\ud800"\n'


def test_text_is_written_as_it_is(capsys):
    write_text(sys.stdout, f"{EVIL}\n and no line end")
    assert capsys.readouterr().out == f"{EVIL}\n and no line end"


def test_characters_that_a_stream_cannot_encode_are_written_as_escapes():
    stream = Stream("ascii")
    write_text(stream, "café")
    assert stream.getvalue() == "caf\\xe9"


def test_stream_without_an_encoding_is_written_to():
    with redirect_stdout(io.StringIO()) as stdout:
        write_line("caf\u00e9 \ud800")
    assert stdout.getvalue() == "caf\u00e9 \\ud800\n"


def test_closed_streams_take_everything(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    write_line("nothing")
    write_json("nothing")
    write_remark("nothing")
    flush_output()


def test_result_is_not_lost_silently_when_the_reader_has_gone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", GoneStream())
    with pytest.raises(BrokenPipeError):
        write_line("result")


def test_remark_ends_no_command_when_the_reader_has_gone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", GoneStream())
    monkeypatch.setattr(sys, "stderr", GoneStream())
    write_remark("remark")
