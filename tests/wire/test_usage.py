import pytest

from pollux_sync.data.reply import Usage
from pollux_sync.wire.usage import read_usage

COUNTED = {"prompt_tokens": 331, "completion_tokens": 11}


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        (
            {"input_tokens": 30, "output_tokens": 4, "total_tokens": 34},
            {"input_tokens": 30, "output_tokens": 4, "total_tokens": 34},
        ),
        ({"prompt_eval_count": 30, "eval_count": 4}, {"input_tokens": 30, "output_tokens": 4}),
        ({"cached_tokens": 7}, {"cached_tokens": 7}),
        ({"num_cached_tokens": 7}, {"cached_tokens": 7}),
        ({"prompt_cache_hit_tokens": 7, "prompt_cache_miss_tokens": 23}, {"cached_tokens": 7}),
        ({"input_tokens_details": {"cached_tokens": 7}}, {"cached_tokens": 7}),
        ({"reasoning_tokens": 7}, {"reasoning_tokens": 7}),
        ({"output_tokens_details": {"reasoning_tokens": 7}}, {"reasoning_tokens": 7}),
    ],
)
def test_reads_every_spelling_of_a_count(counts, usage):
    assert read_usage(counts).to_dict() == usage


@pytest.mark.parametrize("value", [-1, True, False, "5", None, 1.5, 10**40, [5], {"n": 5}])
def test_takes_what_is_no_count_for_unknown(value):
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
    details = {"prompt_tokens_details": {"cached_tokens": value}, "completion_tokens_details": value}
    assert read_usage(dict.fromkeys(names, value) | details) == Usage()


@pytest.mark.parametrize("usage", [None, [], "x", 5, {}, {"total_tokens": {}}])
def test_takes_a_missing_usage_for_unknown(usage):
    assert read_usage(usage) == Usage()


def test_reads_another_spelling_where_the_first_is_no_count():
    assert read_usage({"prompt_tokens": None, "input_tokens": 3}) == Usage(input_tokens=3)


@pytest.mark.parametrize(
    ("more", "output"),
    [
        ({"total_tokens": 674, "completion_tokens_details": {"reasoning_tokens": 332}}, 343),
        ({"total_tokens": 674}, 343),
        ({"completion_tokens_details": {"reasoning_tokens": 332}}, 343),
        ({"total_tokens": 342, "completion_tokens_details": {"reasoning_tokens": 5}}, 11),
        ({"total_tokens": 7}, 11),
    ],
)
def test_counts_thoughts_as_output(more, output):
    assert read_usage(COUNTED | more).output_tokens == output


def test_counts_as_input_what_came_from_a_cache_or_went_to_one():
    usage = read_usage({"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20})
    assert usage == Usage(input_tokens=125, cached_tokens=100, cache_write_tokens=20)
