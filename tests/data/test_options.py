import copy
import inspect
import pickle
import warnings
from dataclasses import dataclass
from typing import TypedDict

import attrs
import pydantic
import pytest

from pollux_sync import CacheHandle, ConfigurationError, Options
from pollux_sync.data.options import OPTION_TRAITS

SEARCH = {"name": "search", "description": "Look it up", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {"type": "object", "properties": {"größe": {"type": "integer"}, "art": {"type": "string"}}}
#: SHA-256 of {"properties":{"art":{"type":"string"},"gr\u00f6\u00dfe":{"type":"integer"}},"type":"object"}
SCHEMA_HASH = "70e25a99e5ba3cd315e5279bf23c3d0bedaeeffdd3995a220d8089e1c9548c1d"


@attrs.frozen
class AttrsWhale:
    name: str


@dataclass
class DataWhale:
    name: str


class DictWhale(TypedDict):
    name: str


class PydanticWhale(pydantic.BaseModel):
    name: str


def test_options_are_silent_by_default():
    assert {
        value
        for name, value in attrs.asdict(Options()).items()
        if name not in {"delivery_mode", "label_sources", "on_error", "schema_repairs"}
    } == {None}


def test_options_are_keyword_only():
    with pytest.raises(TypeError):
        Options("be brief")


def test_options_are_frozen():
    with pytest.raises(AttributeError):
        Options().temperature = 1


WRONG = [
    ("system_instruction", 3, "a string"),
    ("system_instruction", ["be brief"], "a string"),
    ("tools", "search", "a list"),
    ("tools", {"name": "search"}, "a list"),
    ("temperature", "0.5", "a number"),
    ("temperature", True, "a number"),
    ("temperature", -0.1, "at least 0"),
    ("temperature", float("nan"), ""),
    ("temperature", float("inf"), ""),
    ("temperature", 10**400, ""),
    ("top_p", "1", "a number"),
    ("top_p", False, "a number"),
    ("top_p", -0.1, "at least 0"),
    ("top_p", 1.1, "at most 1"),
    ("stop", "", "not empty"),
    ("stop", [], "a list of texts"),
    ("stop", {"END"}, "a list of texts"),
    ("stop", ["END", 7], "7"),
    ("seed", True, "an integer"),
    ("seed", -1, "at least 0"),
    ("seed", 2**31, "at most 2147483647"),
    ("service_tier", "fast", "auto, default, flex, priority"),
    ("service_tier", ["flex"], "auto, default, flex, priority"),
    ("parallel_tool_calls", False, "without tools"),
    ("reasoning_effort", 3, "a string"),
    ("reasoning_effort", " ", "blank"),
    ("reasoning_summary", "short", "auto, concise, detailed, none"),
    ("reasoning_budget_tokens", True, "an integer"),
    ("reasoning_budget_tokens", 1.0, "an integer"),
    ("reasoning_budget_tokens", -1, "at least 0"),
    ("delivery_mode", "later", "'realtime' or 'deferred'"),
    ("delivery_mode", None, "'realtime' or 'deferred'"),
    ("delivery_mode", ["realtime"], "'realtime' or 'deferred'"),
    ("history", "hello", "a list"),
    ("history", {"role": "user"}, "a list"),
    ("continue_from", "hello", "an earlier result"),
    ("continue_from", [], "an earlier result"),
    ("max_tokens", True, "an integer"),
    ("max_tokens", 0, "at least 1"),
    ("max_tokens", 1.5, "an integer"),
    ("cache", "cachedContents/whale", "a CacheHandle"),
    ("implicit_caching", 1, "True or False"),
    ("implicit_caching", "yes", "True or False"),
    ("implicit_caching", "24h", "True or False"),
    ("implicit_caching", ["1h"], "True or False"),
    ("on_error", "ignore", "'raise' or 'keep'"),
    ("on_error", None, "'raise' or 'keep'"),
    ("on_error", ["raise"], "'raise' or 'keep'"),
    ("provider_options", "openai", "a dict"),
    ("provider_options", ["openai"], "a dict"),
    ("provider_options", [], "a dict"),
    ("provider_options", {1: {}}, "a dict with string keys"),
    ("provider_options", {"openai": "fast"}, "a dict"),
    ("provider_headers", "X-Team: blue", "a dict"),
    ("provider_headers", {"openai": "X-Team: blue"}, "a dict"),
    ("provider_headers", {"openai": {1: "blue"}}, "a dict with string keys"),
    ("provider_headers", {"openai": {"X Team": "blue"}}, "not a valid header name"),
    ("provider_headers", {"openai": {"": "blue"}}, "not a valid header name"),
    ("provider_headers", {"openai": {"X-Team": None}}, "must be a string, got NoneType"),
    ("provider_headers", {"openai": {"X-Team": "blue\r\nX-Other: red"}}, "printable ASCII"),
    ("provider_headers", {"openai": {"X-Team": "grün"}}, "printable ASCII"),
    ("provider_headers", {"openai": {"X-Team": "a", "x-team": "b"}}, "more than once"),
    ("provider_headers", {"openai": {"Authorization": "Bearer x"}}, "carries the key"),
    ("provider_headers", {"openai": {"Proxy-Authorization": "Basic x"}}, "carries the key"),
    ("provider_headers", {"openai": {"COOKIE": "a=b"}}, "carries the key"),
    ("provider_headers", {"openai": {"x-api-key": "x"}}, "carries the key"),
    ("provider_headers", {"openai": {"Api-Key": "x"}}, "carries the key"),
    ("provider_headers", {"openai": {"host": "x"}}, "the client writes itself"),
    ("provider_headers", {"openai": {"User-Agent": "x"}}, "the client writes itself"),
    ("provider_headers", {"openai": {"Accept": "text/html"}}, "the client writes itself"),
    ("provider_headers", {"openai": {"Connection": "close"}}, "the client writes itself"),
    ("provider_headers", {"openai": {"content-length": "1"}}, "the body of each request"),
    ("provider_headers", {"openai": {"Content-Type": "text/plain"}}, "the body of each request"),
    ("provider_headers", {"openai": {"Transfer-Encoding": "chunked"}}, "the body of each request"),
]


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG)
def test_wrong_value_is_refused_with_its_field_and_what_is_right(name, value, wanted):
    with pytest.raises(ConfigurationError, match=name) as caught:
        Options(**{name: value})
    assert wanted in str(caught.value)


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG)
def test_refusal_has_a_hint(name, value, wanted):
    with pytest.raises(ConfigurationError) as caught:
        Options(**{name: value})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("system_instruction", ""),
        ("temperature", 0),
        ("temperature", 2.5),
        ("top_p", 0),
        ("top_p", 1),
        ("stop", "\n"),
        ("stop", ("END", " ")),
        ("seed", 0),
        ("response_schema", dict),
        ("service_tier", "flex"),
        ("reasoning_effort", "high"),
        ("reasoning_summary", "concise"),
        ("reasoning_budget_tokens", 0),
        ("history", []),
        ("history", ({"role": "user", "content": "hello"},)),
        ("continue_from", {}),
        ("max_tokens", 1),
        ("cache", CacheHandle("c", "m", "p", 1.0)),
        ("implicit_caching", False),
        ("implicit_caching", True),
        ("implicit_caching", "5m"),
        ("implicit_caching", "1h"),
        ("on_error", "keep"),
        ("provider_options", {}),
        ("provider_options", {"openai": {"store": False}}),
        ("provider_headers", {}),
        ("provider_headers", {"anthropic": {"anthropic-beta": "context-1m-2025-08-07", "Idempotency-Key": "a"}}),
    ],
)
def test_keeps_a_valid_value_unchanged(name, value):
    assert getattr(Options(**{name: value}), name) == value


