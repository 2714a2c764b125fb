"""`Config(capabilities=...)` takes precedence over the facts that a plugin has about a model."""

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


def capture_body(provider, model, capabilities, **options):
    wire = Wire()
    config = Config(provider=provider, model=model, api_key="k", capabilities=capabilities, plugins=[wire])
    run("hi", config=config, options=Options(**options))
    return wire.body


CANNOT_THINK = [("anthropic", "claude-3-5-haiku"), ("gemini", "gemini-2.0-flash")]


@pytest.mark.parametrize(("provider", "model"), CANNOT_THINK)
@pytest.mark.parametrize("options", [{"reasoning_effort": "low"}, {"reasoning_budget_tokens": 2048}])
def test_capabilities_can_switch_thinking_on(provider, model, options):
    (name,) = options
    with pytest.raises(ConfigurationError, match="cannot think"):
        capture_body(provider, model, {}, **options)
    assert capture_body(provider, model, {name: True}, **options) != capture_body(provider, model, {name: True})


def test_claude_with_thinking_switched_on_gets_a_budget():
    body = capture_body("anthropic", "claude-3-5-haiku", {"reasoning_effort": True}, reasoning_effort="low")
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}


def test_gemini_with_thinking_switched_on_gets_a_level():
    body = capture_body("gemini", "gemini-2.0-flash", {"reasoning_effort": True}, reasoning_effort="low")
    assert body["generationConfig"]["thinkingConfig"] == {"includeThoughts": True, "thinkingLevel": "LOW"}


@pytest.mark.parametrize(
    ("provider", "model", "name", "options"),
    [
        ("anthropic", "claude-sonnet-4-5", "top_p", {"temperature": 0.5, "top_p": 0.9}),
        ("gemini", "gemini-2.5-flash", "response_schema", {"tools": [{"name": "f"}], "response_schema": {}}),
    ],
)
def test_capabilities_can_allow_two_options_together(provider, model, name, options):
    with pytest.raises(ConfigurationError, match=f"does not take a? ?{name} beside"):
        capture_body(provider, model, {}, **options)
    assert capture_body(provider, model, {name: True}, **options)


@pytest.mark.parametrize(("provider", "model"), CANNOT_THINK)
def test_values_are_still_checked(provider, model):
    with pytest.raises(ConfigurationError, match="takes no reasoning_effort 'hard'"):
        capture_body(provider, model, {"reasoning_effort": True}, reasoning_effort="hard")


def test_a_known_model_keeps_its_form_of_thinking():
    said = {"reasoning_effort": True}
    asked = {"reasoning_effort": "low"}
    assert capture_body("anthropic", "claude-opus-4-7", said, **asked) == capture_body(
        "anthropic", "claude-opus-4-7", {}, **asked
    )


def test_requests_no_cache_that_the_configuration_excludes():
    assert "cache_control" in capture_body("anthropic", "claude-opus-4-7", {})
    assert "cache_control" not in capture_body("anthropic", "claude-opus-4-7", {"implicit_caching": False})


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "openai", "openrouter"])
def test_an_option_that_a_model_lacks_is_refused(provider):
    with pytest.raises(ConfigurationError, match="'m' does not take temperature"):
        capture_body(provider, "m", {"temperature": False}, temperature=0.5)
