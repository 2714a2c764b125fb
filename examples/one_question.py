"""One question: its answer, and the other facts of the result.

To ask a real provider: leave use_mock out and set OPENAI_API_KEY.
"""

from pollux_sync import Config, run

config = Config(provider="openai", model="gpt-5-mini", use_mock=True)

result = run("Why is the sky blue?", config=config)

print(result["answers"][0])
print(result["status"], result["metrics"]["finish_reasons"], result["usage"])

# prints:
# echo: Why is the sky blue?
# ok ['stop'] {'input_tokens': 10, 'output_tokens': 10, 'total_tokens': 20}
