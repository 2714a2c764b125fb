"""Answers as plain data, described by a JSON Schema.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from pollux_sync import Config, Options, run
from pollux_sync.testing import Script

schema = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["happy", "neutral", "angry"]},
        "topics": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    },
    "required": ["mood", "topics"],
}
model = Script({"mood": "angry", "topics": ["delivery", "price"]})
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[model])

result = run("Where is my parcel? And why so expensive?", config=config, options=Options(response_schema=schema))
answer = result["structured"][0] or {}  # None if the answer does not fit
print(answer["topics"], "as text:", result["answers"][0])

# prints:
# ['delivery', 'price'] as text: {"mood": "angry", "topics": ["delivery", "price"]}
