"""Questions that can wait for a day: submitted once, even after failures, and collected tomorrow.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY; the two halves may be two scripts.
"""

import tempfile
from pathlib import Path

from pollux_sync import Config, collect_deferred, defer_many, wait_deferred
from pollux_sync.testing import JobScript

JOB = Path(tempfile.mkdtemp(), "letters.json")
PROMPTS = [f"Sum up letter {number}." for number in range(4)]

provider = JobScript("queued", "running", "completed", failed={2: "the letter was illegible"})
config = Config(provider="openai", model="any", use_mock=True, plugins=[provider])

handle = defer_many(PROMPTS, config=config, job_file=JOB)
again = defer_many(PROMPTS, config=config, job_file=JOB)  # after a crash, say: nothing is submitted twice
print("one job:", handle == again)

wait_deferred(JOB, config=config, poll=0, on_change=lambda now: print(now.status, now.pending, "pending"))
result = collect_deferred(JOB, config=config)
for item, answer in zip(result["diagnostics"]["deferred"]["items"], result["answers"], strict=True):
    print(item["custom_id"], item["status"], item["error"] or answer)

# prints:
# one job: True
# queued 4 pending
# running 4 pending
# completed 0 pending
# pollux-000000 succeeded echo: Sum up letter 0.
# pollux-000001 succeeded echo: Sum up letter 1.
# pollux-000002 failed the letter was illegible
# pollux-000003 succeeded echo: Sum up letter 3.
