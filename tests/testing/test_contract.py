"""The contract fails for providers that break it."""

import os
import re
import subprocess
import sys

import pytest

from installing import install

PROVIDERS = """
from pollux_sync import Fault, HttpRequest, ProviderInfo, Reply, hookimpl

class Faithful:
    name = "faithful"

    @hookimpl
    def pollux_provider_info(self):
        reach = {"base_url": "https://api.example/v1", "base_url_policy": "optional"}
        return ProviderInfo(name=self.name, key_env=("EXAMPLE_API_KEY",), **reach)

    @hookimpl
    def pollux_encode(self, call):
        return HttpRequest(path="/ask", body={"question": call.prompt})

    @hookimpl
    def pollux_decode(self, response):
        return Reply(text=response.body["answer"], finish_reason="stop")

class Deaf(Faithful):
    name = "deaf"

    @hookimpl
    def pollux_decode(self, response):
        return Reply(text="what?", finish_reason="stop")

class Stubborn(Faithful):
    name = "stubborn"

    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        try:
            return client.send(request, timeout_s)
        except Exception:
            return client.send(request, timeout_s)

class Vague(Faithful):
    name = "vague"

    @hookimpl
    def pollux_classify_error(self, error):
        return Fault(kind="unknown", message=str(error), retryable=True)
"""

TESTS = """
from pollux_sync.testing.contract import ProviderContract
from pollux_sync.testing.server import Answer

class Facts:
    def answer(self, text):
        return Answer(json={"answer": text})

class TestFaithful(Facts, ProviderContract):
    provider = "faithful"

class TestDeaf(Facts, ProviderContract):
    provider = "deaf"

class TestStubborn(Facts, ProviderContract):
    provider = "stubborn"

class TestVague(Facts, ProviderContract):
    provider = "vague"
"""

QUICK = "order or policy_says or 404 or 503 or redirect"


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The tests of the contract that failed, by the class that inherits them."""
    folder = tmp_path_factory.mktemp("contract")
    (folder / "providers.py").write_text(PROVIDERS)
    names = ("Faithful", "Deaf", "Stubborn", "Vague")
    install(folder, "providers", **{name.lower(): f"providers:{name}" for name in names})
    (folder / "test_providers.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", QUICK]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    found = re.findall(r"^FAILED test_providers\.py::Test(\w+)::(\w+)", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return {name: {test for owner, test in found if owner == name} for name in names}


def test_a_provider_that_keeps_it_passes(failed):
    assert failed["Faithful"] == set()


@pytest.mark.parametrize(
    ("provider", "test"),
    [
        ("Deaf", "test_answers_prompts_in_order"),
        ("Stubborn", "test_retries_only_as_the_policy_says"),
        ("Stubborn", "test_maps_a_fault"),
        ("Vague", "test_maps_a_fault"),
        ("Vague", "test_follows_no_redirect"),
    ],
)
def test_a_provider_that_breaks_it_fails(failed, provider, test):
    assert test in failed[provider]
