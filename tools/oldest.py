"""Print the oldest releases that pyproject.toml files accept, as arguments of pip.

Usage: ``python tools/oldest.py pyproject.toml plugins/pollux-openai/pyproject.toml``.

Dependencies without a lower bound, and our own packages, are left out.
"""

import re
import sys
import tomllib
from pathlib import Path

_FLOOR = re.compile(r"(?P<name>[\w.-]+)>=(?P<version>[\w.]+)")


def list_oldest(project: Path) -> list[str]:
    """Return one ``name==version`` for each dependency of a project that has a lower bound."""
    dependencies = tomllib.loads(project.read_text())["project"]["dependencies"]
    floors = filter(None, map(_FLOOR.match, dependencies))
    return [f"{floor['name']}=={floor['version']}" for floor in floors if not floor["name"].startswith("pollux-")]


if __name__ == "__main__":
    print(*(requirement for argument in sys.argv[1:] for requirement in list_oldest(Path(argument))))
