"""A fan-out whose prompts call tools: each prompt is continued separately.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from pollux_sync import Config, Options, Reply, Tool, ToolCall, continue_tool, result_of, run_many, tool_arguments
from pollux_sync.testing import Script

STOCK = {"chair": 14, "table": 2}


def count_stock(article: str) -> int:
    """Return the number of pieces of an article in stock."""
    return STOCK[article]


model = (
    Script()
    .on("chairs", Reply(tool_calls=(ToolCall("c1", "count_stock", '{"article": "chair"}'),)), "Yes, 14.")
    .on("tables", Reply(tool_calls=(ToolCall("t1", "count_stock", '{"article": "table"}'),)), "Only 2.")
    .on("sofas", "We sell no sofas.")
)
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[model])
tool = Tool.from_function(count_stock)
options = Options(tools=[tool.declaration])

prompts = ["Have you got 3 chairs?", "Have you got 3 tables?", "Have you got 3 sofas?"]
fan_out = run_many(prompts, config=config, options=options)
for index, prompt in enumerate(prompts):
    result = result_of(fan_out, index)
    if calls := result.get("tool_calls", [[]])[0]:
        results = [{"tool_call_id": call["id"], "content": tool(tool_arguments(call))} for call in calls]
        result = continue_tool(result, results, config=config, options=options)
    print(prompt, result["answers"][0])

# prints:
# Have you got 3 chairs? Yes, 14.
# Have you got 3 tables? Only 2.
# Have you got 3 sofas? We sell no sofas.
