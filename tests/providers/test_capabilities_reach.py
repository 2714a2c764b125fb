"""The claims of docs/reference/provider-capabilities.md on keys, addresses, clients and uploads, cell by cell."""

import pytest

from capabilities import declarations
from pollux_sync import APIError, Config, ConfigurationError, PolluxError, RetryPolicy, run
from pollux_sync.hooks.loading import PROVIDERS, load
from pollux_sync.hooks.relay import build_manager
from pollux_sync.testing.server import Answer, ScriptedServer

INFOS = declarations()
KEY = "sk-made-up"


def providers(*, declaring):
    return pytest.mark.parametrize("info", [i for i in INFOS if declaring(i)], ids=lambda info: info.name)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    """No keys, no addresses, no .env file."""
    for info in INFOS:
        for name in (*info.key_env, *filter(None, [info.base_url_env])):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refusing():
    """A server that answers every request with a refusal."""
    with ScriptedServer() as server:
        server.handler = lambda request: Answer(status=400, json={"error": {"message": "no"}})
        yield server


def address(info):
    return {} if info.base_url_policy == "fixed" else {"base_url": "https://host.example/v1"}


@pytest.mark.parametrize(
    ("info", "variable"),
    [pytest.param(info, name, id=f"{info.name}-{name}") for info in INFOS for name in info.key_env],
)
def test_key_is_taken_from_the_variable(info, variable, monkeypatch):
    monkeypatch.setenv(variable, KEY)
    assert Config(provider=info.name, model="m", **address(info)).api_key == KEY


@providers(declaring=lambda info: info.needs_key)
def test_missing_key_is_refused_by_the_names_of_its_variables(info):
    with pytest.raises(ConfigurationError, match="no API key") as caught:
        Config(provider=info.name, model="m", **address(info))
    assert [name for name in info.key_env if name not in caught.value.hint] == []


@providers(declaring=lambda info: not info.needs_key)
def test_key_is_not_needed(info):
    assert Config(provider=info.name, model="m", **address(info)).api_key is None


@providers(declaring=lambda info: info.base_url_policy != "fixed")
def test_base_url_and_key_are_those_of_the_request(info, refusing):
    once = RetryPolicy(max_attempts=1)
    config = Config(provider=info.name, model="m", base_url=refusing.url, api_key=KEY, retry=once)
    with pytest.raises(APIError):
        run("a question", config=config)
    (request,) = refusing.requests
    header, form = info.auth
    assert request.headers[header] == form.format(key=KEY)


@providers(declaring=lambda info: info.base_url_policy == "fixed")
def test_base_url_is_refused(info):
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        Config(provider=info.name, model="m", base_url="https://host.example/v1", api_key=KEY)
    assert caught.value.hint


@providers(declaring=lambda info: info.base_url_env)
def test_base_url_is_taken_from_the_variable(info, monkeypatch):
    monkeypatch.setenv(info.base_url_env, "https://host.example/v1")
    assert Config(provider=info.name, model="m", api_key=KEY).base_url == "https://host.example/v1"


class Client:
    """A client of the caller's that fails at whatever it is asked for."""

    def __init__(self):
        self.asked = set()

    def __getattr__(self, name):
        self.asked.add(name)
        raise AttributeError(name)


#: What a client of each vendor's is told by: its class.
CLASSES = {
    "anthropic": ("anthropic", "Anthropic"),
    "gemini": ("google.genai", "Client"),
    "openai": ("openai", "OpenAI"),
}


@pytest.mark.usefixtures("no_network")
@providers(declaring=lambda info: info.accepts_client)
def test_call_uses_the_client_of_the_config(info):
    module, name = CLASSES[info.name]
    client = type(name, (Client,), {"__module__": module})()
    config = Config(provider=info.name, model="m", client=client)
    with pytest.raises(PolluxError):
        run("a question", config=config)
    assert client.asked - {"api_key"}


@providers(declaring=lambda info: info.accepts_client)
def test_client_of_another_kind_is_refused(info):
    blocking, other = object(), type("AsyncClient", (), {"__module__": CLASSES[info.name][0]})()
    for client, hint in ((blocking, "as the provider's guide shows"), (other, "the blocking client")):
        with pytest.raises(ConfigurationError, match=r"client must be a") as caught:
            Config(provider=info.name, model="m", client=client)
        assert hint in caught.value.hint


@providers(declaring=lambda info: not info.accepts_client)
def test_client_is_refused(info):
    with pytest.raises(ConfigurationError, match="takes no client") as caught:
        Config(provider=info.name, model="m", client=Client())
    assert caught.value.hint


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_uploads_are_implemented_where_they_are_declared(info):
    hook = build_manager([load(PROVIDERS, info.name)]).hook
    implemented = [bool(hook.pollux_upload.get_hookimpls()), bool(hook.pollux_delete_upload.get_hookimpls())]
    assert implemented == [any(rule.delivery == "upload" for rule in info.sources)] * 2
