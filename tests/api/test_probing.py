import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    HttpRequest,
    ModelInfo,
    ProviderBugError,
    Readiness,
    check_ready,
    hookimpl,
    list_models,
)
from pollux_sync.testing.server import Answer, Hang, ResetBeforeBody

BIG, SMALL = ModelInfo(id="acme-big", context_tokens=1000), ModelInfo(id="acme-small")


class Listing:
    """Lists what the server says."""

    @hookimpl
    def pollux_list_models(self, client, timeout_s):
        body = client.send(HttpRequest(method="GET", path="/models"), timeout_s).body
        return [ModelInfo(**facts) for facts in body]


class Checking:
    """Looks at the model by its name."""

    @hookimpl
    def pollux_check_ready(self, config, client, timeout_s):
        client.send(HttpRequest(method="GET", path=f"/models/{config.model}"), timeout_s)
        return True


LISTED = Answer(json=[{"id": "acme-big", "context_tokens": 1000}, {"id": "acme-small"}])


def test_lists_models_in_the_providers_order(server, config):
    server.reply(LISTED)
    assert list_models(config=config(plugins=[Listing()])) == [BIG, SMALL]


def test_retries_the_list_after_a_transient_failure(server, config):
    server.reply(Answer(status=503, json={}), ResetBeforeBody(), LISTED)
    retry = config().retry.__class__(max_attempts=3, initial_delay_s=0)
    assert len(list_models(config=config(plugins=[Listing()], retry=retry))) == 2


def test_a_list_that_is_refused_is_an_error_about_metadata(server, config):
    server.reply(Answer(status=401, json={"error": "no"}))
    with pytest.raises(APIError) as caught:
        list_models(config=config(plugins=[Listing()]))
    assert (caught.value.kind, caught.value.phase, len(server.requests)) == ("auth", "metadata", 1)


def test_refuses_a_provider_without_a_list(config):
    with pytest.raises(ConfigurationError, match="'acme' does not list its models") as caught:
        list_models(config=config())
    assert "documentation" in caught.value.hint


class Wrong:
    @hookimpl
    def pollux_list_models(self):
        return ["acme-big"]


def test_a_list_of_other_things_is_the_plugins_defect(config):
    with pytest.raises(ProviderBugError, match="pollux_list_models"):
        list_models(config=config(plugins=[Wrong()]))


@pytest.mark.parametrize("call", [list_models, check_ready])
def test_what_is_no_config_is_refused(call):
    with pytest.raises(ConfigurationError, match="must be a Config"):
        call(config="acme")


@pytest.mark.parametrize("timeout_s", [0, -1, True, "soon"])
def test_refuses_an_invalid_time_limit(config, timeout_s):
    with pytest.raises(ConfigurationError, match="timeout_s"):
        check_ready(config=config(), timeout_s=timeout_s)


@pytest.mark.parametrize("call", [list_models, check_ready])
def test_the_mock_answers_under_every_name(call):
    assert call(config=Config(provider="openai", model="any", use_mock=True))


# readiness


def test_is_ready_when_the_provider_is(server, config):
    server.reply(Answer(json={}))
    ready = check_ready(config=config(plugins=[Checking()]))
    assert ready == Readiness(is_ready=True, latency_s=ready.latency_s)
    assert ready
    assert ready.latency_s > 0


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (Answer(status=401, json={"error": "bad key sk-secret"}), "auth", "bad key [REDACTED]"),
        (Answer(status=404, json={"error": "no such model"}), "not_found", "no such model"),
        (Answer(status=503, json={"error": "Loading model"}), "capacity", "Loading model"),
        (ResetBeforeBody(), "connection", "connection failed"),
    ],
)
def test_returns_an_obstacle_instead_of_raising(server, config, step, kind, reason):
    server.reply(step)
    ready = check_ready(config=config(plugins=[Checking()]))
    assert not ready
    assert (ready.is_ready, ready.kind) == (False, kind)
    assert reason in ready.reason
    assert "sk-secret" not in repr(ready)
    assert len(server.requests) == 1


def test_an_obstacle_is_not_what_the_caller_handles(server, config):
    server.reply(ResetBeforeBody())
    try:
        raise TimeoutError("of another service")  # noqa: TRY301 - what a user's code would do
    except TimeoutError:
        assert check_ready(config=config(plugins=[Checking()])).kind == "connection"


def test_hints_at_the_key_when_it_is_refused(server, config):
    server.reply(Answer(status=401, json={}))
    assert "ACME_API_KEY" in check_ready(config=config(plugins=[Checking()])).hint


def test_respects_the_timeout(server, config):
    server.reply(Hang())
    ready = check_ready(config=config(plugins=[Checking()]), timeout_s=0.05)
    assert (ready.is_ready, ready.kind) == (False, "timeout")


def test_reports_an_unreachable_server(config):
    ready = check_ready(config=config(base_url="http://127.0.0.1:9", plugins=[Checking()]))
    assert (ready.is_ready, ready.kind) == (False, "connection")
    assert "127.0.0.1:9" in ready.reason


@pytest.mark.parametrize(
    ("model", "is_ready", "hint"),
    [("acme-big", True, None), ("acme-bug", False, "did you mean 'acme-big'"), ("whale", False, "list_models")],
)
def test_without_a_check_of_its_own_the_model_is_looked_for_in_the_list(server, config, model, is_ready, hint):
    server.reply(LISTED)
    ready = check_ready(config=config(model=model, plugins=[Listing()]))
    assert (ready.is_ready, ready.kind) == (is_ready, None if is_ready else "not_found")
    assert hint is None or hint in ready.hint


def test_raises_for_a_provider_that_cannot_be_checked(config):
    with pytest.raises(ConfigurationError, match="cannot be asked") as caught:
        check_ready(config=config())
    assert "run(" in caught.value.hint


class Broken:
    """Its client cannot be opened."""

    def __init__(self, error):
        self.error = error

    @hookimpl
    def pollux_open(self):
        raise self.error


def test_reports_a_client_that_cannot_be_opened(config):
    broken = Broken(ConfigurationError("the file sk-secret is no model", hint="take another"))
    ready = check_ready(config=config(plugins=[Checking(), broken]))
    assert (ready.is_ready, ready.reason, ready.hint) == (False, "the file [REDACTED] is no model", "take another")


def test_a_plugins_defect_is_raised(config):
    with pytest.raises(ProviderBugError, match="pollux_open"):
        check_ready(config=config(plugins=[Checking(), Broken(LookupError("oops"))]))
