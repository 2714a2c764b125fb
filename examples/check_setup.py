"""Check the setup before you spend anything: if it is ready, its models, and what your model accepts.

To ask a real provider: leave use_mock out and set OPENAI_API_KEY.
"""

from pollux_sync import Config, ConfigurationError, Options, check_ready, list_models, run

config = Config(provider="openai", model="gpt-5-mini", use_mock=True, capabilities={"temperature": False})
ready = check_ready(config=config, timeout_s=5)
print("ready" if ready else f"not ready: {ready.reason}")

for model in list_models(config=config):
    print(model.id, model.display_name)

away = Config(provider="local", model="qwen3", base_url="http://127.0.0.1:9/v1")
print(check_ready(config=away).kind, "-", check_ready(config=away).hint)

try:
    run("Hello?", config=config, options=Options(temperature=0.5))
except ConfigurationError as error:
    print(error.message)

# prints:
# ready
# mock Mock
# connection - check that the server runs, base_url, and the proxy (Config(proxy), HTTPS_PROXY, HTTP_PROXY, NO_PROXY)
# the model 'gpt-5-mini' does not take temperature, says Config(capabilities)
