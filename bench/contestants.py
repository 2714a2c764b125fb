"""The peers as code: each adapter asks one prompt, or many. Runs inside the peer's own environment.

As ``python -m contestants ADAPTER BASE_URL THREADS`` it does the tasks that come as JSON lines on stdin, and
tells of each what it cost. It imports next to nothing by itself: a one-shot script pays for its imports.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in typing, which a one-shot script would pay for
if TYPE_CHECKING:
    from collections.abc import Iterator

EXPECTED = "The lighthouse was built"
MODEL = "m"
KEY = "made-up"


class Adapter:
    """How a user of the package would write it; the client is made once.

    ``version`` ends a base url, except for clients that write the version of their API themselves.
    """

    version = "/v1"

    def __init__(self, base_url: str, threads: int) -> None:
        self.base_url = base_url + self.version
        self.threads = threads
        self.pool = None
        self.open()

    def open(self) -> None:
        """Import the package and make its client."""

    def one(self, prompt: str) -> str:
        raise NotImplementedError

    def many(self, prompts: list[str]) -> list[str]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(self.one, prompts))

    def events(self, prompt: str) -> Iterator[str]:
        """The text of each event of a streamed answer, "" for one that has none."""
        raise NotImplementedError

    def messages(self, prompt: str) -> list[dict]:
        return [{"role": "user", "content": prompt}]


class Ours(Adapter):
    provider = ""

    def open(self) -> None:
        from pollux_sync import Config, run, run_many

        self.run, self.run_many = run, run_many
        self.stream = None  # imported with the first one: a one-shot script does not stream
        self.config = Config(provider=self.provider, model=MODEL, request_concurrency=self.threads, **self.reach())

    def reach(self) -> dict:
        return {"api_key": KEY, "base_url": self.base_url}

    def one(self, prompt: str) -> str:
        return self.run(prompt, config=self.config)["answers"][0]

    def many(self, prompts: list[str]) -> list[str]:
        self.kept = self.run_many(prompts, config=self.config)  # with usage and diagnostics, as users hold it
        return self.kept["answers"]

    def events(self, prompt: str) -> Iterator[str]:
        if self.stream is None:
            from pollux_sync import stream

            self.stream = stream
        for event in self.stream(prompt, config=self.config):
            yield event.text if event.type == "text_delta" else ""


class OursOpenai(Ours):
    provider = "openai"


class OursClient(OursOpenai):
    """With a client of the user's, which carries every call."""

    def reach(self) -> dict:
        from openai import OpenAI

        return {"client": OpenAI(base_url=self.base_url, api_key=KEY)}


class OursLocal(Ours):
    provider = "local"


class OursOpenrouter(Ours):
    provider = "openrouter"


class OursAnthropic(Ours):
    provider = "anthropic"
    version = ""


class OursGemini(Ours):
    provider = "gemini"
    version = ""


class OpenaiTyped(Adapter):
    def open(self) -> None:
        from openai import OpenAI

        self.client = OpenAI(base_url=self.base_url, api_key=KEY, max_retries=0)

    def one(self, prompt: str) -> str:
        return self.client.responses.create(model=MODEL, input=prompt).output_text

    def events(self, prompt: str) -> Iterator[str]:
        for event in self.client.responses.create(model=MODEL, input=prompt, stream=True):
            yield event.delta if event.type == "response.output_text.delta" else ""


class OpenaiRaw(OpenaiTyped):
    def one(self, prompt: str) -> str:
        answer = self.client.post("/responses", body={"model": MODEL, "input": prompt}, cast_to=object)
        return answer["output"][0]["content"][0]["text"]


class OpenaiChat(OpenaiTyped):
    def one(self, prompt: str) -> str:
        answer = self.client.chat.completions.create(model=MODEL, messages=self.messages(prompt))
        return answer.choices[0].message.content

    def events(self, prompt: str) -> Iterator[str]:
        for event in self.client.chat.completions.create(
            model=MODEL, messages=self.messages(prompt), stream=True, stream_options={"include_usage": True}
        ):
            yield (event.choices[0].delta.content if event.choices else "") or ""


