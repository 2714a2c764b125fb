"""An answer that does not fit its class: the reason, and asking the model once more.

To ask a real provider: leave use_mock and plugins out and set ANTHROPIC_API_KEY.
"""

from dataclasses import dataclass

from pollux_sync import Config, Options, run
from pollux_sync.testing import Script


@dataclass
class Review:
    product: str
    stars: int


def read_review(options: Options) -> None:
    model = Script({"product": "chair", "stars": "four"}, {"product": "chair", "stars": 4})
    config = Config(provider="anthropic", model="claude-sonnet-4-6", use_mock=True, plugins=[model])
    result = run("Four stars for the chair!", config=config, options=options)
    print(result["structured"][0], result["diagnostics"].get("schema_errors"), result["metrics"]["n_attempts"])


read_review(Options(response_schema=Review))
read_review(Options(response_schema=Review, schema_repairs=1))

# prints:
# None ["$.stars: 'four' is not of type 'integer'"] 1
# Review(product='chair', stars=4) [None] 2
