"""A vendor's own client carries every call, with its key, address and headers; in this script to a local server.

To ask a real provider: leave base_url out and set OPENAI_API_KEY, or make another: AzureOpenAI(...) for Azure.
"""

from openai import OpenAI

from pollux_sync import Config, run
from pollux_sync.testing.server import Answer, ScriptedServer

message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Through the proxy."}]}
answer = Answer(json={"id": "resp_1", "status": "completed", "output": [message]})

with ScriptedServer(default=answer) as server:
    client = OpenAI(api_key="made-up", base_url=f"{server.url}/v1", default_headers={"X-Team": "museum"})
    config = Config(provider="openai", model="gpt-5-mini", client=client)

    print(run("Which way did you come?", config=config)["answers"][0])
    request = server.requests[0]
    print(request.method, request.path, request.headers["x-team"])

# prints:
# Through the proxy.
# POST /v1/responses museum
