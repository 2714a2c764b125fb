"""A server that never answers: timeout_s ends each attempt, the retry policy the call.

To ask a real provider: leave base_url out, and name it and its model; or pass your own server's.
"""

from pollux_sync import APIError, Config, RetryPolicy, run
from pollux_sync.testing.server import Hang, ScriptedServer

with ScriptedServer(default=Hang()) as server:
    config = Config(
        provider="local",
        model="qwen3",
        base_url=f"{server.url}/v1",
        timeout_s=0.2,  # one attempt, from connecting to the last byte
        retry=RetryPolicy(max_attempts=3, initial_delay_s=0, max_elapsed_s=60),  # no new attempt after a minute
    )
    try:
        run("Are you there?", config=config)
    except APIError as error:
        print(error.kind, "-", error.hint)
        print([attempt.kind for attempt in error.attempts])

# prints:
# timeout - raise Config(timeout_s=...), or check the load of the server
# ['timeout', 'timeout', 'timeout']
