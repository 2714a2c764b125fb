import copy
import pickle

import attrs
import pytest

from pollux_sync import Config, ConfigurationError, PluginLoadError, ProviderBugError, RetryPolicy
from pollux_sync.hooks.loading import MIDDLEWARE

KEYED = 'key_env=("ACME_API_KEY",)'
SECRET = "sk-white-whale"


def mock(**values):
    return Config(**{"provider": "acme", "model": "m", "use_mock": True} | values)


def acme(**values):
    return Config(**{"provider": "acme", "model": "m"} | values)


# provider


def test_provider_that_is_not_installed_is_refused_with_a_hint_to_install_or_pick_one():
    with pytest.raises(PluginLoadError, match="no installed provider is called 'acme'") as caught:
        acme()
    assert caught.value.hint.startswith("pip install the package that offers it, or pick one of: ")
    assert "mock" in caught.value.hint


def test_finds_an_installed_provider(install_acme):
    install_acme()
    assert acme().provider == "acme"


def test_provider_is_picked_by_its_distribution(install_acme):
    install_acme(KEYED, distribution="acme-next")
    install_acme()
    with pytest.raises(ConfigurationError, match="no API key"):
        acme(provider="acme-next:acme")


def test_broken_provider_is_refused_by_its_distribution(install):
    install("import no_such_module_anywhere")
    with pytest.raises(PluginLoadError, match=r"pollux-acme 1\.0 cannot be loaded"):
        acme()


def test_mock_is_a_provider_like_any_other():
    assert Config(provider="mock", model="m").api_key is None


# the fields' own rules

WRONG = [
    ("provider", "", "blank"),
    ("provider", None, "a string"),
    ("model", " ", "blank"),
    ("model", 3, "a string"),
    ("api_key", "", "non-blank"),
    ("api_key", 3, "non-blank"),
    ("api_key", "sk-\nx", "line break"),
    ("api_key", "sk-ключ", "character"),
    ("base_url", "", "blank"),
    ("base_url", 3, "a string"),
    ("base_url", "127.0.0.1:8080", "http(s) URL"),
    ("base_url", "ftp://example.org", "http(s) URL"),
    ("base_url", "http://", "http(s) URL"),
    ("base_url", "http://[", "http(s) URL"),
    ("base_url", "http://example.org:port/", "http(s) URL"),
    ("base_url", "http://*.example.org/v1", "names the host"),
    ("base_url", "http://.example/v1", "names the host"),
    ("base_url", "http://a..b/v1", "names the host"),
    ("base_url", "http://ho st:80/v1", "names the host"),
    ("base_url", "http://exa\u00admple.org/v1", "names the host"),
    ("base_url", f"http://{'a' * 64}.org/v1", "names the host"),
    ("use_mock", 1, "True or False"),
    ("request_concurrency", True, "an integer"),
    ("request_concurrency", 1.5, "an integer"),
    ("request_concurrency", 0, "at least 1"),
    ("stream_timeout_s", 0, "above 0"),
    ("stream_timeout_s", "60", "a number"),
    ("timeout_s", True, "a number"),
    ("timeout_s", "60", "a number"),
    ("timeout_s", 0, "above 0"),
    ("timeout_s", float("inf"), ""),
    ("retry", 3, "a RetryPolicy"),
    ("retry", None, "a RetryPolicy"),
    ("plugins", "log", "a list"),
    ("plugins", 3, "a list"),
    ("plugins", [dict], "plugins"),
    ("provider_options", ["fast"], "a dict"),
    ("provider_options", {1: 2}, "a dict with string keys"),
    ("capabilities", ["tools"], "a dict"),
    ("capabilities", {"tools": "yes"}, "True or False"),
    ("capabilities", {"toolz": True}, "no option"),
]


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG)
def test_wrong_value_is_refused_with_its_field_and_what_is_right(name, value, wanted):
    with pytest.raises(ConfigurationError, match=name) as caught:
        mock(**{name: value})
    assert wanted in str(caught.value)


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG)
def test_refusal_has_a_hint(name, value, wanted):
    with pytest.raises(ConfigurationError) as caught:
        mock(**{name: value})
    assert caught.value.hint


def test_fields_are_keyword_only():
    with pytest.raises(TypeError):
        Config("mock", "m")


