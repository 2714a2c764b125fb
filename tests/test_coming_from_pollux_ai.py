"""The page for users of pollux-ai names only things that exist here."""

import inspect
import re
import typing
from pathlib import Path

import pytest

import pollux_gemini
import pollux_sync
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
        "Options.seed",
        "Options(seed=...)",
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