class Anthropic(Adapter):
    version = ""

    def open(self) -> None:
        from anthropic import Anthropic

        self.client = Anthropic(base_url=self.base_url, api_key=KEY, max_retries=0)

    def one(self, prompt: str) -> str:
        answer = self.client.messages.create(model=MODEL, max_tokens=1024, messages=self.messages(prompt))
        return answer.content[0].text

    def events(self, prompt: str) -> Iterator[str]:
        for event in self.client.messages.create(
            model=MODEL, max_tokens=1024, messages=self.messages(prompt), stream=True
        ):
            yield event.delta.text if event.type == "content_block_delta" else ""


class GoogleGenai(Adapter):
    version = ""

    def open(self) -> None:
        from google.genai import Client

        self.client = Client(api_key=KEY, http_options={"base_url": self.base_url})

    def one(self, prompt: str) -> str:
        return self.client.models.generate_content(model=MODEL, contents=prompt).text

    def events(self, prompt: str) -> Iterator[str]:
        for event in self.client.models.generate_content_stream(model=MODEL, contents=prompt):
            yield event.text or ""


class Requests(Adapter):
    def open(self) -> None:
        import requests

        self.session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=max(10, self.threads))
        self.session.mount("http://", adapter)
        self.url = f"{self.base_url}/chat/completions"
        self.headers = {"Authorization": f"Bearer {KEY}"}

    def one(self, prompt: str) -> str:
        body = {"model": MODEL, "messages": self.messages(prompt)}
        answer = self.session.post(self.url, json=body, headers=self.headers, timeout=600).json()
        return answer["choices"][0]["message"]["content"]


class PolluxAi(Adapter):
    def open(self) -> None:
        import asyncio
        import os

        os.environ["OPENAI_BASE_URL"] = self.base_url
        import pollux

        self.asyncio, self.pollux = asyncio, pollux
        self.config = pollux.Config(provider="openai", model=MODEL, api_key=KEY, request_concurrency=self.threads)

    def one(self, prompt: str) -> str:
        return self.asyncio.run(self.pollux.run(prompt, config=self.config)).text

    def many(self, prompts: list[str]) -> list[str]:
        self.kept = self.asyncio.run(self.pollux.run_many(prompts, config=self.config))
        return self.kept.answers


class Llm(Adapter):
    def open(self) -> None:
        from llm.default_plugins.openai_models import Chat

        self.model = Chat(MODEL, key=KEY, model_name=MODEL, api_base=self.base_url)

    def one(self, prompt: str) -> str:
        return self.model.prompt(prompt, stream=False).text()


class AnyLlm(Adapter):
    def open(self) -> None:
        from any_llm import AnyLLM

        self.client = AnyLLM.create("openai", api_key=KEY, api_base=self.base_url)

    def one(self, prompt: str) -> str:
        return self.client.completion(model=MODEL, messages=self.messages(prompt)).choices[0].message.content


class AnyLlmFunction(Adapter):
    def open(self) -> None:
        from any_llm import completion

        self.completion = completion

    def one(self, prompt: str) -> str:
        answer = self.completion(
            model=MODEL, provider="openai", messages=self.messages(prompt), api_key=KEY, api_base=self.base_url
        )
        return answer.choices[0].message.content


class Litellm(Adapter):
    def open(self) -> None:
        import os

        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no download at import
        import litellm

        litellm.telemetry = False
        self.completion = litellm.completion

    def one(self, prompt: str) -> str:
        answer = self.completion(
            model=f"openai/{MODEL}", messages=self.messages(prompt), api_key=KEY, api_base=self.base_url, max_retries=0
        )
        return answer.choices[0].message.content


def opened(name: str, base_url: str, threads: int) -> Adapter:
    return globals()[name](base_url, threads)