def test_defaults_are_six_requests_at_once_and_ten_minutes():
    config = mock()
    assert (config.request_concurrency, config.timeout_s, config.retry) == (6, 600.0, RetryPolicy())


# the key


def test_key_is_taken_from_the_variable_that_the_provider_declares(install_acme, monkeypatch):
    install_acme(KEYED)
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    assert acme().api_key == SECRET


def test_key_is_taken_from_the_first_variable_that_is_set(install_acme, monkeypatch):
    install_acme('key_env=("ACME_TOKEN", "ACME_API_KEY")')
    monkeypatch.delenv("ACME_TOKEN", raising=False)
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    assert acme().api_key == SECRET


def test_key_is_taken_from_the_file_in_the_working_directory(install_acme, folder):
    install_acme(KEYED)
    (folder / ".env").write_text(f"ACME_API_KEY={SECRET}")
    assert acme().api_key == SECRET


def test_key_is_taken_from_the_file_above_the_working_directory(install_acme, folder, monkeypatch):
    install_acme(KEYED)
    (folder / ".env").write_text(f"ACME_API_KEY={SECRET}")
    (folder / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(folder / "deep" / "down")
    assert acme().api_key == SECRET


def test_only_the_wanted_variable_is_taken_from_the_file(install_acme, folder):
    install_acme('key_env=("ACME_API_KEY",), base_url_policy="optional"')
    (folder / ".env").write_text(f"ACME_API_KEY={SECRET}\nACME_BASE_URL=http://evil.example")
    assert acme().base_url is None


def test_explicit_key_wins(install_acme, monkeypatch):
    install_acme(KEYED)
    monkeypatch.setenv("ACME_API_KEY", "other")
    assert acme(api_key=SECRET).api_key == SECRET


def test_missing_key_is_refused_with_the_variable_that_may_hold_it(install_acme):
    install_acme(KEYED)
    with pytest.raises(ConfigurationError, match="no API key for provider 'acme'") as caught:
        acme()
    assert caught.value.hint == "set ACME_API_KEY, write it into .env, or pass api_key=..."


def test_missing_key_is_refused_with_every_variable_that_may_hold_it(install_acme):
    install_acme('key_env=("ACME_TOKEN", "ACME_API_KEY")')
    with pytest.raises(ConfigurationError) as caught:
        acme()
    assert "ACME_TOKEN or ACME_API_KEY" in caught.value.hint


def test_missing_key_that_no_variable_holds_is_to_be_passed(install_acme):
    install_acme("needs_key=True")
    with pytest.raises(ConfigurationError) as caught:
        acme()
    assert caught.value.hint == "pass api_key=..."


def test_key_is_optional_where_the_provider_needs_none(install_acme):
    install_acme(f"needs_key=False, {KEYED}")
    assert acme().api_key is None


def test_key_from_the_environment_is_checked_like_a_given_one(install_acme, monkeypatch):
    install_acme(KEYED)
    monkeypatch.setenv("ACME_API_KEY", "sk-ключ")
    with pytest.raises(ConfigurationError, match="api_key holds a line break or a character"):
        acme()


# the base url


def test_base_url_is_refused_where_it_is_fixed(install_acme):
    install_acme('needs_key=False, base_url_policy="fixed"')
    with pytest.raises(ConfigurationError, match="provider 'acme' takes no base_url") as caught:
        acme(base_url="http://127.0.0.1:8080")
    assert caught.value.hint == "leave base_url out"


@pytest.mark.parametrize("policy", ["optional", "required"])
def test_base_url_is_taken_where_it_is_allowed(install_acme, policy):
    install_acme(f'needs_key=False, base_url_policy="{policy}"')
    assert acme(base_url="http://127.0.0.1:8080/v1").base_url == "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize(
    "host",
    ["[::1]:8080", "[fe80::1%25eth0]", "my_service", "example.org.", "b\u00fccher.example", "10.0.0.1", "localhost"],
)
def test_base_url_may_have_any_host_that_can_exist(install_acme, host):
    install_acme('needs_key=False, base_url_policy="optional"')
    assert acme(base_url=f"http://{host}/v1").base_url == f"http://{host}/v1"


def test_base_url_may_be_left_out_where_it_is_optional(install_acme):
    install_acme('needs_key=False, base_url_policy="optional"')
    assert acme().base_url is None


