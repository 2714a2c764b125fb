import pytest

from pollux_sync.plugin import ProviderInfo

VERSION_IN_ADDRESS = ProviderInfo(name="one", base_url="https://one.example/api/v1")
VERSION_IN_PATHS = ProviderInfo(name="two", base_url="https://two.example", version_path="/v1")


@pytest.mark.parametrize(
    ("base_url", "resolved"),
    [
        (None, "https://one.example/api/v1"),
        ("https://one.example/api/v1/", "https://one.example/api/v1"),
        ("https://one.example", "https://one.example/api/v1"),
        ("https://One.example/api/", "https://one.example/api/v1"),
        ("https://one.example/other", "https://one.example/other"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080//v1//", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/a//b/v1/", "http://127.0.0.1:8080/a/b/v1"),
        ("https://gateway.example/https://one.example/v1/", "https://gateway.example/https://one.example/v1"),
    ],
)
def test_address_holds_the_version_of_the_service(base_url, resolved):
    assert VERSION_IN_ADDRESS.resolve_base_url(base_url) == resolved


@pytest.mark.parametrize(
    ("base_url", "resolved"),
    [
        (None, "https://two.example"),
        ("https://two.example/", "https://two.example"),
        ("https://two.example/v1", "https://two.example"),
        ("http://127.0.0.1:8080//v1/", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/team/v1", "http://127.0.0.1:8080/team"),
        ("http://127.0.0.1:8080/team/dev1", "http://127.0.0.1:8080/team/dev1"),
    ],
)
def test_address_holds_no_version_where_the_paths_hold_it(base_url, resolved):
    assert VERSION_IN_PATHS.resolve_base_url(base_url) == resolved


def test_address_is_empty_where_none_is_known():
    assert ProviderInfo(name="local").resolve_base_url(None) == ""
