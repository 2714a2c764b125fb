"""The peers as code: each adapter asks one prompt, or many. Runs inside the peer's own environment.

``python -m contestants ADAPTER BASE_URL THREADS`` runs the tasks that arrive as JSON lines on stdin, and
prints the cost of each. It imports almost nothing at the top, because a one-shot script pays for its imports.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in typing, which a one-shot script would pay for
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

EXPECTED = "The lighthouse was built"
MODEL = "m"
KEY = "made-up"
PDF, PNG = "application/pdf", "image/png"


class Adapter:
    """The code that a user of the package would write. The client is created once.

    ``version`` is the end of the base URL; it is empty for clients that add the version of their API themselves.
    """

    version = "/v1"

    def __init__(self, base_url: str, threads: int) -> None:
        self.base_url = base_url + self.version
        self.threads = threads
        self.pool = None
        self.open()

    def open(self) -> None:
        """Import the package and create its client."""

    def ask(self, prompt: str) -> str:
        raise NotImplementedError

    def ask_many(self, prompts: list[str]) -> list[str]:
        return self.ask_in_pool(self.ask, prompts)

    def generate(self, prompts: Iterable[str]) -> Iterable[str]:
        """Yield the answers to prompts without a server."""
        raise NotImplementedError

    def stream_texts(self, prompt: str) -> Iterator[str]:
        """Yield the text of each event of a streamed answer, "" for an event without text."""
        raise NotImplementedError

    def ask_stored(self, path: str, prompts: list[str]) -> list[str]:
        """Store a PDF, ask about it, delete it."""
        raise NotImplementedError

    def ask_inline(self, path: str, prompts: list[str]) -> list[str]:
        """Ask about an image that each request holds."""
        raise NotImplementedError

    def ask_in_pool(self, ask: Callable[[str], str], prompts: list[str]) -> list[str]:
        if len(prompts) == 1:
            return [ask(prompts[0])]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(ask, prompts))

    def build_messages(self, prompt: str) -> list[dict]:
        return [{"role": "user", "content": prompt}]


class Ours(Adapter):
    provider = ""

    def open(self) -> None:
        from pollux_sync import run, run_many

        self.run, self.run_many = run, run_many
        self.stream = None  # imported with the first one: a one-shot script does not stream
        self.config = self.build_config()
        self.configs = {"auto": self.config}  # one object, as a user has: equal ones are compared field by field

    def build_config(self, **fields: object) -> object:
        from pollux_sync import Config

        fields |= {"provider": self.provider, "model": MODEL, "request_concurrency": self.threads}
        return Config(**fields, **self.build_fields())

    def build_fields(self) -> dict:
        return {"api_key": KEY, "base_url": self.base_url}

    def ask(self, prompt: str) -> str:
        return self.run(prompt, config=self.config)["answers"][0]

    def ask_many(self, prompts: list[str]) -> list[str]:
        self.result = self.run_many(prompts, config=self.config)  # with usage and diagnostics, as users hold it
        return self.result["answers"]

    def ask_stored(self, path: str, prompts: list[str]) -> list[str]:
        return self.ask_about(path, prompts, "always")

    def ask_inline(self, path: str, prompts: list[str]) -> list[str]:
        # With "auto", a file for many calls would be stored.
        return self.ask_about(path, prompts, "auto" if len(prompts) == 1 else "never")

    def ask_about(self, path: str, prompts: list[str], uploads: str) -> list[str]:
        from pollux_sync import Source

        if uploads not in self.configs:
            self.configs[uploads] = self.build_config(uploads=uploads)
        source, config = Source.from_file(path), self.configs[uploads]
        if len(prompts) == 1:
            return self.run(prompts[0], source=source, config=config)["answers"]
        return self.run_many(prompts, sources=[source], config=config)["answers"]

    def stream_texts(self, prompt: str) -> Iterator[str]:
        if self.stream is None:
            from pollux_sync import stream

            self.stream = stream
        for event in self.stream(prompt, config=self.config):
            yield event.text if event.type == "text_delta" else ""


class OursOpenai(Ours):
    provider = "openai"


class OursClient(OursOpenai):
    """pollux-openai with a client that the user passes and that carries every call."""

    def build_fields(self) -> dict:
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

    def ask(self, prompt: str) -> str:
        return self.client.responses.create(model=MODEL, input=prompt).output_text

    def ask_stored(self, path: str, prompts: list[str]) -> list[str]:
        from pathlib import Path

        stored = self.client.files.create(file=Path(path), purpose="user_data")
        part = {"type": "input_file", "file_id": stored.id}
        answers = self.ask_in_pool(lambda prompt: self.ask_about(part, prompt), prompts)
        self.client.files.delete(stored.id)
        return answers

    def ask_inline(self, path: str, prompts: list[str]) -> list[str]:
        def ask(prompt: str) -> str:
            return self.ask_about({"type": "input_image", "image_url": build_data_url(path)}, prompt)

        return self.ask_in_pool(ask, prompts)

    def ask_about(self, part: dict, prompt: str) -> str:
        content = [part, {"type": "input_text", "text": prompt}]
        return self.client.responses.create(model=MODEL, input=[{"role": "user", "content": content}]).output_text

    def stream_texts(self, prompt: str) -> Iterator[str]:
        for event in self.client.responses.create(model=MODEL, input=prompt, stream=True):
            yield event.delta if event.type == "response.output_text.delta" else ""


class OpenaiRaw(OpenaiTyped):
    def ask(self, prompt: str) -> str:
        answer = self.client.post("/responses", body={"model": MODEL, "input": prompt}, cast_to=object)
        return answer["output"][0]["content"][0]["text"]


class OpenaiChat(OpenaiTyped):
    def ask(self, prompt: str) -> str:
        answer = self.client.chat.completions.create(model=MODEL, messages=self.build_messages(prompt))
        return answer.choices[0].message.content

    def ask_inline(self, path: str, prompts: list[str]) -> list[str]:
        def ask(prompt: str) -> str:
            image = {"type": "image_url", "image_url": {"url": build_data_url(path)}}
            content = [{"type": "text", "text": prompt}, image]
            answer = self.client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
            return answer.choices[0].message.content

        return self.ask_in_pool(ask, prompts)

    def stream_texts(self, prompt: str) -> Iterator[str]:
        for event in self.client.chat.completions.create(
            model=MODEL, messages=self.build_messages(prompt), stream=True, stream_options={"include_usage": True}
        ):
            yield (event.choices[0].delta.content if event.choices else "") or ""


class Anthropic(Adapter):
    version = ""

    def open(self) -> None:
        from anthropic import Anthropic

        self.client = Anthropic(base_url=self.base_url, api_key=KEY, max_retries=0)

    def ask(self, prompt: str) -> str:
        answer = self.client.messages.create(model=MODEL, max_tokens=1024, messages=self.build_messages(prompt))
        return answer.content[0].text

    def ask_stored(self, path: str, prompts: list[str]) -> list[str]:
        from pathlib import Path

        with Path(path).open("rb") as file:
            stored = self.client.beta.files.upload(file=("document.pdf", file, PDF))
        part = {"type": "document", "source": {"type": "file", "file_id": stored.id}}

        def ask(prompt: str) -> str:
            content = [part, {"type": "text", "text": prompt}]
            answer = self.client.beta.messages.create(
                model=MODEL,
                max_tokens=1024,
                messages=[{"role": "user", "content": content}],
                betas=["files-api-2025-04-14"],
            )
            return answer.content[0].text

        answers = self.ask_in_pool(ask, prompts)
        self.client.beta.files.delete(stored.id)
        return answers

    def ask_inline(self, path: str, prompts: list[str]) -> list[str]:
        def ask(prompt: str) -> str:
            image = {"type": "base64", "media_type": PNG, "data": encode_file(path)}
            content = [{"type": "image", "source": image}, {"type": "text", "text": prompt}]
            messages = [{"role": "user", "content": content}]
            return self.client.messages.create(model=MODEL, max_tokens=1024, messages=messages).content[0].text

        return self.ask_in_pool(ask, prompts)

    def stream_texts(self, prompt: str) -> Iterator[str]:
        for event in self.client.messages.create(
            model=MODEL, max_tokens=1024, messages=self.build_messages(prompt), stream=True
        ):
            yield event.delta.text if event.type == "content_block_delta" else ""


class GoogleGenai(Adapter):
    version = ""

    def open(self) -> None:
        from google.genai import Client

        self.client = Client(api_key=KEY, http_options={"base_url": self.base_url})

    def ask(self, prompt: str) -> str:
        return self.client.models.generate_content(model=MODEL, contents=prompt).text

    def ask_stored(self, path: str, prompts: list[str]) -> list[str]:
        stored = self.client.files.upload(file=path)
        answers = self.ask_in_pool(lambda prompt: self.ask_about(stored, prompt), prompts)
        self.client.files.delete(name=stored.name)
        return answers

    def ask_inline(self, path: str, prompts: list[str]) -> list[str]:
        from pathlib import Path

        from google.genai import types

        def ask(prompt: str) -> str:
            return self.ask_about(types.Part.from_bytes(data=Path(path).read_bytes(), mime_type=PNG), prompt)

        return self.ask_in_pool(ask, prompts)

    def ask_about(self, part: object, prompt: str) -> str:
        return self.client.models.generate_content(model=MODEL, contents=[part, prompt]).text

    def stream_texts(self, prompt: str) -> Iterator[str]:
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

    def ask(self, prompt: str) -> str:
        body = {"model": MODEL, "messages": self.build_messages(prompt)}
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

    def ask(self, prompt: str) -> str:
        return self.asyncio.run(self.pollux.run(prompt, config=self.config)).text

    def ask_many(self, prompts: list[str]) -> list[str]:
        self.result = self.asyncio.run(self.pollux.run_many(prompts, config=self.config))
        return self.result.answers


class Llm(Adapter):
    def open(self) -> None:
        from llm.default_plugins.openai_models import Chat

        self.model = Chat(MODEL, key=KEY, model_name=MODEL, api_base=self.base_url)

    def ask(self, prompt: str) -> str:
        return self.model.prompt(prompt, stream=False).text()


class AnyLlm(Adapter):
    def open(self) -> None:
        from any_llm import AnyLLM

        self.client = AnyLLM.create("openai", api_key=KEY, api_base=self.base_url)

    def ask(self, prompt: str) -> str:
        return self.client.completion(model=MODEL, messages=self.build_messages(prompt)).choices[0].message.content


class AnyLlmFunction(Adapter):
    def open(self) -> None:
        from any_llm import completion

        self.completion = completion

    def ask(self, prompt: str) -> str:
        answer = self.completion(
            model=MODEL, provider="openai", messages=self.build_messages(prompt), api_key=KEY, api_base=self.base_url
        )
        return answer.choices[0].message.content


class Litellm(Adapter):
    def open(self) -> None:
        import os

        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no download at import
        import litellm

        litellm.telemetry = False
        self.completion = litellm.completion

    def ask(self, prompt: str) -> str:
        answer = self.completion(
            model=f"openai/{MODEL}",
            messages=self.build_messages(prompt),
            api_key=KEY,
            api_base=self.base_url,
            max_retries=0,
        )
        return answer.choices[0].message.content


def open_adapter(name: str, base_url: str, threads: int) -> Adapter:
    module, _, adapter = name.rpartition(".")
    return (getattr(__import__(module), adapter) if module else globals()[name])(base_url, threads)


def encode_file(path: str) -> str:
    """Return a file in base64, as the vendors' guides do it."""
    import base64
    from pathlib import Path

    with Path(path).open("rb") as file:
        return base64.b64encode(file.read()).decode("utf-8")