def once(name: str, base_url: str) -> None:
    """A whole script: import, client, one question, its answer."""
    _check([opened(name, base_url, 6).one("Who built the lighthouse?")])


def _check(answers: list[str]) -> None:
    for answer in answers:
        if not answer.startswith(EXPECTED):
            raise ValueError(f"an answer was {answer[:80]!r}")


def _prompts(count: int) -> list[str]:
    return [f"Question {number}: who built the lighthouse, and when was it painted?" for number in range(count)]


def loop(adapter: Adapter, prompts: list[str]) -> list[str]:
    return [adapter.one(prompt) for prompt in prompts]


def many(adapter: Adapter, prompts: list[str]) -> list[str]:
    return adapter.many(prompts)


def spent(task: str, adapter: Adapter, count: int) -> dict[str, float]:
    """What ``count`` calls cost this process: CPU seconds, user and system, and seconds on the clock."""
    import gc
    import time

    prompts = _prompts(count)
    gc.collect()
    started, cpu_started = time.monotonic(), _cpu_s()
    answers = {"loop": loop, "many": many}[task](adapter, prompts)
    cost = {"cpu_s": _cpu_s() - cpu_started, "wall_s": time.monotonic() - started}
    _check(answers)
    return cost


def streaming(adapter: Adapter, count: int) -> dict[str, float]:
    """What ``count`` streams cost: CPU seconds a token, and the median of the seconds until the first event."""
    import gc
    import time
    from statistics import median

    waits, texts = [], []
    gc.collect()
    cpu_started = _cpu_s()
    for prompt in _prompts(count):
        started = time.monotonic()
        events = adapter.events(prompt)
        pieces = [next(events)]
        waits.append(time.monotonic() - started)
        pieces.extend(events)
        texts.append([piece for piece in pieces if piece])
    cpu_s = _cpu_s() - cpu_started
    _check(["".join(pieces) for pieces in texts])
    return {"cpu_s": cpu_s / sum(map(len, texts)), "first_s": median(waits)}


def memory(adapter: Adapter, count: int) -> dict[str, float]:
    """KiB that ``count`` prompts take at the peak and keep at the end, over what the process had before."""
    import gc

    _check(many(adapter, _prompts(adapter.threads * 4)))
    prompts = _prompts(count)
    gc.collect()
    before = _kib("VmRSS")
    _forget_peak()
    answers = many(adapter, prompts)
    peak, kept = _kib("VmHWM"), _kib("VmRSS")
    _check(answers)
    return {"peak_kib": peak - before, "kept_kib": kept - before, "start_kib": before}


def hashing(path: str) -> dict[str, float]:
    """What `Source.content_sha256` of a file costs, and the KiB it takes at the peak."""
    import time

    from pollux_sync import Source

    source = Source.from_file(path)
    before = _kib("VmRSS")
    _forget_peak()
    started, cpu_started = time.monotonic(), _cpu_s()
    source.content_sha256()
    cost = {"cpu_s": _cpu_s() - cpu_started, "wall_s": time.monotonic() - started}
    return {**cost, "peak_kib": _kib("VmHWM") - before, "size_bytes": source.size_bytes}


def _cpu_s() -> float:
    from resource import RUSAGE_SELF, getrusage

    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _kib(field: str) -> float:
    """A figure of /proc/self/status, which unlike ru_maxrss knows nothing of the parent's memory."""
    from pathlib import Path

    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field))


def _forget_peak() -> None:
    from pathlib import Path

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main(name: str, base_url: str, threads: str) -> None:
    import json

    adapter = None
    for line in sys.stdin:
        task = json.loads(line)
        try:
            if task["task"] == "hashing":
                answer = hashing(task["path"])
            else:
                adapter = adapter or opened(name, base_url, int(threads))
                count = task["count"]
                kinds = {"memory": memory, "streaming": streaming}
                ask = kinds.get(task["task"])
                answer = ask(adapter, count) if ask else spent(task["task"], adapter, count)
        except Exception as error:  # noqa: BLE001 - a peer may fail in any way; the table says how
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
