"""The first item of a shared prefix goes ahead."""

import threading
from contextlib import suppress

import pytest

from bulk_service import answer, echo, read_prompt
from pollux_batch import BatchItem, Limits
from pollux_sync import Options, Source
from pollux_sync.testing.server import Answer

SYSTEM = Options(system_instruction="You know everything about lighthouses.")
PROMPTS = [f"p{number}" for number in range(50)]
ALL_AT_ONCE = Limits(adaptive=False)


class Cold:
    """Counts the calls that come before the first one is answered, as a provider's cache would miss them."""

    def __init__(self, first=echo, wait_s=0.2):
        self._lock = threading.Lock()
        self._has_another = threading.Event()
        self._wait_s = wait_s
        self._first = first
        self._is_warm = False
        self.n_cold = 0

    def __call__(self, request):
        with self._lock:
            self.n_cold += not self._is_warm
            is_first = self.n_cold == 1 and not self._is_warm
        if not is_first:
            self._has_another.set()
            return echo(request)
        # Long enough for others to come, were they sent.
        self._has_another.wait(self._wait_s)
        with self._lock:
            self._is_warm = True
        return self._first(request)


def test_makes_one_cold_call(ask, server):
    server.handler = cold = Cold()
    result = ask(PROMPTS, options=SYSTEM, workers=16, limits=ALL_AT_ONCE, warm_prefix=True)
    assert (result.succeeded, cold.n_cold) == (50, 1)
    assert result.outputs() == [f"re: {prompt}" for prompt in PROMPTS]


def test_makes_as_many_as_there_are_workers_without_it(ask, server):
    server.handler = cold = Cold(wait_s=10.0)
    result = ask(PROMPTS, options=SYSTEM, workers=16, limits=ALL_AT_ONCE)
    assert (result.succeeded, cold.n_cold > 1) == (50, True)


class PrefixCache:
    """Caches the system text of each answered request, as a provider does, and reports what it read from there.

    Cold calls are answered when 16 have come, or after ``wait_s``.
    """

    def __init__(self, wait_s):
        self._lock = threading.Lock()
        self._together = threading.Barrier(16)
        self._wait_s = wait_s
        self._known = set()
        self.n_cold = 0

    def __call__(self, request):
        prefix = request.json()["messages"][0]["content"]
        with self._lock:
            is_warm = prefix in self._known
            self.n_cold += not is_warm
        if not is_warm:
            with suppress(threading.BrokenBarrierError):
                self._together.wait(self._wait_s)
            with self._lock:
                self._known.add(prefix)
        cached = {"prompt_tokens_details": {"cached_tokens": len(prefix) if is_warm else 0}}
        return answer(f"re: {read_prompt(request)}", prompt_tokens=len(prefix) + 3, **cached)


@pytest.mark.parametrize(
    ("is_warmed", "n_cold", "wait_s"), [(True, 1, 0.3), (False, 16, 10.0)], ids=["warmed", "at once"]
)
def test_reads_a_long_prefix_from_the_cache_for_all_but_cold_calls(ask, server, is_warmed, n_cold, wait_s):
    prefix = "You know everything about lighthouses. " * 1_000
    server.handler = cache = PrefixCache(wait_s)
    options = Options(system_instruction=prefix)
    prompts = [f"p{number}" for number in range(500)]
    result = ask(prompts, options=options, workers=16, limits=ALL_AT_ONCE, warm_prefix=is_warmed)
    assert (result.succeeded, cache.n_cold) == (500, n_cold)
    assert result.total_cached_tokens == (500 - n_cold) * len(prefix)


def test_goes_on_after_a_first_item_that_fails(ask, server):
    server.handler = Cold(lambda request: Answer(status=400, json={}))
    result = ask(PROMPTS, options=SYSTEM, workers=16, warm_prefix=True)
    assert (result.succeeded, result.failed) == (49, 1)


def test_holds_nothing_back_that_shares_nothing(ask, server):
    server.handler = cold = Cold(wait_s=10.0)
    assert ask(PROMPTS, workers=16, limits=ALL_AT_ONCE, warm_prefix=True).succeeded == 50
    assert cold.n_cold > 1


def test_warms_each_prefix_by_itself(ask, server):
    seen = []
    server.handler = lambda request: seen.append(read_prompt(request)) or echo(request)
    letters = [Source.from_text(text) for text in ("Dear Ada", "Dear Ben")]
    items = [
        BatchItem(f"{name}{n}", sources=[letter]) for n in range(10) for name, letter in zip("ab", letters, strict=True)
    ]
    assert ask(items, workers=8, warm_prefix=True).succeeded == 20
    firsts = {name: next(prompt[-2:] for prompt in seen if prompt[-2] == name) for name in "ab"}
    assert firsts == {"a": "a0", "b": "b0"}


@pytest.mark.parametrize("n_items", [1, 2])
def test_answers_few_items_too(ask, n_items):
    assert ask(PROMPTS[:n_items], options=SYSTEM, warm_prefix=True).succeeded == n_items