def build_data_url(path: str) -> str:
    return f"data:{PNG};base64,{encode_file(path)}"


def run_once(name: str, base_url: str, file_task: str = "", path: str = "") -> None:
    """Run a complete script: import, client, one question, its answer."""
    adapter, prompt = open_adapter(name, base_url, 6), "Who built the lighthouse?"
    _check(ask_about_file(file_task, adapter, path, [prompt]) if file_task else [adapter.ask(prompt)])


def _check(answers: list[str]) -> None:
    for answer in answers:
        if not answer.startswith(EXPECTED):
            raise ValueError(f"an answer was {answer[:80]!r}")


def _build_prompts(count: int) -> list[str]:
    return [*_iter_prompts(count)]


def _iter_prompts(count: int) -> Iterator[str]:
    return (f"Question {number}: who built the lighthouse, and when was it painted?" for number in range(count))


def ask_one_by_one(adapter: Adapter, prompts: list[str]) -> list[str]:
    return [adapter.ask(prompt) for prompt in prompts]


def ask_many(adapter: Adapter, prompts: list[str]) -> list[str]:
    return adapter.ask_many(prompts)


def measure_calls(task: str, adapter: Adapter, count: int) -> dict[str, float]:
    """Return the cost of ``count`` calls: CPU seconds of this process (user and system), and seconds on the clock."""
    import gc
    import time

    prompts = _build_prompts(count)
    gc.collect()
    started, cpu_started = time.monotonic(), read_cpu_s()
    answers = {"loop": ask_one_by_one, "many": ask_many}[task](adapter, prompts)
    cost = {"cpu_s": read_cpu_s() - cpu_started, "wall_s": time.monotonic() - started}
    _check(answers)
    return cost


