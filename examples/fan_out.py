"""Many questions about one file: sent in parallel, answered in the order of the questions.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from pathlib import Path

from pollux_sync import Config, Source, run_many
from pollux_sync.testing import Script

LIGHTHOUSE = Path(__file__).parent / "data" / "lighthouse.md"

model = Script().on("Who built", "Ada Morrow.").on("When is", "On Mondays.").on("Who was", "Tomas Reed.")
config = Config(provider="openai", model="gpt-5-mini", request_concurrency=3, use_mock=True, plugins=[model])

questions = ["Who built it?", "When is the museum closed?", "Who was the first keeper?"]
result = run_many(questions, sources=[Source.from_file(LIGHTHOUSE)], config=config)

for question, answer in zip(questions, result["answers"], strict=True):
    print(question, answer)

# prints:
# Who built it? Ada Morrow.
# When is the museum closed? On Mondays.
# Who was the first keeper? Tomas Reed.
