"""Every kind of call once, for tests of where calls may be made; and a service that answers them all.

The service is Gemini's, since its deferred jobs need no vendor's SDK.
"""

from pollux_sync import (
    Config,
    Session,
    check_ready,
    collect_deferred,
    defer,
    explain,
    interact,
    list_models,
    run,
    run_many,
    run_tools,
    stream,
    stream_many,
)
from pollux_sync.testing.server import Answer

#: What `every_call` gives at the mock, and at the service below.
AT_MOCK = [
    *(["echo: one"], ["echo: a", "echo: b"], ["echo: noon"], ["echo: later"], True, ["mock"]),
    *("echo: bits", ["echo: a", "echo: b"], "echo: hi", ["echo: long"], 1),
]
AT_SERVICE = [
    *(["said one"], ["said a", "said b"], ["noon it is"], ["said later"], True, ["m"]),
    *("said bits", ["said a", "said b"], "said hi", ["said long"], 1),
]


def clock() -> str:
    """The time."""
    return "noon"


def run_every_call(base_url=None):
    """The answers of every kind of call, at the service or (without an address) at the mock."""
    reach = {"api_key": "k", "base_url": base_url} if base_url else {"use_mock": True}
    config = Config(provider="gemini", model="m", **reach)
    return [
        run("one", config=config)["answers"],
        run_many(["a", "b"], config=config)["answers"],
        run_tools("time?", tools=[clock], config=config)["answers"],
        collect_deferred(defer("later", config=config), config=config)["answers"],
        bool(check_ready(config=config)),
        [model.id for model in list_models(config=config)],
        "".join(stream("bits", config=config).text_chunks),
        stream_many(["a", "b"], config=config).result()["answers"],
        interact(input="hi", config=config).text,
        _in_a_session(config),
        len(explain("one", config=config).requests),
    ]


def _in_a_session(config):
    with Session(config) as session:
        return session.run("long")["answers"]


def build_handler():
    """A handler for a scripted server."""
    from gemini_api import answer, build_streamed_answer, function_call, last_piece, piece, text
    from gemini_batches import Batches

    batches = Batches(states=("SUCCEEDED",))

    def handler(request):
        if "/models" in request.path and request.method == "GET":
            model = {"name": "models/m"}
            return Answer(json={"models": [model]} if "?" in request.path else model)
        if "functionResponse" in request.body.decode():
            return answer(text("noon it is"))
        if "functionDeclarations" in request.body.decode():
            return answer(function_call("clock"))
        if "streamGenerateContent" in request.path:
            said = request.json()["contents"][-1]["parts"][-1]["text"]
            return build_streamed_answer(piece(text("said ")), last_piece(text(said)))
        return batches(request)

    return handler
