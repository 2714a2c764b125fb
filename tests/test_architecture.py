import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_imports_point_the_way_the_architecture_says():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


VENDORS = ("openai", "anthropic", "gemini", "openrouter", "pollux_local")
#: Names that the core keeps although they contain a vendor's. The transcript format that every vendor's SDK and half of
#: the servers speak is called after the vendor it came from. The video settings of a Source have the names of pollux-ai:
#: they write a hint that only the provider of that name reads.
EXCEPTIONS = {
    "data/message.py": ("from_openai", "to_openai"),
    "data/transcript.py": ("from_openai", "to_openai"),
    "data/source.py": ("with_gemini_video_settings", "gemini_video_settings_for", "'gemini'", "needs a video"),
    "__init__.py": ("messages_from_openai", "messages_to_openai"),
}


def test_the_core_names_no_provider():
    core = ROOT / "src" / "pollux_sync"
    named = set()
    for path in core.rglob("*.py"):
        place = str(path.relative_to(core))
        code = _read_code(path)
        for name in EXCEPTIONS.get(place, ()):
            code = code.replace(name, "")
        named |= {f"{place}: {vendor}" for vendor in VENDORS if vendor in code}
    assert named == set()


def _read_code(path):
    """Return the file's code without docstrings and comments, where examples may name any vendor."""
    import ast

    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    return ast.unparse(tree).lower()


def test_nothing_is_asynchronous():
    asynchronous = [path for path in (ROOT / "src").rglob("*.py") if "async def" in path.read_text()]
    assert asynchronous == []
