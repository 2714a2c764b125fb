import pytest

from chat_service import ChatService


@pytest.fixture
def server():
    with ChatService() as server:
        yield server
