import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from pollux_sync import ConfigurationError
from pollux_sync.wire.addresses import ServerAddress, _parse_address, read_address

PATHS = st.lists(st.text("abcXYZ019-_.~", min_size=1, max_size=8), max_size=3)
LABELS = st.text("abcxyz019-", min_size=1, max_size=10)


@given(
    st.sampled_from(["http", "https"]),
    st.lists(LABELS, min_size=1, max_size=3),
    st.none() | st.integers(0, 65_535),
    PATHS,
    st.sampled_from(["", "/"]),
)
def test_reads_a_usual_address_as_urllib3_does(scheme, labels, port, path, end):
    where = ".".join(labels) + ("" if port is None else f":{port}")
    url = "/".join([f"{scheme}://{where}", *path]) + end
    parsed = parse_url(url)
    address = read_address(url)
    assert (address.scheme, address.host, address.port) == (parsed.scheme, parsed.host, parsed.port)
    assert address == _parse_address(url)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://api.example/v1/", ServerAddress("https", "api.example", None, "/v1")),
        ("HTTPS://API.example/V1", ServerAddress("https", "api.example", None, "/V1")),
        ("http://[::1]:8080", ServerAddress("http", "[::1]", 8080, "")),
        ("https://m\u00fcller.example/a b", ServerAddress("https", "xn--mller-kva.example", None, "/a%20b")),
        ("http://a.example//v1", ServerAddress("http", "a.example", None, "//v1")),
    ],
)
def test_reads_any_other_address(url, address):
    assert read_address(url) == address


@pytest.mark.parametrize(
    ("url", "port", "header"),
    [
        ("http://a.example", 80, "a.example"),
        ("https://a.example", 443, "a.example"),
        ("https://a.example:443", 443, "a.example"),
        ("http://a.example:443", 443, "a.example:443"),
        ("http://[fe80::1%25eth0]:8080", 8080, "[fe80::1]:8080"),
    ],
)
def test_names_the_port_and_the_header(url, port, header):
    address = read_address(url)
    assert (address.actual_port, address.header) == (port, header)


@pytest.mark.parametrize(
    "url", ["ftp://a.example", "http://", "http://.example", "http://*.example", "http://a:70000", "http://a b/"]
)
def test_refuses_what_leads_nowhere(url):
    with pytest.raises(ConfigurationError, match="base_url cannot be used"):
        read_address(url)
