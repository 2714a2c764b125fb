"""A script of yours and its test: answers and faults by a Script, no network and no key.

To ask a real provider: call `urgent(mails, config)` with a Config of your own; pytest finds the test as it stands.
"""

from pollux_sync import Config, Options, RetryPolicy, run_many
from pollux_sync.testing import Script, failing


def urgent(mails: list[str], config: Config) -> list[str]:
    """The mails that cannot wait; those that no model could read are among them."""
    options = Options(response_schema={"type": "boolean"}, on_error="keep")
    result = run_many([f"Is this urgent? {mail}" for mail in mails], config=config, options=options)
    return [mail for mail, is_urgent in zip(mails, result["structured"], strict=True) if is_urgent is not False]


def test_what_no_model_could_read_is_urgent() -> None:
    script = (
        Script()
        .on("Fire", failing(503), "true")  # tried again
        .on("newsletter", "false")
        .on("???", *[failing(503)] * 2)  # given up
    )
    config = Config(
        provider="openai", model="any", use_mock=True, plugins=[script], retry=RetryPolicy(initial_delay_s=0)
    )
    assert urgent(["Fire!", "Our newsletter", "???"], config) == ["Fire!", "???"]
    assert script.is_used_up


if __name__ == "__main__":
    test_what_no_model_could_read_is_urgent()
    print("passed")

# prints:
# passed
