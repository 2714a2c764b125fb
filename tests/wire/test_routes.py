"""The way to an address: its proxy and its certificates, from the configuration or the environment."""

import ipaddress
import pickle
import ssl
import threading
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_server

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from requests.exceptions import InvalidSchema

from pollux_sync import ConfigurationError
from pollux_sync.data.config import CA_BUNDLE_VARIABLES
from pollux_sync.data.provider import HttpRequest
from pollux_sync.testing.server import Answer, CloseWithoutAnswer, DripHeaders, ScriptedServer
from pollux_sync.wire import certificates, connections
from pollux_sync.wire.addresses import read_address
from pollux_sync.wire.connections import DirectPool
from pollux_sync.wire.faults import HttpError, ProxyUnusableError, classify_error
from pollux_sync.wire.http import HttpClient
from pollux_sync.wire.routes import Route, resolve_route

ASK = HttpRequest(path="/ask", body={})
PROXY = "http://proxy.example:3128"
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove what this machine sets, and let tests set their own variables."""
    names = {name for variable in PROXY_VARIABLES for name in (variable, variable.lower())}
    for name in (*names, *CA_BUNDLE_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def describe_proxy(route):
    return route.proxy, route.proxy_setting


# Proxies


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_takes_the_proxy_of_each_variable_for_http(environment, name):
    environment.setenv(name, PROXY)
    assert describe_proxy(resolve_route("http://api.example")) == (PROXY, name)


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_takes_the_proxy_of_each_variable_for_https(environment, name):
    environment.setenv(name, PROXY)
    assert describe_proxy(resolve_route("https://api.example")) == (PROXY, name)


def test_takes_the_proxy_of_the_scheme_before_that_of_all(environment):
    environment.setenv("ALL_PROXY", "http://other.example:1")
    environment.setenv("HTTPS_PROXY", PROXY)
    assert describe_proxy(resolve_route("https://api.example")) == (PROXY, "HTTPS_PROXY")


def test_takes_the_proxy_of_the_configuration_before_that_of_the_environment(environment):
    environment.setenv("HTTPS_PROXY", "http://other.example:1")
    assert describe_proxy(resolve_route("https://api.example", proxy=PROXY)) == (PROXY, "Config(proxy)")


def test_takes_the_proxy_of_the_configuration_although_the_environment_excepts_the_address(environment):
    environment.setenv("NO_PROXY", "api.example")
    assert resolve_route("https://api.example", proxy=PROXY).proxy == PROXY


def test_is_direct_with_an_empty_proxy_although_the_environment_names_one(environment):
    environment.setenv("ALL_PROXY", PROXY)
    assert resolve_route("https://api.example", proxy="").proxies == {}


def test_is_direct_without_a_setting():
    assert resolve_route("https://api.example") == Route()


def test_is_direct_with_an_empty_variable(environment):
    environment.setenv("HTTPS_PROXY", "")
    assert resolve_route("https://api.example").proxies == {}


@pytest.mark.parametrize(
    ("listed", "host"),
    [
        ("fd00::/8", "[fd12::1]"),
        ("[fd00::/8]", "[fd12::1]"),
        ("[fd00::]/8", "[fd12::1]"),
        ("10.0.0.0/8, fd00::/8", "[fd12::1]:8080"),
        ("::1", "[::1]:11434"),
        ("[::1]", "[::1]:11434"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("127.0.0.1", "127.0.0.1:8080"),
        (".example", "api.example"),
        ("api.example:8080", "api.example:8080"),
        ("*", "api.example"),
    ],
)
def test_is_direct_to_an_address_that_no_proxy_lists(environment, listed, host):
    environment.setenv("ALL_PROXY", PROXY)
    environment.setenv("NO_PROXY", listed)
    assert resolve_route(f"http://{host}").proxy is None


@pytest.mark.parametrize(
    ("listed", "host"),
    [("fd00::/8", "[fe80::1]"), ("fd00::/8", "10.1.2.3"), ("[::1]", "[::2]"), ("fd00::/8", "api.example"), ("", "::1")],
)
def test_is_not_direct_to_an_address_that_no_proxy_does_not_list(environment, listed, host):
    environment.setenv("ALL_PROXY", PROXY)
    environment.setenv("NO_PROXY", listed)
    host = f"[{host}]" if host == "::1" else host
    assert resolve_route(f"http://{host}").proxy == PROXY


def test_sends_through_the_proxy_of_the_configuration():
    with ScriptedServer(default=Answer(json={"answer": 42})) as proxy:
        client = HttpClient("http://api.acme.example/v1", headers={}, proxy=proxy.url)
        assert client.send(ASK, 5.0).body == {"answer": 42}
        client.close()
        assert proxy.requests[0].path == "http://api.acme.example/v1/ask"


def test_names_the_variable_of_a_socks_proxy_whose_package_is_missing(environment):
    # What requests itself puts in its place.
    environment.setattr("requests.adapters.SOCKSProxyManager", refuse_socks)
    environment.setenv("ALL_PROXY", "socks5://user:hunter2secret@proxy.example:1080")
    with pytest.raises(ConfigurationError, match="ALL_PROXY cannot be used") as caught:
        HttpClient("https://api.example", headers={})
    assert "requests[socks]" in (caught.value.hint or "")
    assert "hunter2secret" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"


def test_takes_the_password_of_a_proxy_of_the_environment_out_of_errors(environment):
    answer = Answer(status=407, json={"error": "bad password hunter2secret"})
    with ScriptedServer(default=answer) as proxy:
        environment.setenv("HTTP_PROXY", proxy.url.replace("http://", "http://me:hunter2secret@"))
        client = HttpClient("http://api.acme.example", headers={})
        with pytest.raises(HttpError, match=r"bad password \[REDACTED\]"):
            client.send(ASK, 5.0)
        client.close()


def refuse_socks(*arguments, **fields):
    raise InvalidSchema("Missing dependencies for SOCKS support.")


MALFORMED = {
    "no host": "http://",
    "no host but a user": "http://me:hunter2secret@",
    "a port that is none": "http://me:hunter2secret@proxy.example:port",
    "a port out of range": "http://me:hunter2secret@proxy.example:99999",
    "port 0": "http://proxy.example:0",
    "an open bracket": "http://me:hunter2secret@[::1",
    "a space": "http://me:hunter2secret@bad host:3128",
    "another scheme": "ftp://me:hunter2secret@proxy.example:21",
}


@pytest.mark.parametrize("url", MALFORMED.values(), ids=MALFORMED)
def test_names_the_setting_of_a_malformed_proxy_and_not_its_password(environment, url):
    environment.setenv("HTTPS_PROXY", url)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
        HttpClient("https://api.example", headers={})
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame.locals for frame in shown.stack if "/tests/" not in frame.filename]
    assert "hunter2secret" not in f"{caught.value!r} {caught.value.hint} {frames} {caught.value.__cause__!r}"


def test_refuses_a_malformed_proxy_of_the_configuration():
    with pytest.raises(ConfigurationError, match=r"Config\(proxy\) is not the address of a proxy"):
        HttpClient("https://api.example", headers={}, proxy="http://")


def test_takes_a_proxy_without_a_scheme():
    with ScriptedServer(default=Answer(json={})) as proxy:
        client = HttpClient("http://api.acme.example", headers={}, proxy=proxy.url.removeprefix("http://"))
        assert client.send(ASK, 5.0).status == 200
        client.close()


def catch_proxy_fault(url, proxy=None):
    client = HttpClient(url, headers={}, proxy=proxy)
    with pytest.raises(ProxyUnusableError) as caught:
        client.send(ASK, 5.0)
    client.close()
    assert "hunter2secret" not in repr(caught.value)
    return classify_error(caught.value)


@pytest.fixture
def closed_address():
    with create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"127.0.0.1:{port}"


@pytest.mark.parametrize("url", ["http://api.example", "https://api.example"])
def test_names_the_proxy_of_the_environment_that_is_not_there(environment, closed_address, url):
    environment.setenv("ALL_PROXY", f"http://user:hunter2secret@{closed_address}")
    fault = catch_proxy_fault(url)
    assert (fault.kind, fault.retryable) == ("connection", True)
    assert f"the connection failed at the proxy {closed_address} of ALL_PROXY (" in fault.message
    assert "ALL_PROXY" in fault.hint
    assert "hunter2secret" not in f"{fault}"


def test_names_the_proxy_of_the_configuration_that_is_not_there(closed_address):
    fault = catch_proxy_fault("http://api.example", proxy=closed_address)
    assert f"at the proxy {closed_address} of Config(proxy)" in fault.message


def test_names_the_proxy_that_refuses_the_tunnel():
    with ScriptedServer(default=Answer(status=407)) as proxy:
        fault = catch_proxy_fault("https://api.example", proxy=proxy.url)
    assert fault.kind == "connection"
    assert "at the proxy 127.0.0.1:" in fault.message
    assert "407" in fault.message


def test_blames_no_proxy_for_the_server_behind_it():
    with ScriptedServer(default=CloseWithoutAnswer()) as proxy:
        client = HttpClient("http://api.example", headers={}, proxy=proxy.url)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of urllib3's; what counts is how it is classified
            client.send(ASK, 5.0)
        client.close()
    assert "at the proxy" not in classify_error(caught.value).message


def test_the_error_of_a_proxy_survives_pickling():
    error = pickle.loads(pickle.dumps(ProxyUnusableError("proxy.example:3128", "HTTP_PROXY")))  # noqa: S301 - our own
    assert str(error) == "the proxy proxy.example:3128 of HTTP_PROXY cannot be used"


def test_ends_a_proxy_that_drips_its_answer_to_connect_at_the_deadline():
    # 20 ms a byte: the head alone would take seconds, but each byte comes in time.
    drip = DripHeaders(interval_s=0.02, answer=Answer(headers={"X-Padding": "x" * 1000}))
    with ScriptedServer(default=drip) as proxy:
        client = HttpClient("https://api.acme.example", headers={}, proxy=proxy.url)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of urllib3's; what counts is how it is classified
            client.send(ASK, 1.0)
        client.close()
    assert classify_error(caught.value).kind == "timeout"
    assert [request.method for request in proxy.requests] == ["CONNECT"]


def test_sends_the_key_to_no_proxy_of_a_tunnel():
    with ScriptedServer(default=Answer(status=502)) as proxy:
        client = HttpClient("https://api.acme.example", headers={"Authorization": "Bearer sk"}, proxy=proxy.url)
        with pytest.raises(Exception):  # noqa: B017, PT011 - of urllib3's
            client.send(ASK, 5.0)
        client.close()
    assert "authorization" not in proxy.requests[0].headers


# Certificates


@pytest.fixture
def authority(tmp_path):
    """Write a certificate of 127.0.0.1 that signs itself, and its key; return the two files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)
    ).add_extension(address, critical=False)
    pem = serialization.Encoding.PEM
    (tmp_path / "here.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    kept = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "here.key").write_bytes(kept)
    return str(tmp_path / "here.pem"), str(tmp_path / "here.key")


@pytest.fixture
def tls_url(authority):
    """Serve one answer over TLS; return the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)
    with create_server(("127.0.0.1", 0)) as listener:

        def serve():
            # The client that does not trust the certificate ends the handshake.
            with suppress(OSError):
                connection = context.wrap_socket(listener.accept()[0], server_side=True)
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"answer": 42}')

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "ca.pem").write_bytes(Path(certifi.where()).read_bytes().partition(b"\n\n")[0])
    return str(tmp_path / "ca.pem")


def describe_bundle(route):
    return route.bundle, route.bundle_setting


@pytest.mark.parametrize("name", CA_BUNDLE_VARIABLES)
def test_takes_the_bundle_of_each_variable(environment, bundle, name):
    environment.setenv(name, bundle)
    assert describe_bundle(resolve_route("https://api.example")) == (bundle, name)


def test_takes_the_first_of_several_bundles(environment, bundle):
    for name in CA_BUNDLE_VARIABLES:
        environment.setenv(name, bundle if name == CA_BUNDLE_VARIABLES[0] else "/nowhere.pem")
    assert describe_bundle(resolve_route("https://api.example")) == (bundle, CA_BUNDLE_VARIABLES[0])


def test_takes_the_bundle_of_the_configuration_before_that_of_the_environment(environment, bundle):
    environment.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    route = resolve_route("https://api.example", ca_bundle=bundle)
    assert describe_bundle(route) == (bundle, "Config(ca_bundle)")


def test_takes_a_folder_of_certificates(tmp_path):
    assert resolve_route("https://api.example", ca_bundle=str(tmp_path)).bundle == str(tmp_path)


@pytest.mark.parametrize("name", CA_BUNDLE_VARIABLES)
def test_names_the_variable_of_a_bundle_that_is_missing(environment, tmp_path, name):
    environment.setenv(name, str(tmp_path / "gone.pem"))
    with pytest.raises(ConfigurationError, match=rf"{name} names .*gone\.pem.* cannot be read"):
        HttpClient("https://api.example", headers={})


@pytest.mark.parametrize("text", ["no certificate", "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n"])
def test_names_the_setting_of_a_bundle_without_a_certificate(tmp_path, text):
    (tmp_path / "ca.pem").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"Config\(ca_bundle\) names .* holds no certificate"):
        HttpClient("https://api.example", headers={}, ca_bundle=str(tmp_path / "ca.pem"))


def test_reads_no_bundle_for_an_address_without_tls(environment):
    environment.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    client = HttpClient("http://127.0.0.1:9", headers={})
    client.close()


def test_trusts_the_certificates_of_the_configuration(tls_url, authority):
    client = HttpClient(tls_url, headers={}, ca_bundle=authority[0])
    assert client.send(ASK, 5.0).body == {"answer": 42}
    client.close()


@pytest.mark.parametrize("host", ["localhost", "here"])
def test_trusts_a_certificate_for_no_other_host(tls_url, authority, monkeypatch, host):
    """The common name of the certificate, "here", is no name of a host."""
    resolve = connections.getaddrinfo
    monkeypatch.setattr(connections, "getaddrinfo", lambda _, *rest: resolve(b"127.0.0.1", *rest))
    client = HttpClient(tls_url.replace("127.0.0.1", host), headers={}, ca_bundle=authority[0])
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        client.send(ASK, 5.0)
    client.close()


def test_reads_the_certificates_once_for_all_connections(authority, monkeypatch):
    bundles = []
    monkeypatch.setattr(
        certificates, "build_tls", lambda bundle: bundles.append(bundle) or ssl.create_default_context()
    )
    pool = DirectPool(read_address("https://127.0.0.1:9"), authority[0], 4)
    assert len({id(pool._new_conn()._tls) for _ in range(3)}) == 1
    assert bundles == [authority[0]]


def test_a_bundle_that_is_gone_meanwhile_fails_the_call(authority, tmp_path):
    client = HttpClient("https://127.0.0.1:9", headers={}, ca_bundle=authority[0])
    (tmp_path / "here.pem").unlink()
    with pytest.raises(ssl.SSLError, match="cannot be read") as caught:
        client.send(ASK, 5.0)
    assert classify_error(caught.value).kind == "connection"


def test_trusts_no_other_certificates(tls_url):
    client = HttpClient(tls_url, headers={}, ca_bundle=certifi.where())
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of urllib3's; what counts is how it is classified
        client.send(ASK, 5.0)
    client.close()
    assert classify_error(caught.value).kind == "connection"
