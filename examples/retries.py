"""One retry policy for every provider, and the ledger of all attempts.

To ask a real provider: leave use_mock and plugins out and set ANTHROPIC_API_KEY.
"""

from pollux_sync import Config, RetryPolicy, run
from pollux_sync.testing import Script, failing

model = Script(failing(529, "overloaded"), ConnectionResetError(), failing(429, retry_after_s=0.1), "Here I am.")
policy = RetryPolicy(max_attempts=5, initial_delay_s=0.01, backoff_multiplier=2, jitter=False, max_elapsed_s=60)
config = Config(provider="anthropic", model="claude-sonnet-4-6", retry=policy, use_mock=True, plugins=[model])

result = run("Are you there?", config=config)
print(result["answers"][0], result["metrics"]["n_attempts"], "attempts")
for attempt in result["diagnostics"]["attempts"][0]:
    print(f"waited {attempt['wait_s']:.2f} s: {attempt['status_code']} {attempt['kind']}")

# prints:
# Here I am. 4 attempts
# waited 0.00 s: 529 capacity
# waited 0.01 s: None connection
# waited 0.02 s: 429 rate_limit
# waited 0.10 s: 200 None
