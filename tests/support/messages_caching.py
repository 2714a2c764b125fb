"""A handler that caches and bills as the Messages API does, for tests."""

import json
import threading

import attrs

from messages_api import response, text
from pollux_sync.testing.server import Answer

#: The prices of a token that is written to a cache, by its time to live, and of one that is read: times that of input.
WRITE_PRICES, READ_PRICE = {"5m": 1.25, "1h": 2.0}, 0.1
_CHARACTERS_A_TOKEN = 4
#: Long enough for requests that are under way, and not an expectation.
MOMENT_S = 0.3


class CachingMessages:
    """Answers every prompt by its text. An entry exists once the first answer with its prefix has begun.

    That answer begins with the next request, or after a moment: requests that do not wait for it find no entry.
    ``refuse`` returns the answer to a prompt that fails, None for one that is answered. ``price`` is what all input has
    cost, in tokens of input; ``n_writes`` counts the entries that were written.
    """

    def __init__(self, refuse=lambda prompt: None):
        self._arrival = threading.Condition()
        self._n_arrived = 0
        self._refuse = refuse
        self._entries = set()
        self.price = 0.0
        self.n_writes = 0

    def __call__(self, request):
        body = request.json()
        prompt = body["messages"][-1]["content"][-1]["text"]
        refusal = self._refuse(prompt)
        if refusal is not None:
            return refusal
        prefix, rest, ttl = split_at_breakpoint(body)
        with self._arrival:
            self._n_arrived += 1
            self._arrival.notify_all()
            is_cached = prefix in self._entries
        return CachingAnswer(self, prompt, prefix, len(prefix), len(rest), ttl, is_cached)

    def begin_answer(self, answer):
        """Store the entry of an answer that begins now, and bill it."""
        with self._arrival:
            n_before = self._n_arrived
            if answer.prefix and not answer.is_cached:
                self._arrival.wait_for(lambda: self._n_arrived > n_before, timeout=MOMENT_S)
            self._entries.add(answer.prefix)
            self.n_writes += bool(answer.usage["cache_creation_input_tokens"])
            prices = {
                "input_tokens": 1.0,
                "cache_creation_input_tokens": WRITE_PRICES[answer.ttl],
                "cache_read_input_tokens": READ_PRICE,
            }
            self.price += sum(answer.usage[name] * price for name, price in prices.items())


@attrs.frozen
class CachingAnswer:
    """An answer whose prefix was or was not cached when its request arrived."""

    service: CachingMessages
    prompt: str
    prefix: str
    n_prefix: int
    n_rest: int
    ttl: str
    is_cached: bool

    @property
    def usage(self):
        n_prefix, n_rest = self.n_prefix // _CHARACTERS_A_TOKEN, self.n_rest // _CHARACTERS_A_TOKEN
        return {
            "input_tokens": n_rest,
            "cache_creation_input_tokens": 0 if self.is_cached else n_prefix,
            "cache_read_input_tokens": n_prefix if self.is_cached else 0,
            "output_tokens": 5,
        }

    def play(self, wire):
        self.service.begin_answer(self)
        Answer(json=response(text(self.prompt.upper()), usage=self.usage)).play(wire)


def split_at_breakpoint(body):
    """Return the text of a request up to its last breakpoint, the text after it, and the breakpoint's time to live."""
    system = body.get("system", [])
    blocks = [*body.get("tools", []), *([text(system)] if isinstance(system, str) else system)]
    blocks += [block for message in body["messages"] for block in message["content"]]
    controls = [block.pop("cache_control", None) for block in blocks]
    # That of the request as a whole is at its end.
    controls[-1] = body.get("cache_control") or controls[-1]
    marked = [number for number, control in enumerate(controls) if control]
    end = marked[-1] + 1 if marked else 0
    ttl = controls[end - 1].get("ttl", "5m") if marked else "5m"
    return "".join(map(json.dumps, blocks[:end])), "".join(map(json.dumps, blocks[end:])), ttl