def measure_streams(adapter: Adapter, count: int) -> dict[str, float]:
    """Return the cost of ``count`` streams: CPU seconds per token, and median seconds until the first event."""
    import gc
    import time
    from statistics import median

    waits, texts = [], []
    gc.collect()
    cpu_started = read_cpu_s()
    for prompt in _build_prompts(count):
        started = time.monotonic()
        events = adapter.stream_texts(prompt)
        texts_so_far = [next(events)]
        waits.append(time.monotonic() - started)
        texts_so_far.extend(events)
        texts.append([text for text in texts_so_far if text])
    cpu_s = read_cpu_s() - cpu_started
    _check(["".join(texts_so_far) for texts_so_far in texts])
    return {"cpu_s": cpu_s / sum(map(len, texts)), "first_s": median(waits)}


def measure_memory(adapter: Adapter, count: int) -> dict[str, float]:
    """Return the KiB that ``count`` prompts need at the peak and keep at the end, above the memory before."""
    import gc

    _check(ask_many(adapter, _build_prompts(adapter.threads * 4)))
    prompts = _build_prompts(count)
    gc.collect()
    before = read_status("VmRSS")
    _reset_peak()
    answers = ask_many(adapter, prompts)
    peak, kept = read_status("VmHWM"), read_status("VmRSS")
    _check(answers)
    return {"peak_kib": peak - before, "kept_kib": kept - before, "start_kib": before}


