import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_imports_point_the_way_the_architecture_says():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_core_names_no_provider():
    named = {
        f"{path.relative_to(ROOT)}: {vendor}"
        for path in (ROOT / "src" / "pollux_sync").rglob("*.py")
        for vendor in ("openai", "anthropic", "openrouter", "pollux_local")
        if vendor in _code(path)
    }
    assert named == set()


def _code(path):
    """The file's code without docstrings and comments, where examples may name whom they like.

    The transcript format that every vendor's SDK and half the servers speak is called after the vendor it came from.
    """
    import ast

    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    return ast.unparse(tree).lower().replace("from_openai", "").replace("to_openai", "")


def test_nothing_is_asynchronous():
    asynchronous = [path for path in (ROOT / "src").rglob("*.py") if "async def" in path.read_text()]
    assert asynchronous == []
