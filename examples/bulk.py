"""Many questions whose answers are kept in a journal: run again, nothing is paid for twice.

To ask a real provider: leave use_mock and plugins out, and set OPENAI_API_KEY. On the command line:
``pollux-sync batch run questions.jsonl --journal job.db``.
"""

import tempfile
from pathlib import Path

from pollux_batch import BatchItem, run_batch
from pollux_sync import Config
from pollux_sync.testing import Script

journal = Path(tempfile.mkdtemp(), "job.db")
towns = ["Harbour", "Hilltop", "Riverside"]
items = [BatchItem(f"Name one sight of {town}.", id=town) for town in towns]

model = Script("The lighthouse.", "The old mill.", "The stone bridge.")
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[model])

result = run_batch(items, config=config, journal=journal, workers=1)
for item in result.results:
    print(f"{item.item_id}: {item.output}")
print(len(model.requests), "calls")

# The script was run again, after a crash or with one question more.
items.append(BatchItem("Name one sight of Harbour.", id="Harbour again"))
again = run_batch(items, config=config, journal=journal)
print(again.outputs())
print(len(model.requests), "calls")

# prints:
# Harbour: The lighthouse.
# Hilltop: The old mill.
# Riverside: The stone bridge.
# 3 calls
# ['The lighthouse.', 'The old mill.', 'The stone bridge.', 'The lighthouse.']
# 3 calls
