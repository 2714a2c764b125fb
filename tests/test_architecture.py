import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]


def test_imports_point_the_way_the_architecture_says():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


PACKAGES = (
    "pollux_sync",
    "pollux_anthropic",
    "pollux_batch",
    "pollux_cache",
    "pollux_convert",
    "pollux_cost",
    "pollux_durable",
    "pollux_fallback",
    "pollux_gemini",
    "pollux_limit",
    "pollux_local",
    "pollux_log",
    "pollux_mcp",
    "pollux_openai",
    "pollux_openrouter",
    "pollux_otel",
    "pollux_redact",
)


#: The packages that put the stages together in their own way, and the rooms of the core that they see.
BUILDERS = ("pollux_batch", "pollux_durable")
#: What a subcommand of a plugin may use besides.
TOOLBOX = "pollux_sync.commands"
ROOMS_OF_BUILDERS = ("plugin", "stages", "commands", "data", "schemas", "errors")


@pytest.fixture(scope="module")
def read_imports():
    """A function that returns, for every module, the modules that it imports anywhere in its code."""

    def read(*, with_type_checking):
        graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=not with_type_checking, cache_dir=None)
        return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}

    return read


def find_circles(imports):
    """Return the modules of circles, and those on a way from one circle to another.

    Modules that import nothing, and modules that nothing imports, are taken away again and again: what is left goes
    round.
    """
    left = {module: set(imported) for module, imported in imports.items()}
    while True:
        imported_somewhere = {name for imported in left.values() for name in imported & left.keys()}
        ends = {module for module, imported in left.items() if not imported & left.keys()}
        ends |= left.keys() - imported_somewhere
        if not ends:
            return sorted(left)
        left = {module: imported for module, imported in left.items() if module not in ends}


def test_imports_make_no_circle(read_imports):
    assert find_circles(read_imports(with_type_checking=False)) == []


def test_the_only_circle_for_type_checkers_is_that_of_the_errors(read_imports):
    imports = read_imports(with_type_checking=True)
    imports["pollux_sync.errors"] = {name for name in imports["pollux_sync.errors"] if ".data." not in name}
    assert find_circles(imports) == []


def test_plugins_import_the_plugin_module_alone_also_for_their_types(read_imports):
    of_plugins = {
        (module, name)
        for module, imported in read_imports(with_type_checking=True).items()
        for name in imported
        if not module.startswith("pollux_sync") and name.startswith("pollux_sync")
    }
    of_builders = {(module, name) for module, name in of_plugins if module.partition(".")[0] in BUILDERS}
    of_commands = {(module, name) for module, name in of_plugins if module.endswith(".cli") and name == TOOLBOX}
    assert {name for _, name in of_plugins - of_builders - of_commands} == {"pollux_sync.plugin"}
    rooms = {".".join(name.split(".")[:2]) for _, name in of_builders}
    assert rooms <= {"pollux_sync", *(f"pollux_sync.{room}" for room in ROOMS_OF_BUILDERS)}


VENDORS = ("openai", "anthropic", "gemini", "openrouter", "pollux_local")
#: Names that the core keeps although they contain a vendor's. The transcript format that every vendor's SDK and half of
#: the servers speak is called after the vendor it came from. The video settings of a Source keep pollux-ai's names;
#: they write a hint that only the provider of that name reads.
EXCEPTIONS = ("from_openai", "to_openai", "with_gemini_video_settings", "gemini_video_settings_for")
HINT_OF_VIDEOS = ("data/source.py", "gemini")


def test_the_core_names_no_provider():
    core = ROOT / "src" / "pollux_sync"
    codes = {str(path.relative_to(core)): _read_code(path) for path in core.rglob("*.py")}
    named = {(place, vendor) for place, code in codes.items() for vendor in VENDORS if vendor in code}
    assert named == {HINT_OF_VIDEOS}
    assert codes["data/source.py"].count("'gemini'") == 1


def _read_code(path):
    """Return the file's code without docstrings and comments, where examples may name any vendor."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    code = ast.unparse(tree).lower()
    for name in EXCEPTIONS:
        code = code.replace(name, "")
    return code


def test_no_function_is_longer_than_forty_lines():
    places = [*(ROOT / "src").rglob("*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    long = {
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in places
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and _count_lines(node) > 40
    }
    assert long == set()


def _count_lines(function):
    """Count the lines of a function without its docstring."""
    docstring = ast.get_docstring(function, clean=False) or ""
    return function.end_lineno - function.lineno + 1 - len(docstring.splitlines())


def test_nothing_is_asynchronous():
    asynchronous = [path for path in (ROOT / "src").rglob("*.py") if "async def" in path.read_text()]
    assert asynchronous == []
