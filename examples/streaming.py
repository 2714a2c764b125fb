"""Answers as they arrive: the text alone, all events, several prompts at once, and a stream that breaks.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from pollux_sync import APIError, Config, Options, stream, stream_many
from pollux_sync.testing import BrokenOff, Script

model = Script("Mars has two moons.", "Phobos and Deimos.", "red", "blue", BrokenOff("Once upon a "))
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[model], request_concurrency=1)

for text in stream("How many moons has Mars?", config=config).text_chunks:
    print(text, end="", flush=True)
print()

with stream("Which?", config=config, options=Options(max_tokens=50)) as events:
    for event in events:
        match event.type:
            case "text_delta":
                print(f"  text: {event.text!r}")
            case "finish":
                print(f"  finish reason: {event.finish_reason}")
            case "done":
                print(f"  as run() gives it: {event.result['answers']}")

for event in stream_many(["Mars?", "Earth?"], config=config):
    if event.type == "text_delta":
        print(f"prompt {event.call_idx}: {event.text}")

try:
    stream("A fairy tale", config=config).result()
except APIError as error:
    print(f"{error.kind} after {error.partial_text!r}")

# prints:
# Mars has two moons.
#   text: 'Phobos '
#   text: 'and '
#   text: 'Deimos.'
#   finish reason: stop
#   as run() gives it: ['Phobos and Deimos.']
# prompt 0: red
# prompt 1: blue
# connection after 'Once upon a '