def ask_about_file(task: str, adapter: Adapter, path: str, prompts: list[str]) -> list[str]:
    match task:
        case "stored":
            return adapter.ask_stored(path, prompts)
        case "inline":
            return adapter.ask_inline(path, prompts)
        case "inline_loop":
            return [adapter.ask_inline(path, [prompt])[0] for prompt in prompts]
    raise ValueError(f"no task {task!r}")


def measure_file_calls(task: str, adapter: Adapter, path: str, count: int) -> dict[str, float]:
    """Return the cost of ``count`` calls about one file, and the KiB that they need at the peak."""
    import gc

    prompts = _build_prompts(count)
    gc.collect()
    before = read_status("VmRSS")
    _reset_peak()
    cpu_started = read_cpu_s()
    answers = ask_about_file(task, adapter, path, prompts)
    cost = {"cpu_s": read_cpu_s() - cpu_started, "peak_kib": read_status("VmHWM") - before}
    _check(answers)
    return cost


def measure_encoding(path: str, count: int) -> dict[str, float]:
    """Return the CPU seconds of hashing a file and encoding it in base64 ``count`` times, its bytes in memory."""
    from binascii import b2a_base64
    from hashlib import sha256
    from pathlib import Path

    content = Path(path).read_bytes()
    cpu_started = read_cpu_s()
    for _ in range(count):
        sha256(content).hexdigest()
        b2a_base64(content, newline=False)
    return {"cpu_s": read_cpu_s() - cpu_started}


def measure_hashing(path: str) -> dict[str, float]:
    """Return the cost of `Source.content_sha256` of a file, and the KiB that it needs at the peak."""
    import time

    from pollux_sync import Source

    source = Source.from_file(path)
    before = read_status("VmRSS")
    _reset_peak()
    started, cpu_started = time.monotonic(), read_cpu_s()
    source.content_sha256()
    cost = {"cpu_s": read_cpu_s() - cpu_started, "wall_s": time.monotonic() - started}
    return {**cost, "peak_kib": read_status("VmHWM") - before, "size_bytes": source.size_bytes}


def measure_generated(adapter: Adapter, count: int) -> dict[str, float]:
    """Return the cost of ``count`` answers that the adapter makes itself: seconds, and the peak KiB of the process."""
    import time

    _reset_peak()
    started, n_answers = time.monotonic(), 0
    # One by one: a list would be most of the memory.
    for answer in adapter.generate(_iter_prompts(count)):
        _check([answer])
        n_answers += 1
    if n_answers != count:
        raise ValueError(f"{n_answers} of {count} prompts were answered")
    return {"wall_s": time.monotonic() - started, "peak_kib": read_status("VmHWM")}


def read_cpu_s() -> float:
    """Return the CPU seconds of this process, and of those that it started and that have ended."""
    from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

    usages = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def read_status(field: str) -> float:
    """Return a figure of /proc/self/status: KiB for the fields of memory, without that of the parent."""
    from pathlib import Path

    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field))


def _reset_peak() -> None:
    from pathlib import Path

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


#: Tasks that take the adapter and a count.
_COUNTED = {"memory": measure_memory, "streaming": measure_streams, "generated": measure_generated}


def run_task(task: str, adapter: Adapter, arguments: dict) -> dict[str, float]:
    """Run one task and return its cost. An adapter may have tasks of its own: methods such as ``measure_steps``."""
    own = getattr(adapter, f"measure_{task}", None)
    if own is not None:
        return own(**arguments)
    if task in _COUNTED:
        return _COUNTED[task](adapter, **arguments)
    match task:
        case "hashing":
            return measure_hashing(**arguments)
        case "encoding":
            return measure_encoding(**arguments)
        case "stored" | "inline" | "inline_loop":
            return measure_file_calls(task, adapter, **arguments)
    return measure_calls(task, adapter, **arguments)


def main(name: str, base_url: str, threads: str) -> None:
    import json

    adapter = None
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            adapter = adapter or open_adapter(name, base_url, int(threads))
            answer = run_task(arguments.pop("task"), adapter, arguments)
        except Exception as error:  # noqa: BLE001 - a peer may fail in any way; the table says how
            answer = {"error": f"{type(error).__name__}: {error}".partition("\n")[0][:200]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