# delivery_mode


def test_delivery_mode_is_realtime_without_a_warning():
    assert Options().delivery_mode == "realtime"


@pytest.mark.parametrize("mode", ["realtime", "deferred"])
def test_delivery_mode_given_is_kept_with_a_deprecation_warning(mode):
    with pytest.warns(DeprecationWarning, match="delivery_mode is deprecated"):
        assert Options(delivery_mode=mode).delivery_mode == mode


def test_deprecation_warning_points_at_the_caller():
    with pytest.warns(DeprecationWarning, match="delivery_mode") as caught:
        line, _ = inspect.currentframe().f_lineno, Options(delivery_mode="realtime")
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


def test_wrong_delivery_mode_is_refused_without_a_warning():
    with warnings.catch_warnings(record=True, action="always") as caught, pytest.raises(ConfigurationError):
        Options(delivery_mode="later")
    assert caught == []


def test_default_delivery_mode_stays_silent_when_other_options_change():
    assert attrs.evolve(Options(), temperature=1).delivery_mode == "realtime"


def test_default_delivery_mode_stays_silent_after_pickling():
    revived = pickle.loads(pickle.dumps(Options()))  # noqa: S301 - our own bytes
    assert attrs.evolve(revived, temperature=1).delivery_mode == "realtime"


def test_delivery_mode_warns_once_and_not_again_when_other_options_change():
    with pytest.warns(DeprecationWarning, match="delivery_mode"):
        options = Options(delivery_mode="realtime")
    assert attrs.evolve(options, temperature=1).delivery_mode == "realtime"


