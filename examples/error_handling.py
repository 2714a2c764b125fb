"""Errors of calls: their kinds and hints, and how the answers of the other prompts are kept.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from pollux_sync import APIError, Config, ConfigurationError, ContextOverflowError, Options, RetryPolicy, run, run_many
from pollux_sync.testing import Script, failing

model = (
    Script(otherwise="fine")
    .on("rude", *[failing(400, "blocked by our rules")] * 2)
    .on("late", *[failing(503, "overloaded")] * 4)
    .on("whale", failing(400, "prompt is too long: 210000 tokens > 200000 maximum"))
)
retry = RetryPolicy(max_attempts=2, initial_delay_s=0)
config = Config(provider="openai", model="gpt-5-mini", retry=retry, use_mock=True, plugins=[model])

try:  # what cannot work is refused before anything is sent
    run("Hello?", config=config, options=Options(temperature=-1))
except ConfigurationError as error:
    print(f"{error.message} ({error.hint})")

prompts = ["a good one", "a rude one", "a late one"]
try:  # the first prompt that failed; the others went on all the same
    run_many(prompts, config=config)
except APIError as error:
    print(prompts[error.call_idx or 0], error.kind, error.status_code, error.retryable)
    print(error.partial_result and error.partial_result["answers"])

kept = run_many(prompts, config=config, options=Options(on_error="keep"))
print(kept["status"], [problem and problem["kind"] for problem in kept["errors"]])

try:  # "rate_limit" and "context_overflow" have classes of their own
    run("whale " * 9, config=config)
except ContextOverflowError as error:
    print(error.n_tokens, "tokens,", error.n_ctx, "fit")

# prints:
# temperature must be at least 0, got -1 (pass a finite number, at least 0)
# a rude one invalid_request 400 False
# ['fine', '', '']
# partial [None, 'invalid_request', 'capacity']
# 210000 tokens, 200000 fit
