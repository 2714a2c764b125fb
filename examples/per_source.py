"""The same questions about each of many sources separately; the answers come source by source.

To ask a real provider: leave use_mock and plugins out and set GEMINI_API_KEY.
"""

from pollux_sync import Config, Source, run_many
from pollux_sync.testing import Script

reviews = {"chair": "Comfortable, but it squeaks.", "table": "Solid oak. I love it."}

model = Script().on("squeaks", "mixed", "the squeak").on("oak", "positive", "nothing")
config = Config(provider="gemini", model="gemini-2.5-flash", request_concurrency=1, use_mock=True, plugins=[model])

result = run_many(
    ["How does the customer feel, in one word?", "What should be mended?"],
    sources=[Source.from_text(text, identifier=article) for article, text in reviews.items()],
    config=config,
    per_source=True,
)
for label, answer in zip(result["diagnostics"]["calls"], result["answers"], strict=True):
    print(label["source"], label["prompt"], answer)

# prints:
# chair 0 mixed
# chair 1 the squeak
# table 0 positive
# table 1 nothing
