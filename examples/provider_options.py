"""Features of one provider: raw fields of its requests, and settings that its plugin declares.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from pollux_sync import Config, ConfigurationError, Options, run
from pollux_sync.testing import Script

model = Script("Good evening.")
config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[model])

# Options: fields of this request, by provider name. Those of other providers wait until one of them is asked.
options = Options(provider_options={"openai": {"truncation": "auto"}, "openrouter": {"top_k": 5}})
run("Good morning.", config=config, options=options)
print({name: model.requests[0].get(name) for name in ("truncation", "top_k")})

# Config: settings of the provider itself. Its plugin declares them, so that what it does not know is refused.
try:
    Config(provider="openrouter", model="any", api_key="made-up", provider_options={"sight_url": "mine.example"})
except ConfigurationError as error:
    print(error)

# prints:
# {'truncation': 'auto', 'top_k': None}
# provider 'openrouter' has no option 'sight_url'
#   hint: it declares: app_name, check_catalogue, site_url
