"""Typed Python functions that the model may call, run until it answers.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from datetime import date

from pollux_sync import Config, Reply, ToolCall, run_tools
from pollux_sync.testing import Script


def open_hours(day: date) -> list[str]:
    """Return the opening hours of the museum.

    Args:
        day: a day of this or the next year
    """
    return [] if day.isoweekday() == 1 else ["10:00-13:00", "14:00-18:00"]


model = Script(
    Reply(tool_calls=(ToolCall("1", "open_hours", '{"day": "2026-05-04"}'), ToolCall("2", "open_hours", "{}"))),
    Reply(tool_calls=(ToolCall("3", "open_hours", '{"day": "2026-05-05"}'),)),
    "Not on 4 May, which is a Monday; on 5 May from 10 to 1 and from 2 to 6.",
)
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[model])

result = run_tools("Is the museum open on 4 or 5 May 2026?", tools=[open_hours], config=config)
print(result["answers"][0])
for number, step in enumerate(result["diagnostics"]["steps"], start=1):
    for ran in step["tool_runs"]:
        print(f"step {number}: {ran['name']} {ran['arguments']} -> {ran['content']}")

# prints:
# Not on 4 May, which is a Monday; on 5 May from 10 to 1 and from 2 to 6.
# step 1: open_hours {"day": "2026-05-04"} -> []
# step 1: open_hours {} -> AnswerMismatch: $: 'day' is missing from open_hours
# step 2: open_hours {"day": "2026-05-05"} -> ["10:00-13:00", "14:00-18:00"]
