"""Pay once for content that many questions share: a cache at the provider, deleted at the end of the block.

To ask a real provider: leave use_mock and plugins out and set GEMINI_API_KEY.
"""

from pathlib import Path

from pollux_sync import Config, Options, Source, cached, list_caches, run_many
from pollux_sync.testing import Script

model = Script().on("Who built", "Ada Morrow.").on("When is", "On Mondays.")
config = Config(provider="gemini", model="gemini-2.5-flash", use_mock=True, plugins=[model])
lighthouse = Source.from_file(Path(__file__).parent / "data" / "lighthouse.md")

with cached([lighthouse], config=config, system_instruction="Be brief.", ttl_seconds=600) as handle:
    print(len(list_caches(config=config)), "cache; expired:", handle.is_expired)
    result = run_many(["Who built it?", "When is it closed?"], config=config, options=Options(cache=handle))

print(result["answers"], result["metrics"].get("cache_mode"))
print(len(list_caches(config=config)), "caches")

# prints:
# 1 cache; expired: False
# ['Ada Morrow.', 'On Mondays.'] persistent
# 0 caches
