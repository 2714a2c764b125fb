"""Answers as instances of your own class: nested, with dates and optional fields.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

from pollux_sync import Config, Options, Source, run
from pollux_sync.testing import Script


@dataclass
class Item:
    name: str
    pieces: int


@dataclass
class Order:
    customer: str
    items: list[Item]
    arrives: date
    discount: Annotated[float | None, "in percent, if the letter grants one"] = None


letter = Source.from_file(Path(__file__).parent / "data" / "letter.txt")
answer = {"customer": "Mrs Okafor", "items": [{"name": "garden chair", "pieces": 2}], "arrives": "2026-05-09"}
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[Script(answer)])

result = run("Read the order.", source=letter, config=config, options=Options(response_schema=Order))
order = result["structured"][0]  # type checkers know: an Order, or None for an answer that does not fit
if order is None:
    raise SystemExit(result["diagnostics"]["schema_errors"][0])
print(order.customer, order.arrives.strftime("%d %B"), order.discount)
print(order.items[0])

# prints:
# Mrs Okafor 09 May None
# Item(name='garden chair', pieces=2)
