import pytest

from tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A tiny model that llama.cpp really loads."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")
