"""Bodies within limits."""

import json

import pytest

from pollux_sync.wire.bodies import LARGE_BYTES, MAX_VALUES, check_value_count, read_body
from pollux_sync.wire.faults import ReplyError

MANY = MAX_VALUES // 2 + 1000


@pytest.mark.parametrize(
    "body",
    [b"[]," * MANY, b"{}," * MANY, b"1.5," * 2 * MANY, b'{"a": 0},' * MANY, b'"\\",\\\\",' * 2 * MANY],
    ids=["lists", "objects", "numbers", "fields", "texts"],
)
def test_refuses_more_values_than_memory_should_hold(body):
    with pytest.raises(ReplyError, match=f"more than {MAX_VALUES} values"):
        read_body([b"[" + body + b"0]" + b" " * LARGE_BYTES])


def test_takes_a_million_numbers():
    content = json.dumps([n / 3 for n in range(1_000_000)]).encode()
    assert len(content) > LARGE_BYTES
    assert read_body([content]) == content


@pytest.mark.parametrize("text", ["QUJD" * 15_000_000, '[{"a": "\\\\"}, ' * 1_500_000], ids=["base64", "JSON as text"])
def test_takes_a_large_text_whatever_it_holds(text):
    check_value_count(json.dumps({"data": text}).encode())


def test_counts_no_values_of_a_small_body():
    content = b"[" + b"0," * (LARGE_BYTES // 2 - 2) + b"0]"
    assert read_body([content]) == content


def test_takes_a_text_that_is_cut_off():
    check_value_count(b'["' + b"[,{" * 1_000_000 + b'\\"' * 1_000_000)
