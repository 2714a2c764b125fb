"""The plan of a job is what its run then reports."""

from decimal import Decimal

import pytest

import gemini_api
import messages_api
import responses_api
from bulk_service import answer, read_prompt
from pollux_batch import BatchItem, Budget, plan_batch, run_batch
from pollux_sync import Config, ConfigurationError, Options, Source, hookimpl
from pollux_sync.plugin import TokenEstimate
from pollux_sync.testing.server import Answer

N_OUTPUT = 16
#: The tokens of a text, as the estimate of the core counts them; the services here count alike.
BYTES_A_TOKEN = 3.5


class Exact:
    """Knows tokens, one for each letter, and prices."""

    @hookimpl
    def pollux_estimate_tokens(self, call):
        return TokenEstimate(input_tokens=len(call.prompt), output_tokens=len(f"re: {call.prompt}"))

    @hookimpl
    def pollux_price(self, usage):
        return Decimal(usage.input_tokens + 4 * usage.output_tokens) / 1_000


def count_letters(request):
    text = f"re: {read_prompt(request)}"
    n_input = len(read_prompt(request))
    return answer(text, prompt_tokens=n_input, completion_tokens=len(text), total_tokens=n_input + len(text))


def test_plans_what_a_run_then_reports(ask, config, path, server):
    server.handler = count_letters
    exact = config(plugins=[Exact()])
    ask(["known " * n for n in range(1, 5)], config=exact)
    # Some are answered, some equal one another, and one cannot be asked.
    items = [*(f"question {n % 40} {'why? ' * (n % 40)}" for n in range(50)), "known ", 5]
    plan = plan_batch(items, config=exact, journal=path)
    result = ask(items, config=exact)
    assert (plan.answered, plan.broken) == (result.summary()["replayed"], result.failed) == (1, 1)
    assert (plan.input_tokens, plan.output_tokens) == (result.total_input_tokens, result.total_output_tokens)
    assert plan.cost == result.cost
    assert (plan.to_send, plan.equal) == (len(server.requests) - 4, 10)


def test_refuses_a_budget_in_dollars_without_a_price(config):
    with pytest.raises(ConfigurationError, match="price of local 'm' is not known"):
        plan_batch(["a"], config=config(), budget=Budget(usd=1.0))
    assert plan_batch(["a"], config=config(plugins=[Exact()]), budget=Budget(usd=1.0)).to_send == 1


def iter_texts(value, name=""):
    """Yield the texts of a request, whichever provider spells it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from iter_texts(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from iter_texts(inner, name)
    elif name in {"text", "content", "instructions", "system"}:
        yield value


def build_openai(n):
    usage = {"input_tokens": n, "output_tokens": N_OUTPUT, "total_tokens": n + N_OUTPUT}
    return responses_api.response(responses_api.message("ok"), usage=usage)


def build_anthropic(n):
    usage = {"input_tokens": n, "output_tokens": N_OUTPUT}
    return messages_api.response(messages_api.text("ok"), usage=usage)


def build_gemini(n):
    usage = {"promptTokenCount": n, "candidatesTokenCount": N_OUTPUT, "totalTokenCount": n + N_OUTPUT}
    return gemini_api.response(gemini_api.text("ok"), usageMetadata=usage)


def build_local(n):
    return answer("ok", prompt_tokens=n, completion_tokens=N_OUTPUT, total_tokens=n + N_OUTPUT).json


SERVICES = {
    "openai": ("/v1", build_openai),
    "anthropic": ("", build_anthropic),
    "gemini": ("", build_gemini),
    "local": ("/v1", build_local),
}


@pytest.mark.parametrize("provider", SERVICES)
def test_its_estimate_covers_all_that_a_provider_is_sent(server, provider):
    address, build = SERVICES[provider]

    def count(request):
        n_bytes = sum(len(text.encode()) for text in iter_texts(request.json()))
        return Answer(json=build(int(n_bytes / BYTES_A_TOKEN)))

    server.handler = count
    config = Config(provider=provider, model="m", base_url=server.url + address, api_key="k")
    options = Options(system_instruction="You know all lighthouses of the north. " * 20, max_tokens=N_OUTPUT)
    letter = Source.from_text("Dear Ada, the lamp is lit again. " * 30)
    items = [BatchItem(f"Question {n}: " + "why? " * n, sources=[letter] if n % 3 else []) for n in range(60)]
    plan = plan_batch(items, config=config, options=options)
    result = run_batch(items, config=config, options=options)
    assert result.succeeded == len(items)
    assert plan.input_tokens == pytest.approx(result.total_input_tokens, rel=0.05)
    assert plan.output_tokens == result.total_output_tokens
