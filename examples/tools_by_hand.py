"""Decide yourself about the tool calls of a model: inspect them, ask a person, refuse, continue.

To ask a real provider: leave use_mock and plugins out and set ANTHROPIC_API_KEY.
"""

from pollux_sync import Config, Options, Reply, Tool, ToolCall, continue_tool, run, tool_arguments
from pollux_sync.testing import Script

SMALL = 50  # euros


def refund(order: str, euros: float) -> str:
    """Pay money back."""
    return f"{euros} euros paid back for {order}"


model = Script(
    Reply(
        tool_calls=(
            ToolCall("a", "refund", '{"order": "A-17", "euros": 20}'),
            ToolCall("b", "refund", '{"order": "A-18", "euros": 2000}'),
        )
    ),
    "The first is done; for the second you will hear from a colleague.",
)
config = Config(provider="anthropic", model="claude-sonnet-4-6", use_mock=True, plugins=[model])
options = Options(tools=[Tool.from_function(refund).declaration], temperature=0)

result = run("Refund A-17 (20 euros) and A-18 (2000 euros), please.", config=config, options=options)
while calls := result.get("tool_calls", [[]])[0]:
    told = []
    for call in calls:
        wanted = tool_arguments(call)
        is_small = wanted["euros"] <= SMALL
        content = refund(**wanted) if is_small else "needs a colleague's consent"
        print(call["id"], content)
        told.append({"tool_call_id": call["id"], "content": content, "is_error": not is_small})
    result = continue_tool(result, told, config=config, options=options)  # options hold for one call: give them again
print(result["answers"][0])

# prints:
# a 20 euros paid back for A-17
# b needs a colleague's consent
# The first is done; for the second you will hear from a colleague.
