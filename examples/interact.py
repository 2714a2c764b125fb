"""The same calls with objects: the loop of an agent in ten lines, its state stored as JSON between processes.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from pollux_sync import Config, Continuation, Environment, Input, Reply, Source, Tool, ToolCall, ToolResult, interact
from pollux_sync.testing import Script

OPEN = {"A-17": 12.5}


def amount_due(invoice: str) -> float:
    """Return how many euros of an invoice are not paid yet."""
    return OPEN[invoice]


model = Script(
    Reply(tool_calls=(ToolCall("a", "amount_due", '{"invoice": "A-17"}'),)),
    "12.50 euros.",
    "Within 30 days.",
)
config = Config(provider="openai", model="gpt-5.2", use_mock=True, plugins=[model])

tools = {"amount_due": Tool.from_function(amount_due)}
invoice = Source.from_file(Path(__file__).parent / "data" / "invoice.pdf")
environment = Environment(instructions="Be brief.", sources=[invoice], tools=tools.values())

output = interact(environment, "How much of this is open?", config=config)
while output.tool_calls:
    results = [ToolResult.from_value(call, tools[call.name](call.arguments_dict())) for call in output.tool_calls]
    print("told the model:", [result.content for result in results])
    output = interact(environment, Input(continuation=output.continuation, tool_results=results), config=config)
print(output.text, output.completion_status)

with TemporaryDirectory() as folder:
    stored = Path(folder) / "conversation.json"
    assert output.continuation  # there wherever the provider can go on with a conversation
    stored.write_text(output.continuation.to_json())

    earlier = Continuation.from_json(stored.read_text())
    output = interact(environment, Input("And until when?", continuation=earlier), config=config)
print(output.text)
print("requests that showed the invoice as new:", sum(bool(request["parts"]) for request in model.requests))

# prints:
# told the model: ['12.5']
# 12.50 euros. clean
# Within 30 days.
# requests that showed the invoice as new: 1