def test_base_url_may_not_be_left_out_where_it_is_required(install_acme):
    install_acme('needs_key=False, base_url_policy="required", base_url_env="ACME_BASE_URL"')
    with pytest.raises(ConfigurationError, match="provider 'acme' needs a base_url") as caught:
        acme()
    assert caught.value.hint == "pass base_url=... or set ACME_BASE_URL"


def test_base_url_that_no_variable_holds_is_to_be_passed(install_acme):
    install_acme('needs_key=False, base_url_policy="required"')
    with pytest.raises(ConfigurationError, match="needs a base_url") as caught:
        acme()
    assert caught.value.hint == "pass base_url=..."


def test_base_url_is_taken_from_the_variable_that_the_provider_declares(install_acme, monkeypatch):
    install_acme('needs_key=False, base_url_policy="required", base_url_env="ACME_BASE_URL"')
    monkeypatch.setenv("ACME_BASE_URL", "http://127.0.0.1:8080")
    assert acme().base_url == "http://127.0.0.1:8080"


def test_explicit_base_url_wins(install_acme, monkeypatch):
    install_acme('needs_key=False, base_url_policy="optional", base_url_env="ACME_BASE_URL"')
    monkeypatch.setenv("ACME_BASE_URL", "http://other.example")
    assert acme(base_url="http://127.0.0.1:8080").base_url == "http://127.0.0.1:8080"


def test_base_url_from_the_environment_is_checked_like_a_given_one(install_acme, monkeypatch):
    install_acme('needs_key=False, base_url_policy="optional", base_url_env="ACME_BASE_URL"')
    monkeypatch.setenv("ACME_BASE_URL", "127.0.0.1:8080")
    with pytest.raises(ConfigurationError, match="base_url is not an http"):
        acme()


# the mock


def test_mock_answers_under_a_name_that_is_not_installed():
    assert mock(provider="nobody").provider == "nobody"


def test_mock_does_not_import_the_provider(install):
    install("raise RuntimeError('imported')")
    assert mock().use_mock


def test_mock_needs_no_key_and_looks_for_none(install_acme, monkeypatch):
    install_acme(KEYED)
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    assert mock().api_key is None


def test_mock_needs_no_base_url(install_acme):
    install_acme('needs_key=False, base_url_policy="required"')
    assert mock().base_url is None


def test_mock_takes_settings_that_the_provider_would_refuse(install_acme):
    install_acme()
    assert mock(base_url="http://127.0.0.1", provider_options={"fast": True}).provider_options == {"fast": True}


# settings of the provider

OPTIONS = """needs_key=False, config_options=(
    ConfigOption(name="n_ctx", types=(int,), about="tokens of context"),
    ConfigOption(name="is_fast", types=(bool,), about="hurry"),
    ConfigOption(name="ratio", types=(float,), about="a share"),
)"""


def test_provider_options_are_taken_as_declared(install_acme):
    install_acme(OPTIONS)
    assert acme(provider_options={"n_ctx": 2048, "is_fast": True}).provider_options == {"n_ctx": 2048, "is_fast": True}


def test_provider_option_of_an_unknown_name_is_refused_with_the_declared_ones(install_acme):
    install_acme(OPTIONS)
    with pytest.raises(ConfigurationError, match="provider 'acme' has no option 'n_ctxx'") as caught:
        acme(provider_options={"n_ctxx": 1})
    assert caught.value.hint == "it declares: is_fast, n_ctx, ratio"


def test_provider_option_is_refused_where_none_is_declared(install_acme):
    install_acme()
    with pytest.raises(ConfigurationError, match="has no option 'n_ctx'") as caught:
        acme(provider_options={"n_ctx": 1})
    assert caught.value.hint == "it declares: none"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_ctx", "2048", "option 'n_ctx' of provider 'acme' must be int, got str"),
        ("n_ctx", True, "option 'n_ctx' of provider 'acme' must be int, got bool"),
        ("is_fast", 1, "option 'is_fast' of provider 'acme' must be bool, got int"),
        ("ratio", False, "option 'ratio' of provider 'acme' must be float, got bool"),
    ],
)
def test_provider_option_of_the_wrong_type_is_refused(install_acme, name, value, message):
    install_acme(OPTIONS)
    with pytest.raises(ConfigurationError, match=message):
        acme(provider_options={name: value})


