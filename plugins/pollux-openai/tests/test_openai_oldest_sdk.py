"""The same tests with the oldest SDK that the plugin admits; `make test` installs it beside the newest."""

from pathlib import Path

from oldest import run_tests_with, run_with

FOLDER = "oldest-sdks"
HERE = Path(__file__).parent


def test_oldest_is_older_than_what_the_other_tests_use():
    import openai

    oldest = run_with(FOLDER, "-c", "import openai; print(openai.__version__)").stdout.strip()
    assert oldest == "3.0.0", f"run `make test`, which installs {FOLDER}"
    assert openai.__version__ != oldest


def test_oldest_sdk_gives_the_same():
    names = ("ways", "stream_ways", "sdk_stream", "files", "deferred", "services")
    files = [HERE / f"test_openai_{name}.py" for name in names]
    code, printed = run_tests_with(FOLDER, files)
    assert code == 0, printed
