"""Show the requests, uploads and caching of a call before it costs anything.

It sends nothing, so it works unchanged for a real provider; a real call needs a real key in OPENAI_API_KEY.
"""

from pathlib import Path

from pollux_sync import Config, Options, Source, explain

DATA = Path("examples/data")

# Small files would go inside the requests; here they are stored, to show it.
config = Config(provider="openai", model="gpt-5-mini", api_key="made-up", uploads="always")
options = Options(response_schema={"type": "object", "properties": {"name": {"type": "string", "minLength": 2}}})
sources = [Source.from_file(DATA / "square.png"), Source.from_file(DATA / "letter.txt")]

explanation = explain(["What is it?", "Who wrote it?"], sources=sources, config=config, options=options)
print(explanation)

(request,) = explain("Who's there?", config=config).requests
print(request.key_header)
print(request.body)

# prints:
# 2 requests to openai, model gpt-5-mini: not sent
#   POST https://api.openai.com/v1/responses: 684 to 686 bytes
#   input tokens: not known
# sources: 1 uploaded, 1 as text
#   upload-1: examples/data/square.png, image/png, 79 bytes
# caching: none
# schema: 1 finding
#   $.properties.name: minLength 2 is sent in the description and checked when the answer is read
# Authorization: Bearer $OPENAI_API_KEY
# {'model': 'gpt-5-mini', 'input': [{'role': 'user', 'content': [{'type': 'input_text', 'text': "Who's there?"}]}]}
