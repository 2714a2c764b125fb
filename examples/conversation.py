"""A conversation about a file, stored as JSON between its turns, which may be days and processes apart.

To ask a real provider: leave use_mock and plugins out and set GEMINI_API_KEY.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from pollux_sync import Config, Options, Source, run, to_jsonable
from pollux_sync.testing import Script

model = Script("12.50 euros.", "A-17.")
config = Config(provider="gemini", model="gemini-2.5-flash", use_mock=True, plugins=[model])
invoice = Source.from_file(Path(__file__).parent / "data" / "invoice.pdf")

with TemporaryDirectory() as folder:
    stored = Path(folder) / "conversation.json"

    first = run("How much is it?", source=invoice, config=config, options=Options(history=[]))  # [] begins one
    stored.write_text(json.dumps(to_jsonable(first)))

    earlier = json.loads(stored.read_text())
    second = run("And its number?", config=config, options=Options(continue_from=earlier))

for turn in second["_conversation_state"]["history"]:
    print(f"{turn['role']}: {turn['content']}")
print("with the second question:", model.requests[1]["history"][0]["parts"])  # the file, uploaded once more

# prints:
# user: How much is it?
# assistant: 12.50 euros.
# user: And its number?
# assistant: A-17.
# with the second question: [{'asset': 'mock://uploaded/invoice.pdf'}]
