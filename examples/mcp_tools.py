"""The model calls tools of an MCP server, one of them after you approved it (pip install pollux-mcp).

To ask OpenAI, set OPENAI_API_KEY, and leave out use_mock and plugins.
"""

import sys
from typing import Any

from pollux_mcp import MCPServer
from pollux_sync import Config, Reply, ToolCall, run_tools
from pollux_sync.testing import Script


def approve(server: str, tool: str, arguments: dict[str, Any]) -> bool:
    """Decide on each call; a program for people would ask them."""
    print(f"{server}: {tool} {arguments}")
    return tool == "count" or arguments == {"article": "lamp"}


model = Script(
    Reply(tool_calls=(ToolCall("c1", "count", '{"article": "lamp"}'), ToolCall("c2", "sell", '{"article": "lamp"}'))),
    Reply(tool_calls=(ToolCall("c3", "sell", '{"article": "sofa"}'),)),
    "I sold one of three lamps. Selling sofas was not approved.",
)
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[model])

with MCPServer(sys.executable, ["examples/data/stock_server.py"], name="stock", approve=approve) as server:
    result = run_tools("Sell a lamp and a sofa.", tools=server.tools(), config=config)

for step in result["diagnostics"]["steps"]:
    for ran in step["tool_runs"]:
        print(ran["name"], "->", ran["content"])
print(result["answers"][0])

# prints:
# stock: count {'article': 'lamp'}
# stock: sell {'article': 'lamp'}
# stock: sell {'article': 'sofa'}
# count -> 3
# sell -> sold one lamp
# sell -> the call of 'sell' was not approved
# I sold one of three lamps. Selling sofas was not approved.
