"""A GGUF model inside this process, without a server: the small one of `make demo`.

To ask another model: pass the path of any chat model's .gguf file as model, or a server's address as base_url.
"""

from pathlib import Path

from demo import find_packaged_model
from pollux_sync import Config, Options, Source, run

config = Config(provider="local", model=str(find_packaged_model()), provider_options={"n_ctx": 2048})
lighthouse = Source.from_file(Path(__file__).parent / "data" / "lighthouse.md")

result = run("When is it closed?", source=lighthouse, config=config, options=Options(temperature=0, max_tokens=40))
print(result["answers"][0])
print(result["usage"])
