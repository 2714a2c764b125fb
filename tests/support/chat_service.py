"""A Chat Completions server for tests of middleware: it answers with and without a stream."""

from chat_api import completion
from chat_streams import build_stream
from pollux_sync.testing.server import Answer, ScriptedServer


def read_prompt(request):
    return request.json()["messages"][-1]["content"]


class ChatService(ScriptedServer):
    """The server. ``answer`` makes the text of an answer from a prompt; a stream has a piece for each 3 characters."""

    def __init__(self, answer="echo: {}".format):
        super().__init__()
        self.answer = answer
        self.handler = self._handle

    @property
    def prompts(self):
        return [read_prompt(request) for request in self.requests]

    def _handle(self, request):
        text = self.answer(read_prompt(request))
        if not request.json().get("stream"):
            return Answer(json=completion(text))
        pieces = [{"content": text[start : start + 3]} for start in range(0, len(text), 3)]
        return Answer(body=build_stream(*pieces), headers={"Content-Type": "text/event-stream"})
