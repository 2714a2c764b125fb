"""Several accounts and addresses in one process: each Config has its own; equal ones share a client.

To ask a real provider: leave base_url out, and take the keys from where you keep them.
"""

from pollux_sync import Config, run
from pollux_sync.testing.server import Answer, ScriptedServer

answer = Answer(json={"choices": [{"message": {"content": "Hello."}, "finish_reason": "stop"}]})

with ScriptedServer(default=answer) as here, ScriptedServer(default=answer) as there:
    shop = Config(provider="openrouter", model="qwen/qwen3-8b", base_url=here.url, api_key="key-of-the-shop")
    museum = Config(provider="openrouter", model="qwen/qwen3-8b", base_url=here.url, api_key="key-of-the-museum")
    cellar = Config(provider="local", model="qwen3", base_url=f"{there.url}/v1")

    for config in (shop, museum, cellar):
        run("Hello?", config=config)
    for request in here.requests + there.requests:
        print(request.path, request.headers.get("authorization"))
    print("a key in sight:", "key-of-the-museum" in repr(museum))

# prints:
# /chat/completions Bearer key-of-the-shop
# /chat/completions Bearer key-of-the-museum
# /v1/chat/completions Bearer local
# a key in sight: False
