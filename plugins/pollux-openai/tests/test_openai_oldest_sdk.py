"""The same tests with the oldest SDK that the plugin admits; `make test` installs it beside the newest."""

import os
import subprocess
import sys
from pathlib import Path

OLDEST = Path(sys.prefix) / "oldest-sdks"
HERE = Path(__file__).parent
#: Calls whose way is "direct" need the SDK for files alone.
USES_SDK = "not direct or files"


def run_with_oldest(*command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environment["PYTHONPATH"] = str(OLDEST)
    command = [sys.executable, *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_oldest_is_older_than_what_the_other_tests_use():
    import openai

    oldest = run_with_oldest("-c", "import openai; print(openai.__version__)").stdout.strip()
    assert oldest == "3.0.0", f"run `make test`, which installs {OLDEST}"
    assert openai.__version__ != oldest


def test_oldest_sdk_gives_the_same():
    names = ("ways", "stream_ways", "sdk_stream", "files", "deferred", "services")
    files = [str(HERE / f"test_openai_{name}.py") for name in names]
    done = run_with_oldest("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-k", USES_SDK, *files)
    assert done.returncode == 0, done.stdout[-3000:]
