"""An agent whose tool waits for a person's approval, recorded in a file so that it outlives the process.

To ask a real provider: leave use_mock and plugins out, and set OPENAI_API_KEY.
"""

import tempfile
from pathlib import Path

from pollux_durable import Agent, WorkflowContext, configure, get_handle, tool
from pollux_sync import Config, Reply, ToolCall
from pollux_sync.testing import Script

configure(f"sqlite:///{Path(tempfile.mkdtemp(), 'runs.db')}")


def pay_back(order: int, amount: float) -> str:
    return f"{amount:.2f} paid back for order {order}"


@tool(approval="always")
def refund(ctx: WorkflowContext, order: int, amount: float) -> str:
    """Pay money back."""
    return ctx.step.run("pay_back", pay_back, order, amount)


call = ToolCall("call-1", "refund", '{"order": 7, "amount": 12.5}')
model = Script(Reply(tool_calls=(call,), finish_reason="tool_calls"), "Your 12.50 are on their way.")
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[model])
clerk = Agent(id="clerk", config=config, tools=[refund])

clerk.invoke("The lamp of order 7 came broken.", execution_id="ticket-1")
handle = get_handle("ticket-1")  # any process can get it

# The run holds no thread while it waits, for minutes or for months.
for event in handle.events():
    if event.execution_id and (event.event_type or "").startswith("suspend_"):
        print(event.data["data"]["title"])
        get_handle(event.execution_id).answer(event.data["step_key"], {"approved": True})
        break

print(handle.result(timeout=30).result)
print([step.key for step in handle.steps()])
print(len(model.requests), "model calls, each recorded once")

# prints:
# Run refund?
# Your 12.50 are on their way.
# ['llm:1', 'tools:1', 'llm:2']
# 2 model calls, each recorded once
