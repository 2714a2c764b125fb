"""The commands in the how-to about the shell print what is shown below them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from doc_blocks import list_runs

BASH = shutil.which("bash")
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "shell.md"


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_commands_of_the_how_to_print_what_is_shown(folder):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command, output in list_runs(PAGE):
        done = subprocess.run(
            [BASH, "-c", f"exec 2>&1; {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=os.environ | {"PATH": path},
            text=True,
            check=False,
        )
        assert f"$ {command}\n{done.stdout}" == f"$ {command}\n{output}"