def test_provider_option_that_is_a_float_may_be_a_whole_number(install_acme):
    install_acme(OPTIONS)
    assert acme(provider_options={"ratio": 1}).provider_options == {"ratio": 1}


def test_provider_options_are_detached_from_what_was_passed():
    options = {"fast": True}
    config = mock(provider_options=options)
    options["fast"] = False
    assert config.provider_options == {"fast": True}


# capabilities

HONOURED = 'options={"temperature", "tools"}, needs_key=False'


def test_capabilities_are_those_of_options_that_the_provider_has(install_acme):
    install_acme(HONOURED)
    assert acme(capabilities={"temperature": False}).capabilities == {"temperature": False}


@pytest.mark.parametrize("is_taken", [True, False])
def test_capability_without_an_option_is_refused_with_the_declared_ones(install_acme, is_taken):
    install_acme(HONOURED)
    with pytest.raises(ConfigurationError, match="'top_p', which is no option of provider 'acme'") as caught:
        acme(capabilities={"top_p": is_taken})
    assert caught.value.hint == "use one of: temperature, tools"


def test_capabilities_are_none_by_default():
    assert mock(capabilities=None) == mock(capabilities={}) == mock()


def test_capabilities_are_detached_from_what_was_passed():
    capabilities = {"tools": True}
    config = mock(capabilities=capabilities)
    capabilities["tools"] = False
    assert config.capabilities == {"tools": True}


def test_capabilities_are_shown():
    assert "capabilities={'tools': False}" in repr(mock(capabilities={"tools": False}))


def test_capabilities_that_are_equal_hash_alike():
    first, second = (
        mock(capabilities={"tools": True, "top_p": False}),
        mock(capabilities={"top_p": False, "tools": True}),
    )
    assert (first, hash(first)) == (second, hash(second))


# the provider's own check

CHECK = """
@hookimpl
def pollux_check_config(self, config):
    {body}
"""


def test_provider_may_find_a_problem(install_acme):
    install_acme(body=CHECK.format(body="return Problem(f'no model {config.model}', 'pick another')"))
    with pytest.raises(ConfigurationError, match="no model m") as caught:
        acme()
    assert caught.value.hint == "pick another"


def test_config_is_accepted_when_the_provider_finds_no_problem(install_acme):
    install_acme(body=CHECK.format(body="return None"))
    assert acme().model == "m"


def test_provider_sees_what_the_environment_completed(install_acme, monkeypatch):
    install_acme(KEYED, body=CHECK.format(body="return Problem('none') if config.api_key is None else None"))
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    assert acme().api_key == SECRET


def test_provider_whose_check_raises_is_named_with_its_hook(install_acme):
    install_acme(body=CHECK.format(body="raise OSError('no boat')"))
    with pytest.raises(
        ProviderBugError, match=r"pollux_check_config .*pollux-acme.* raised OSError: no boat"
    ) as caught:
        acme()
    assert isinstance(caught.value.__cause__, OSError)


def test_provider_whose_check_gives_something_else_is_named_with_its_hook(install_acme):
    install_acme(body=CHECK.format(body="return 'no boat'"))
    with pytest.raises(ProviderBugError, match="pollux_check_config"):
        acme()


def test_problem_that_quotes_the_key_is_shown_without_it(install_acme):
    install_acme(KEYED, body=CHECK.format(body="return Problem(f'bad key {config.api_key}', config.api_key)"))
    with pytest.raises(ConfigurationError) as caught:
        acme(api_key=SECRET)
    assert SECRET not in str(caught.value)


# plugins


def test_no_plugin_is_active_by_default(install):
    install("class Plugin: pass", distribution="pollux-log", group=MIDDLEWARE, names=("log",))
    assert mock().plugins == ()


def test_plugins_are_kept_in_order():
    assert mock(plugins=["log", "cost"]).plugins == ("log", "cost")


def test_plugins_may_be_objects():
    log = object()
    assert mock(plugins=[log]).plugins == (log,)


