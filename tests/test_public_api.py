import ast
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest

import pollux_sync

FUNCTIONS = [
    "continue_tool",
    "interact",
    "messages_from_openai",
    "messages_to_openai",
    "outputs",
    "result_of",
    "run",
    "run_many",
    "run_tools",
    "to_jsonable",
    "tool_arguments",
]


def parameters_of(function):
    return inspect.signature(getattr(pollux_sync, function)).parameters


def imported_for_type_checkers():
    tree = ast.parse(Path(pollux_sync.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {alias.asname or alias.name for node in block.body for alias in node.names}


def test_public_names_are_sorted():
    assert pollux_sync.__all__ == sorted(pollux_sync.__all__)


def test_public_names_are_each_listed_once():
    assert len(set(pollux_sync.__all__)) == len(pollux_sync.__all__)


def test_public_names_are_those_that_load_when_used():
    homes = {name for names in pollux_sync._HOMES.values() for name in names}
    assert {*homes, "__version__"} == set(pollux_sync.__all__)


def test_type_checkers_see_the_public_names():
    assert {*imported_for_type_checkers(), "__version__"} == set(pollux_sync.__all__)


def test_names_of_one_home_are_sorted():
    assert all(list(names) == sorted(names) for names in pollux_sync._HOMES.values())


@pytest.mark.parametrize("name", pollux_sync.__all__)
def test_public_name_can_be_used(name):
    assert getattr(pollux_sync, name) is not None


@pytest.mark.parametrize("name", sorted({*pollux_sync.__all__} - {"__version__", "hookimpl"}))
def test_public_name_has_a_docstring_of_its_own(name):
    public = getattr(pollux_sync, name)
    inherited = [base.__doc__ for base in public.__mro__[1:]] if inspect.isclass(public) else []
    assert public.__doc__
    assert public.__doc__ not in inherited


def test_public_errors_are_all_that_there_are():
    errors = {name for name, value in vars(pollux_sync.errors).items() if inspect.isclass(value)}
    raised = {name for name in errors if issubclass(getattr(pollux_sync.errors, name), pollux_sync.PolluxError)}
    assert raised <= set(pollux_sync.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'pollux_sync' has no attribute 'run_async'"):
        _ = pollux_sync.run_async


def test_unknown_name_cannot_be_imported():
    with pytest.raises(ImportError, match="run_async"):
        exec("from pollux_sync import run_async")


def test_star_import_gives_the_public_names():
    namespace = {}
    exec("from pollux_sync import *", namespace)
    assert set(pollux_sync.__all__) <= set(namespace)


def test_dir_lists_the_public_names():
    assert dir(pollux_sync) == pollux_sync.__all__


def test_name_is_looked_up_once():
    first = pollux_sync.Source
    assert vars(pollux_sync)["Source"] is first


def test_version_is_that_of_the_distribution():
    assert pollux_sync.__version__ == version("pollux-sync")


@pytest.mark.parametrize("function", ["continue_tool", "interact", "run", "run_many"])
def test_config_is_required_and_given_by_name(function):
    config = parameters_of(function)["config"]
    assert (config.kind, config.default) == (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty)


@pytest.mark.parametrize("function", ["continue_tool", "interact", "run", "run_many"])
def test_options_are_optional_and_given_by_name(function):
    options = parameters_of(function)["options"]
    assert (options.kind, options.default) == (inspect.Parameter.KEYWORD_ONLY, None)


@pytest.mark.parametrize(
    ("function", "positional"),
    [
        ("run", ["prompt"]),
        ("run_many", ["prompts"]),
        ("continue_tool", ["continue_from", "tool_results"]),
        ("interact", ["environment", "input"]),
        ("to_jsonable", ["envelope"]),
    ],
)
def test_only_what_the_call_is_about_may_be_given_by_place(function, positional):
    kinds = {name: parameter.kind for name, parameter in parameters_of(function).items()}
    assert [name for name, kind in kinds.items() if kind is not inspect.Parameter.KEYWORD_ONLY] == positional


@pytest.mark.parametrize(
    ("function", "name", "default"),
    [("run", "prompt", None), ("run", "source", None), ("run_many", "prompts", None), ("run_many", "sources", ())],
)
def test_prompt_and_sources_may_be_left_out(function, name, default):
    assert parameters_of(function)[name].default == default


def test_every_prompt_sees_every_source_by_default():
    assert parameters_of("run_many")["per_source"].default is False


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_are_plain_and_block(function):
    called = getattr(pollux_sync, function)
    assert inspect.isfunction(called)
    assert not inspect.iscoroutinefunction(called)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_are_annotated_whole(function):
    signature = inspect.signature(getattr(pollux_sync, function))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


def test_package_says_that_it_is_typed():
    assert Path(pollux_sync.__file__).with_name("py.typed").is_file()