# what excludes each other


@pytest.mark.parametrize(
    "both",
    [
        {"reasoning_effort": "low", "reasoning_budget_tokens": 100},
        {"reasoning_effort": "low", "reasoning_budget_tokens": 0},
        {"history": [], "continue_from": {}},
    ],
)
def test_two_that_exclude_each_other_are_refused_by_both_names(both):
    first, second = both
    with pytest.raises(ConfigurationError, match=f"{first} and {second} exclude each other") as caught:
        Options(**both)
    assert caught.value.hint == "keep one of them"


# tools


def test_tools_are_kept():
    assert Options(tools=[SEARCH]).tools == [SEARCH]


def test_tools_may_be_none_at_all():
    assert Options(tools=[]).tools == []


@pytest.mark.parametrize("tool", ["search", None, {3: "search"}])
def test_tool_that_is_no_dict_is_refused_by_its_place(tool):
    with pytest.raises(ConfigurationError, match=r"tools\[1\] must be a dict"):
        Options(tools=[SEARCH, tool])


@pytest.mark.parametrize("tool", [{}, {"name": ""}, {"name": 3}, {"type": "function", "function": {"name": "search"}}])
def test_tool_without_a_name_is_refused_with_the_form_it_should_have(tool):
    with pytest.raises(ConfigurationError, match=r"tools\[0\]\['name'\]") as caught:
        Options(tools=[tool])
    assert caught.value.hint


@pytest.mark.parametrize("choice", ["auto", "required", "none", {"name": "search"}])
def test_tool_choice_is_kept(choice):
    assert Options(tools=[SEARCH], tool_choice=choice).tool_choice == choice


@pytest.mark.parametrize(
    "choice", ["any", "", 3, ["auto"], {}, {"name": 3}, {"type": "function"}, {"name": "search", "x": 1}]
)
def test_unknown_tool_choice_is_refused(choice):
    with pytest.raises(ConfigurationError, match=r"tool_choice .* is not known") as caught:
        Options(tools=[SEARCH], tool_choice=choice)
    assert caught.value.hint == "use 'auto', 'required', 'none' or {'name': TOOL}"


def test_tool_choice_of_a_missing_tool_is_refused_with_those_there_are():
    with pytest.raises(ConfigurationError, match=r"tool_choice names 'fetch', tools are \['search'\]"):
        Options(tools=[SEARCH], tool_choice={"name": "fetch"})


@pytest.mark.parametrize("tools", [None, []])
def test_tool_choice_needs_tools(tools):
    with pytest.raises(ConfigurationError, match="tool_choice is given without tools"):
        Options(tools=tools, tool_choice="auto")


# conversation


def test_history_item_without_a_role_is_refused_by_its_place():
    with pytest.raises(ConfigurationError, match=r"history\[1\]\['role'\]") as caught:
        Options(history=[{"role": "user"}, {"content": "hello"}])
    assert caught.value.hint


def test_history_item_that_is_no_dict_is_refused_by_its_place():
    with pytest.raises(ConfigurationError, match=r"history\[0\] must be a dict"):
        Options(history=["hello"])


@pytest.mark.parametrize("opted_in", [{"history": []}, {"continue_from": {}}])
def test_conversation_is_wanted_even_when_it_starts_empty(opted_in):
    assert Options(**opted_in).wants_conversation


def test_conversation_is_not_wanted_by_default():
    assert not Options().wants_conversation


# response schema


def test_schema_methods_return_none_without_a_schema():
    options = Options()
    assert (options.response_schema_json(), options.response_schema_model(), options.response_schema_hash()) == (
        None,
        None,
        None,
    )


@pytest.mark.parametrize("whale", [AttrsWhale, DataWhale, DictWhale, PydanticWhale])
def test_schema_of_a_class_describes_its_fields(whale):
    schema = Options(response_schema=whale).response_schema_json()
    assert (schema["properties"]["name"]["type"], schema["required"]) == ("string", ["name"])


@pytest.mark.parametrize("whale", [AttrsWhale, DataWhale, DictWhale, PydanticWhale])
def test_schema_model_is_the_class(whale):
    assert Options(response_schema=whale).response_schema_model() is whale


def test_schema_dict_is_returned_unchanged():
    assert Options(response_schema=SCHEMA).response_schema_json() == SCHEMA


def test_schema_dict_has_no_model():
    assert Options(response_schema=SCHEMA).response_schema_model() is None


def test_schema_that_was_handed_out_is_detached():
    options = Options(response_schema=copy.deepcopy(SCHEMA))
    options.response_schema_json()["properties"].clear()
    assert options.response_schema_json() == SCHEMA


