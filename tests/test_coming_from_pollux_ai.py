"""The page for users of pollux-ai names only things that exist here."""

import copy
import inspect
import pickle
import re
import typing
from pathlib import Path

import pytest

import pollux_gemini
import pollux_sync
from pollux_sync._successors import SUCCESSORS
from pollux_sync.hooks import specs

PAGE = (Path(__file__).parents[1] / "docs" / "coming-from-pollux-ai.md").read_text()

#: What a name may begin with.
PUBLIC = {name: getattr(pollux_sync, name) for name in pollux_sync.__all__}
HOMES = PUBLIC | {"pollux_gemini": pollux_gemini, "pollux_price": specs.pollux_price}
#: A name with attributes, then how it is called or which keys are looked up in it.
NAME = re.compile(r'(?P<name>[A-Za-z_]\w*(\.\w+)*)(\((?P<arguments>.*)\)|(?P<keys>(\["\w+"\])+))?')


def here():
    """What stands in code font in the last column of the tables of which it is called "here"."""
    is_wanted = False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if not line.startswith("|"):
            is_wanted = False
        elif cells[-1] == "here":
            is_wanted = True
        elif is_wanted:
            yield from re.findall(r"`([^`]+)`", re.sub(r"\[`.*?`\]\(", "(", cells[-1]))


def is_there(code):
    found = NAME.fullmatch(code)
    if found is None:
        return False
    if found["keys"]:
        return found["name"] == "result" and has_keys(re.findall(r"\w+", found["keys"]))
    try:
        value = resolved(found["name"])
    except (AttributeError, KeyError):
        return False
    wanted = re.findall(r"(\w+)=", found["arguments"] or "")
    return set(wanted) <= set(inspect.signature(value).parameters if wanted else ())


def resolved(name):
    """What the name stands for. Raises AttributeError or KeyError for one that is not there."""
    first, *attributes = name.split(".")
    value = HOMES[first]
    for attribute in attributes:
        is_error = inspect.isclass(value) and issubclass(value, pollux_sync.PolluxError)
        value = getattr(value("") if is_error else value, attribute)  # an error's facts are of the object
    return value


def has_keys(keys):
    """Whether a result has this entry, and the entry that one."""
    kind = pollux_sync.ResultEnvelope
    for key in keys:
        fields = typing.get_type_hints(kind) if typing.is_typeddict(kind) else {}
        if key not in fields:
            return False
        kind = fields[key]
    return True


NAMES = sorted(set(here()))


@pytest.mark.parametrize("code", NAMES)
def test_what_is_said_to_be_here_is_here(code):
    assert is_there(code)


@pytest.mark.parametrize(
    "code",
    [
        "run_async",
        "tools",
        "Options.sead",
        "Options(sead=...)",
        "pollux_gemini.url",
        'result["text"]',
        'result["usage"]["x"]',
    ],
)
def test_what_is_not_here_is_noticed(code):
    assert not is_there(code)


@pytest.mark.parametrize("name", [f"Options.{name}" for name in inspect.signature(pollux_sync.Options).parameters])
def test_every_option_is_told_to_be_old_or_new(name):
    assert name in NAMES


def test_tables_name_most_functions():
    functions = {name for name, value in PUBLIC.items() if inspect.isfunction(value)}
    assert len(functions & set(NAMES)) > 20


#: The names that the package pollux-ai 2.0.0 exports.
EXPORTS_OF_2 = [
    "APIError",
    "CacheError",
    "CachePolicy",
    "CacheSetting",
    "Config",
    "ConfigurationError",
    "ContextOverflowError",
    "Continuation",
    "DeferredHandle",
    "DeferredNotReadyError",
    "DeferredSnapshot",
    "Environment",
    "Event",
    "Input",
    "InternalError",
    "Message",
    "MessageRole",
    "Output",
    "OutputCollection",
    "PolluxError",
    "ProviderReadiness",
    "RateLimitError",
    "RetryPolicy",
    "Session",
    "Source",
    "SourceError",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallParseError",
    "ToolChoice",
    "ToolDeclaration",
    "ToolResult",
    "cancel_deferred",
    "check_ready",
    "collect_deferred",
    "defer",
    "inspect_deferred",
    "interact",
    "local_reasoning",
    "prepare_environment",
    "run",
    "run_many",
    "stream",
]


@pytest.mark.parametrize("name", EXPORTS_OF_2)
def test_every_export_of_2_is_here_or_has_a_successor(name):
    assert (name in PUBLIC) != (name in SUCCESSORS)


def test_page_shows_the_table_of_successors():
    assert "".join(f"| `{name}` | {successor} |\n" for name, successor in SUCCESSORS.items()) in PAGE


@pytest.mark.parametrize("name", SUCCESSORS)
def test_missing_name_says_what_to_take(name):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; coming from pollux-ai, take ") as caught:
        getattr(pollux_sync, name)
    assert SUCCESSORS[name].replace("`", "") in str(caught.value)


CONFIG = pollux_sync.Config(provider="openai", model="m", use_mock=True)


@pytest.mark.parametrize(
    "build",
    [
        lambda: pollux_sync.run("a", config=CONFIG),
        lambda: pollux_sync.result_of(pollux_sync.run_many(["a", "b"], config=CONFIG), 1),
        lambda: pollux_sync.run("a", config=CONFIG).copy(),
        lambda: pickle.loads(pickle.dumps(pollux_sync.run("a", config=CONFIG))),  # noqa: S301 - our own
        lambda: copy.deepcopy(pollux_sync.run("a", config=CONFIG)),
    ],
)
def test_result_that_is_asked_for_an_attribute_says_that_it_is_a_dict(build):
    result = build()
    assert isinstance(result, dict)
    with pytest.raises(AttributeError, match=r"a result is a dict, .* Output\(result\)"):
        _ = result.text
    with pytest.raises(AttributeError, match=r"take result\['usage'\]; "):
        _ = result.usage
    assert not hasattr(result, "_repr_html_")
