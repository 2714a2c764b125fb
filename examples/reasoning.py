"""Reasoning: its effort, its text, and how many tokens it costs.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from pollux_sync import Config, Options, Reply, Usage, run
from pollux_sync.testing import Script

thinking = "Each of the 3 boxes holds 4 bags of 5 apples: 3 * 4 * 5."
usage = Usage(input_tokens=21, output_tokens=70, reasoning_tokens=64, total_tokens=91)
model = Script(Reply(text="60", reasoning=thinking, usage=usage))
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[model])

question = "3 boxes with 4 bags of 5 apples each: how many apples?"
result = run(question, config=config, options=Options(reasoning_effort="low"))
print(result["answers"][0])
if "reasoning" in result:  # the provider may keep it to itself
    print(result["reasoning"][0])
print(result["usage"].get("reasoning_tokens", 0), "of", result["usage"]["output_tokens"], "tokens are thoughts")

# prints:
# 60
# Each of the 3 boxes holds 4 bags of 5 apples: 3 * 4 * 5.
# 64 of 70 tokens are thoughts
