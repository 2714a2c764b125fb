"""A provider of somebody else, installed as users install it, beside plugins that are broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from doc_blocks import list_blocks
from installing import install
from pollux_sync.testing.server import Answer, ScriptedServer

EXAMPLE = Path(__file__).parents[1] / "examples" / "pollux-acme"
GUIDE = EXAMPLE.parents[1] / "docs" / "how-to" / "write-a-provider.md"

ASK = """
import sys
from pollux_sync import Config, ConfigurationError, Options, Source, run
try:
    config = Config(provider=sys.argv[1], model="acme-1", api_key="k", base_url=sys.argv[2])
    result = run("How many?", source=Source.from_text("Three."), config=config, options=Options(temperature=0))
    print(result["answers"][0])
except ConfigurationError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages: the example, a plugin that fails to import, and two of one name."""
    folder = tmp_path_factory.mktemp("site")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--root-user-action=ignore",
    ]
    command = [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder), str(EXAMPLE)]
    subprocess.run(command, check=True, timeout=120)
    install(folder, "pollux-broken", "0.3", broken="pollux_broken:Provider")
    (folder / "pollux_broken.py").write_text("import a_module_that_nobody_has\n")
    install(folder, "pollux-twin", "1.0", twin="pollux_twin:Provider")
    install(folder, "other-twin", "2.0", twin="other_twin:Provider")
    return folder


@pytest.fixture
def ask(site):
    with ScriptedServer(default=Answer(json={"answer": "three", "tokens": 5})) as server:

        def ask(provider):
            command = [sys.executable, "-c", ASK, provider, server.url]
            environment = os.environ | {"PYTHONPATH": str(site)}
            return subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60, check=True
            ).stdout

        ask.server = server
        yield ask


def test_is_at_most_40_lines():
    assert len((EXAMPLE / "src" / "pollux_acme.py").read_text().splitlines()) <= 40


def test_answers_through_run_beside_broken_plugins(ask):
    assert ask("acme") == "three\n"
    (request,) = ask.server.requests
    assert request.json() == {"model": "acme-1", "question": "Three.\n\nHow many?", "temperature": 0}
    assert request.headers["authorization"] == "Bearer k"


def run_tests(site, tests):
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", str(EXAMPLE / "pyproject.toml"), "-W", "error"]
    command = [sys.executable, "-m", "pytest", *options, str(tests)]
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_keeps_the_contract_of_every_provider(site):
    done = run_tests(site, EXAMPLE / "tests")
    assert done.returncode == 0, done.stdout[-3000:]


def test_its_tests_are_those_that_the_guide_shows():
    assert f"```python\n{(EXAMPLE / 'tests' / 'test_acme.py').read_text()}```" in GUIDE.read_text()


@pytest.mark.soak
def test_provider_with_files_and_streams_in_the_guide_keeps_the_contracts_with_the_tests_of_the_guide(tmp_path):
    codes = [block.code for block in list_blocks(GUIDE)]
    (provider,) = [code for code in codes if "class AcmeFiles:" in code]
    (tests,) = [code for code in codes if "class TestAcmeFiles(" in code]
    (tmp_path / "acme_files.py").write_text(provider)
    install(tmp_path, "pollux-acme", acme="acme_files:AcmeFiles")
    (tmp_path / "test_acme_files.py").write_text(tests)
    done = run_tests(tmp_path, tmp_path / "test_acme_files.py")
    assert done.returncode == 0, done.stdout[-3000:]


def test_says_what_to_do_about_a_broken_plugin(ask):
    told = ask("broken")
    assert "'broken' of pollux-broken 0.3 cannot be loaded: ModuleNotFoundError" in told
    assert "upgrade or uninstall pollux-broken" in told


def test_says_what_to_do_about_a_name_offered_twice(ask):
    told = ask("twin")
    assert "'twin' is offered by other-twin 2.0 and pollux-twin 1.0" in told
    assert "'other-twin:twin' or 'pollux-twin:twin'" in told