def test_schema_hash_is_the_same_in_every_release():
    assert Options(response_schema=SCHEMA).response_schema_hash() == SCHEMA_HASH


def test_schema_hash_does_not_depend_on_the_order_of_keys():
    turned = {key: SCHEMA[key] for key in reversed(SCHEMA)}
    assert Options(response_schema=turned).response_schema_hash() == SCHEMA_HASH


def test_schema_hash_differs_for_another_schema():
    assert Options(response_schema={"type": "object"}).response_schema_hash() != SCHEMA_HASH


@pytest.mark.parametrize("wrong", [3, "Whale", object(), [AttrsWhale]])
def test_schema_that_is_no_type_is_refused(wrong):
    with pytest.raises(ConfigurationError) as caught:
        Options(response_schema=wrong)
    assert caught.value.hint


def test_schema_with_a_type_that_json_cannot_say_is_refused():
    @attrs.frozen
    class Odd:
        thing: object.__class__

    with pytest.raises(ConfigurationError, match=r"thing|JSON form"):
        Options(response_schema=Odd)


@pytest.mark.parametrize(
    ("schema", "hint"),
    [
        ({"name": "answer", "strict": True, "schema": SCHEMA}, "pass the dict under 'schema' itself"),
        ({"city": {"type": "string"}}, "pass {'type': 'object', 'properties': {...}}"),
    ],
)
def test_schema_without_any_keyword_is_refused_with_what_to_pass(schema, hint):
    with pytest.raises(ConfigurationError, match="no keyword of one") as caught:
        Options(response_schema=schema)
    assert caught.value.hint == hint


@pytest.mark.parametrize("schema", [{}, {"description": "Anything"}, {"$ref": "#"}, {"enum": [1]}, {"required": ["a"]}])
def test_schema_with_any_keyword_is_taken(schema):
    assert Options(response_schema=schema).response_schema_json() == schema


def test_every_option_is_declared_by_providers_or_honoured_by_the_core():
    of_the_core = {traits.name for traits in OPTION_TRAITS if traits.declared_as is None}
    assert of_the_core == {
        *("delivery_mode", "label_sources", "on_error", "schema_repairs", "provider_options", "provider_headers"),
    }
    assert [traits.name for traits in OPTION_TRAITS] == [field.name for field in attrs.fields(Options)]


def test_lists_the_options_that_are_set():
    options = Options(temperature=0, history=[], on_error="raise", schema_repairs=2)
    assert [traits.name for traits in options.iter_set()] == ["temperature", "history", "schema_repairs"]


def test_headers_show_their_names_alone():
    options = Options(provider_headers={"openai": {"X-Token": "tok-very-secret", "X-Team": "blue"}})
    shown = "provider_headers={'openai': {'X-Token': '[REDACTED]', 'X-Team': '[REDACTED]'}}"
    assert shown in repr(options)
    assert shown in repr(attrs.evolve(options, temperature=0))


@pytest.mark.parametrize("headers", ["tok-very-secret", {"openai": "tok-very-secret"}, {"openai": {"a": ("tok",)}}])
def test_refusal_of_headers_shows_no_value(headers):
    with pytest.raises(ConfigurationError) as caught:
        Options(provider_headers=headers)
    assert "tok" not in f"{caught.value!r} {caught.value.hint}"


def test_options_survive_pickling():
    options = Options(response_schema=AttrsWhale, tools=[SEARCH], tool_choice="auto", temperature=0.5)
    assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301 - our own bytes


@pytest.mark.parametrize(("given", "texts"), [(None, None), ("END", ["END"]), (("a", "b"), ["a", "b"])])
def test_stop_may_be_one_text_or_several(given, texts):
    assert Options(stop=given).stop_texts == texts


def test_parallel_tool_calls_is_true_or_false():
    with pytest.raises(ConfigurationError, match="parallel_tool_calls must be True or False"):
        Options(tools=[{"name": "ping"}], parallel_tool_calls="no")


@pytest.mark.parametrize(
    ("asked", "priced"), [(None, "default"), ("auto", "default"), ("default", "default"), ("flex", "flex")]
)
def test_tier_that_is_left_to_the_account_is_priced_as_the_default(asked, priced):
    assert Options(service_tier=asked).priced_tier == priced


@pytest.mark.parametrize(("given", "is_wanted"), [(dict, True), (dict[str, int], False), ({"type": "object"}, False)])
def test_only_the_type_itself_asks_for_any_object(given, is_wanted):
    assert Options(response_schema=given).wants_json_object is is_wanted
