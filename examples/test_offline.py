"""A script of yours and its test: a Script scripts answers and faults, without a network and a key.

To ask a real provider: call `list_urgent(mails, config)` with a Config of your own; pytest finds the test as it stands.
"""

from pollux_sync import Config, Options, RetryPolicy, run_many
from pollux_sync.testing import Script, failing


def list_urgent(mails: list[str], config: Config) -> list[str]:
    """Return the mails that cannot wait, and those that no model could classify."""
    options = Options(response_schema={"type": "boolean"}, on_error="keep")
    result = run_many([f"Is this urgent? {mail}" for mail in mails], config=config, options=options)
    return [mail for mail, is_urgent in zip(mails, result["structured"], strict=True) if is_urgent is not False]


def test_unclassified_mails_are_urgent() -> None:
    script = (
        Script()
        .on("Fire", failing(503), "true")  # retried
        .on("newsletter", "false")
        .on("???", *[failing(503)] * 2)  # fails for good
    )
    config = Config(
        provider="openai", model="any", use_mock=True, plugins=[script], retry=RetryPolicy(initial_delay_s=0)
    )
    assert list_urgent(["Fire!", "Our newsletter", "???"], config) == ["Fire!", "???"]
    assert script.is_used_up


if __name__ == "__main__":
    test_unclassified_mails_are_urgent()
    print("passed")

# prints:
# passed
