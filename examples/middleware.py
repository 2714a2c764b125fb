"""A plugin of fifteen lines: it logs what happens and adds up what the calls cost.

To ask a real provider: leave use_mock and the script out and set OPENAI_API_KEY.
"""

from collections.abc import Generator

from pollux_sync import Config, Reply, RetryPolicy, Usage, hookimpl, run_many
from pollux_sync.plugin import Event, RetryScheduled
from pollux_sync.testing import Script, failing


class Costs:
    def __init__(self) -> None:
        self.dollars: list[float] = []  # list.append is safe in threads, += is not

    @hookimpl
    def pollux_event(self, event: Event) -> None:
        if isinstance(event, RetryScheduled):
            print(f"call {event.call.index} is tried again")

    @hookimpl(wrapper=True)
    def pollux_call(self) -> Generator[None, Reply, Reply]:
        reply = yield
        usage = reply.usage
        self.dollars.append(((usage.input_tokens or 0) * 0.25 + (usage.output_tokens or 0) * 2) / 1e6)
        return reply


answers = [Reply(text=text, usage=Usage(input_tokens=1000, output_tokens=50)) for text in ("one", "two")]
model, costs = Script(failing(503), *answers), Costs()
config = Config(
    provider="openai",
    model="gpt-5-mini",
    retry=RetryPolicy(initial_delay_s=0),
    request_concurrency=1,
    use_mock=True,
    plugins=[model, costs],
)
print(run_many(["first", "second"], config=config)["answers"], f"{sum(costs.dollars):.6f} dollars")

# prints:
# call 0 is tried again
# ['one', 'two'] 0.000700 dollars
