"""A real llama.cpp server, started by pollux-local, for tests that talk to it directly."""

from pathlib import Path

from pollux_local.embedded import _servers
from pollux_sync import Config, Options, run

TOOL_TEMPLATE = (Path(__file__).parent / "tool_template.jinja").read_text()


def serve(model):
    """Start a server for ``model`` with tools; return its base URL and key. It runs until the process ends."""
    options = {"chat_template": TOOL_TEMPLATE}
    config = Config(provider="local", model=str(model), provider_options=options)
    run("hello", config=config, options=Options(max_tokens=1))
    model = str(Path(model).resolve())
    fitting = (key.path == model and key.chat_template == TOOL_TEMPLATE and not key.n_ctx for key in _servers)
    running = next(running for running, fits in zip(_servers.values(), fitting, strict=True) if fits)
    return f"{running.url}/v1", running.api_key
