"""One question about several sources, which the model sees together.

To ask a real provider: leave use_mock and plugins out and set ANTHROPIC_API_KEY.
"""

from pathlib import Path

from pollux_sync import Config, Source, run_many
from pollux_sync.testing import Script

DATA = Path(__file__).parent / "data"

model = Script("Yes: two garden chairs were ordered, and 14 are in stock.")
config = Config(provider="anthropic", model="claude-sonnet-4-6", use_mock=True, plugins=[model])

sources = [
    Source.from_file(DATA / "letter.txt"),
    Source.from_file(DATA / "inventory.json"),
    Source.from_text("Orders of more than ten pieces take a week longer.", identifier="rules"),
    Source.from_json({"warehouse": "Leeds"}, identifier="place"),
]
result = run_many("Can the shop deliver what Mrs Okafor ordered?", sources=sources, config=config)

print(result["answers"])
print(len(model.requests), "request with", len(model.requests[0]["parts"]), "sources")

# prints:
# ['Yes: two garden chairs were ordered, and 14 are in stock.']
# 1 request with 4 sources
