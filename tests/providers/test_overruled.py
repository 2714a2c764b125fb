"""What `Config(capabilities=...)` says of a model goes before what the provider's plugin knows of it."""

import pytest

from pollux_sync import Config, ConfigurationError, HttpResponse, Options, Reply, hookimpl, run

pytestmark = pytest.mark.usefixtures("no_network")


class Wire:
    """In the place of the network: keeps the body that would go there."""

    body = None

    @hookimpl(tryfirst=True)
    def pollux_send(self, request):
        self.body = request.body
        return HttpResponse(status=200)

    @hookimpl(tryfirst=True)
    def pollux_decode(self):
        return Reply(text="fine", finish_reason="stop")


def sent(provider, model, capabilities, **options):
    wire = Wire()
    config = Config(provider=provider, model=model, api_key="k", capabilities=capabilities, plugins=[wire])
    run("hi", config=config, options=Options(**options))
    return wire.body


CANNOT_THINK = [("anthropic", "claude-3-5-haiku"), ("gemini", "gemini-2.0-flash")]


@pytest.mark.parametrize(("provider", "model"), CANNOT_THINK)
@pytest.mark.parametrize("options", [{"reasoning_effort": "low"}, {"reasoning_budget_tokens": 2048}])
def test_a_model_thinks_if_the_configuration_says_so(provider, model, options):
    (name,) = options
    with pytest.raises(ConfigurationError, match="cannot think"):
        sent(provider, model, {}, **options)
    assert sent(provider, model, {name: True}, **options) != sent(provider, model, {name: True})


def test_a_claude_that_is_said_to_think_gets_a_budget():
    body = sent("anthropic", "claude-3-5-haiku", {"reasoning_effort": True}, reasoning_effort="low")
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}


def test_a_gemini_that_is_said_to_think_gets_a_level():
    body = sent("gemini", "gemini-2.0-flash", {"reasoning_effort": True}, reasoning_effort="low")
    assert body["generationConfig"]["thinkingConfig"] == {"includeThoughts": True, "thinkingLevel": "LOW"}


@pytest.mark.parametrize(("provider", "model"), CANNOT_THINK)
def test_values_are_checked_all_the_same(provider, model):
    with pytest.raises(ConfigurationError, match="takes no reasoning_effort 'hard'"):
        sent(provider, model, {"reasoning_effort": True}, reasoning_effort="hard")


def test_a_table_that_knows_of_thinking_goes_on_saying_how():
    said = {"reasoning_effort": True}
    asked = {"reasoning_effort": "low"}
    assert sent("anthropic", "claude-opus-4-7", said, **asked) == sent("anthropic", "claude-opus-4-7", {}, **asked)


def test_no_cache_is_asked_for_where_the_configuration_rules_it_out():
    assert "cache_control" in sent("anthropic", "claude-opus-4-7", {})
    assert "cache_control" not in sent("anthropic", "claude-opus-4-7", {"implicit_caching": False})


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "openai", "openrouter"])
def test_an_option_that_a_model_lacks_is_refused(provider):
    with pytest.raises(ConfigurationError, match="'m' does not take temperature"):
        sent(provider, "m", {"temperature": False}, temperature=0.5)
