"""A Chat Completions server that answers each prompt with "re: " and the prompt."""

from pollux_sync import hookimpl
from pollux_sync.testing.server import Answer, ScriptedServer


def answer(text="hello", **usage):
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5} | usage
    return Answer(json={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})


def read_prompt(request):
    return request.json()["messages"][-1]["content"]


def echo(request):
    return answer(f"re: {read_prompt(request)}")


class Renderer:
    """A plugin, as a release that renders requests with one field more."""

    def __init__(self, field="seed"):
        self._field = field

    @hookimpl(wrapper=True)
    def pollux_encode(self):
        request = yield
        request.body[self._field] = 7
        return request


class Service(ScriptedServer):
    """The server; a test sets another ``handler`` for what is not echoed."""

    def __init__(self):
        super().__init__()
        self.handler = echo

    @property
    def prompts(self):
        return [read_prompt(request) for request in self.requests]
