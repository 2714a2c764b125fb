import pytest

from gemini_api import KEY, Files, answer, error, text
from pollux_batch import run_batch
from pollux_sync import Config, Source


@pytest.fixture
def service(server):
    """A service that stores files, and says "seen" to every question."""
    server.handler = files = Files()
    return files


@pytest.fixture
def ask(server, path, tmp_path):
    (tmp_path / "one.pdf").write_bytes(b"%PDF-1.7 one")

    def ask(items):
        config = Config(provider="gemini", model="m", api_key=KEY, base_url=server.url, uploads="always")
        return run_batch(items, config=config, journal=path, sources=[Source.from_file(tmp_path / "one.pdf")])

    return ask


def count_questions(server):
    return sum("generateContent" in request.path for request in server.requests)


def test_stores_a_file_once_for_all_items(ask, server, service):
    assert ask([f"p{number}" for number in range(20)]).succeeded == 20
    assert (len(service.stored), len(service.deleted), count_questions(server)) == (1, 1, 20)


def test_finds_an_answer_again_under_the_content_of_its_file(ask, server, service):
    ask(["a", "b"])
    assert ask(["a", "b"]).summary()["replayed"] == 2
    assert (len(service.stored), count_questions(server)) == (1, 2)


def test_fails_the_items_of_a_file_that_cannot_be_stored(ask, server):
    server.handler = lambda request: (
        answer(text("seen")) if "generateContent" in request.path else error(400, "no such file")
    )
    result = ask(["a", "b"])
    assert (result.failed, count_questions(server)) == (2, 0)