def test_plugins_are_taken_from_the_variable(monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PLUGINS", "log, cost")
    assert mock().plugins == ("log", "cost")


def test_plugins_are_taken_from_the_project(folder):
    (folder / "pyproject.toml").write_text('[tool.pollux-sync]\nplugins = ["log"]\n')
    assert mock().plugins == ("log",)


@pytest.mark.parametrize("explicit", [["cost"], []])
def test_explicit_plugins_win(monkeypatch, explicit):
    monkeypatch.setenv("POLLUX_SYNC_PLUGINS", "log")
    assert mock(plugins=explicit).plugins == tuple(explicit)


# as a value


@pytest.mark.parametrize("shown", [repr, str])
def test_hides_the_key(shown):
    text = shown(mock(api_key=SECRET))
    assert SECRET not in text
    assert "api_key='[REDACTED]'" in text


@pytest.mark.parametrize("shown", [repr, str])
def test_shows_that_there_is_no_key(shown):
    assert "api_key=None" in shown(mock())


@pytest.mark.parametrize(
    "url", [f"https://ahab:{SECRET}@example.org/v1", f"https://example.org/v1?key={SECRET}", "https://a.b/#x"]
)
def test_refuses_a_base_url_with_credentials_query_or_fragment_without_showing_it(url):
    with pytest.raises(ConfigurationError, match="credentials, a query or a fragment") as caught:
        mock(base_url=url)
    assert SECRET not in str(caught.value)


def test_spaces_around_a_key_are_dropped():
    assert mock(api_key=f" {SECRET}\n").api_key == SECRET


def test_shows_a_base_url_without_credentials_completely():
    assert "base_url='https://example.org/v1'" in repr(mock(base_url="https://example.org/v1"))


def test_base_url_with_an_at_sign_further_on_keeps_its_host():
    assert "example.org" in repr(mock(base_url="https://example.org/@team/v1"))


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://ahab:{SECRET}@example.org",
        f"ahab:{SECRET}@example.org/v1",
        f"http://ahab:{SECRET}@[",
        f"//ahab:{SECRET}@example.org",
        f"http:/ahab:{SECRET}@example.org",
        f"http:///ahab:{SECRET}@example.org",
        f"https://ahab:half/{SECRET}@example.org",
    ],
)
def test_refusal_of_a_base_url_does_not_show_its_credentials(url):
    with pytest.raises(ConfigurationError) as caught:
        mock(base_url=url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", [f"{SECRET}\nx", f"{SECRET}é"])
def test_refusal_of_a_key_does_not_show_it(key):
    with pytest.raises(ConfigurationError) as caught:
        mock(api_key=key)
    assert SECRET not in str(caught.value)


def test_equal_configs_are_equal_and_hash_alike():
    first, second = (mock(api_key=SECRET, provider_options={"a": 1, "b": [2]}) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)


def test_order_of_provider_options_does_not_matter():
    assert mock(provider_options={"a": 1, "b": 2}) == mock(provider_options={"b": 2, "a": 1})


@pytest.mark.parametrize(
    "other",
    [
        {"provider": "zebra"},
        {"model": "other"},
        {"api_key": "other"},
        {"base_url": "http://127.0.0.1"},
        {"request_concurrency": 1},
        {"timeout_s": 1},
        {"stream_timeout_s": 1},
        {"retry": RetryPolicy(max_attempts=1)},
        {"plugins": ["log"]},
        {"provider_options": {"a": 1}},
        {"capabilities": {"tools": False}},
    ],
)
def test_configs_that_differ_in_a_field_differ(other):
    assert mock(**other) != mock()


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        mock().model = "other"


def test_config_survives_pickling_with_its_key():
    config = mock(api_key=SECRET, plugins=["log"], provider_options={"a": 1})
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own bytes


def test_config_survives_copying():
    assert copy.deepcopy(mock(api_key=SECRET)) == copy.copy(mock(api_key=SECRET))


def test_changed_config_is_checked_again():
    with pytest.raises(ConfigurationError):
        attrs.evolve(mock(), request_concurrency=0)


def test_changed_config_keeps_what_the_environment_completed(install_acme, monkeypatch):
    install_acme(KEYED)
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    config = acme()
    monkeypatch.delenv("ACME_API_KEY")
    assert attrs.evolve(config, model="other").api_key == SECRET


def test_header_that_is_given_twice_in_other_case_is_refused_by_its_name():
    with pytest.raises(ConfigurationError, match="headers holds x-team more than once") as caught:
        Config(provider="openai", model="m", use_mock=True, headers={"X-Team": "a", "x-team": "b"})
    assert caught.value.hint == "keep one of them"
