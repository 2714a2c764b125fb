"""The page of `pollux-sync durable ui`, over HTTP and in a browser."""

import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from html.parser import HTMLParser
from importlib.resources import files
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import pytest

from browser import Browser, find_browser
from pollux_durable import (
    Agent,
    EventPayload,
    RunFailedError,
    configure,
    create_ask_user_tool,
    reset,
    schedules,
    tool,
    workflow,
)
from pollux_durable.configuring import find_host
from pollux_durable.data.queues import QueueInfo
from pollux_durable.data.schedules import Schedule
from pollux_durable.data.settings import DurableSettings
from pollux_durable.durations import format_duration
from pollux_durable.errors import StoredDataError
from pollux_durable.page.folding import drop_superseded, fold_events
from pollux_durable.page.formatting import build_value, format_database
from pollux_durable.page.guarding import Guard
from pollux_durable.page.listviews import build_sections_view
from pollux_durable.page.routing import PageRequest, Site
from pollux_durable.page.serving import PageServer, build_remarks
from pollux_sync import Config, ConfigurationError, Reply, ToolCall
from pollux_sync.testing import Script

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
_numbers = itertools.count()


@pytest.fixture(
    scope="module",
    autouse=True,
    params=["memory", *(pytest.param(name, marks=pytest.mark.soak) for name in ("sqlite", "postgresql"))],
)
def engine(request, make_url):
    reset()
    configure(make_url(request.param))
    yield request.param
    reset(forget=True)


@pytest.fixture(scope="module")
def server(engine):
    with PageServer(find_host()) as running:
        yield running


@pytest.fixture(scope="module")
def page(server):
    """Return a browser's side of the page, logged in."""
    client = Client(server)
    assert client.get(f"/?token={read_token(server)}").status == 200
    return client


@attrs.frozen
class Answer:
    status: int
    headers: dict
    text: str


class Client:
    """Sends requests and keeps the cookie, as a browser does."""

    def __init__(self, server):
        self.port = urlsplit(server.address).port
        self.cookie = None

    def send(self, method, path, headers=(), body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = dict(headers)
        if self.cookie is not None:
            given.setdefault("Cookie", self.cookie)
        with closing(connection):
            connection.request(method, path, body, given)
            response = connection.getresponse()
            answer = Answer(response.status, dict(response.getheaders()), response.read().decode())
        if "Set-Cookie" in answer.headers:
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return answer

    def get(self, path, **headers):
        return self.send("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path, fields, **headers):
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.send(
            "POST", path, kind | {name.replace("_", "-"): value for name, value in headers.items()}, urlencode(fields)
        )

    def show(self, execution_id):
        return self.get(f"/run?{urlencode({'id': execution_id})}").text

    def find_form(self, execution_id, action):
        """Return the fields of the form of a run's page that has this action, once it is there."""
        return wait_until(lambda: find_form(self.show(execution_id), action))

    def follow(self, execution_id, **headers):
        """Yield the live events of a run as (name, id, data), until the server ends them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            given = {"Cookie": self.cookie} | {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", f"/events?{urlencode({'id': execution_id})}", headers=given)
            response = connection.getresponse()
            assert response.headers["Content-Type"].startswith("text/event-stream")
            facts = {}
            for line in map(bytes.decode, response):
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    facts[name] = value
                elif "event" in facts:
                    yield facts["event"], facts.get("id"), json.loads(facts["data"])
                    facts = {}


class TagReader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def read_tags(html):
    reader = TagReader()
    reader.feed(html)
    return reader.tags


def find_form(html, action):
    """Return the fields of the first form with an action, None if there is none."""
    fields = None
    for tag, attributes in read_tags(html):
        if tag == "form" and fields is not None:
            break
        if tag == "form" and attributes.get("action") == action:
            fields = {}
        elif fields is not None and "name" in attributes:
            value = attributes.get("value") if attributes.get("type") == "hidden" else None
            fields.setdefault(attributes["name"], value or "")
    return fields


def wait_until(look):
    for _ in range(2000):
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come")


def read_token(server):
    return parse_qs(urlsplit(server.url).query)["token"][0]


def name(stem):
    return f"{stem}-{next(_numbers)}"


def declare(function, **settings):
    return workflow(id=settings.pop("id", name("flow")), **settings)(function)


def suspend(data, key="ask"):
    """Return the handle of a run that is suspended with this data."""
    handle = declare(lambda ctx, payload: ctx.step.suspend(key, data)).invoke({})
    wait_until(lambda: handle.status == "waiting")
    return handle


def build_mailer(*answers):
    """Return an agent whose tool waits for approval."""

    def send_mail(ctx, to: str) -> str:
        """Send a mail."""
        return f"sent to {to}"

    mail = tool(id=name("mail"), approval="always")(send_mail)
    call = Reply(tool_calls=(ToolCall("c1", mail.id, '{"to": "Ann"}'),), finish_reason="tool_calls")
    config = Config(provider="openai", model="m", use_mock=True, plugins=(Script(call, *answers),))
    return Agent(id=name("mailer"), config=config, tools=[mail])


# Who is let in


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/run?id=x",
        "/events?id=x",
        "/questions",
        "/no-such-page",
        "/?token",
        "/?token=",
        "/?token=wrong",
        "/?token=%C3%A9%ff",
    ],
)
def test_refuses_whoever_has_no_token(server, path):
    answer = Client(server).get(path)
    assert (answer.status, answer.text) == (403, "")
    assert "Set-Cookie" not in answer.headers


def test_refuses_a_wrong_cookie(server, page):
    stranger = Client(server)
    stranger.cookie = page.cookie[:-1] + ("a" if page.cookie[-1] != "a" else "b")
    assert (stranger.get("/").status, stranger.get("/").text) == (403, "")


def test_refuses_a_wrong_token_even_with_the_cookie(page):
    assert page.get("/?token=wrong").status == 403


def test_lets_one_browser_in_with_the_token():
    with PageServer(find_host()) as server:
        first, second = Client(server), Client(server)
        answer = first.get(f"/?token={read_token(server)}")
        assert answer.status == 200
        assert {"HttpOnly", "SameSite=Strict"} <= set(answer.headers["Set-Cookie"].split("; "))
        assert read_token(server) not in answer.headers["Set-Cookie"] + answer.text
        assert first.get("/").status == 200
        assert first.get(f"/?token={read_token(server)}").status == 200
        assert second.get(f"/?token={read_token(server)}").status == 403


def test_has_a_new_token_for_each_server(server):
    other = PageServer(find_host())
    other.close()
    assert len(read_token(other)) >= 43
    assert read_token(other) != read_token(server)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "x@127.0.0.1:{port}",
        "10.0.0.7:{port}",
        "[::1",
        "",
    ],
)
def test_refuses_requests_for_another_host(page, host):
    answer = page.get("/", Host=host.format(port=page.port))
    assert (answer.status, answer.text) == (403, "")


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}"])
def test_answers_under_the_names_of_this_machine(page, host):
    assert page.get("/", Host=host.format(port=page.port)).status == 200


def test_refuses_a_request_with_two_hosts(page):
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        host = f"Host: 127.0.0.1:{page.port}\r\n"
        connection.sendall(f"GET / HTTP/1.1\r\n{host}Host: evil.example\r\nCookie: {page.cookie}\r\n\r\n".encode())
        assert connection.makefile("rb").readline().split()[1] == b"403"


def test_changes_nothing_without_the_token_of_the_form(page):
    handle = suspend({"title": "Go on?"})
    fields = page.find_form(handle.id, "/cancel")
    ours = f"http://127.0.0.1:{page.port}"
    without = {key: value for key, value in fields.items() if key != "form_token"}
    assert page.post("/cancel", without).status == 403
    assert page.post("/cancel", without | {"form_token": "wrong"}).status == 403
    assert page.post("/cancel", fields, Origin="http://evil.example").status == 403
    assert page.post("/cancel", fields, Origin="null").status == 403
    assert page.post("/cancel", fields, Sec_Fetch_Site="cross-site").status == 403
    assert page.post("/cancel", fields, Cookie="").status == 403
    assert page.get(f"/cancel?{urlencode(fields)}").status == 404
    assert handle.status == "waiting"
    assert page.post("/cancel", without, X_Pollux_Form_Token=fields["form_token"], Origin=ours).status == 303
    assert handle.status == "cancelled"


def test_refuses_a_form_that_is_too_large(page):
    handle = suspend({})
    fields = page.find_form(handle.id, "/cancel")
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        head = (
            f"Host: 127.0.0.1:{page.port}\r\nCookie: {page.cookie}\r\nX-Pollux-Form-Token: {fields['form_token']}\r\n"
        )
        connection.sendall(f"POST /cancel HTTP/1.1\r\n{head}Content-Length: 99999999999\r\n\r\n".encode())
        assert connection.makefile("rb").readline().split()[1] == b"409"
    assert handle.status == "waiting"
    handle.cancel()


def test_refuses_a_form_that_is_no_text(page):
    for body in (b"form_token=\xff", b"&".join(b"a=1" for _ in range(2000))):
        assert page.send("POST", "/cancel", {}, body).status == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/no-such-page", 404),
        ("GET", "/run?id=no", 404),
        ("GET", "/events?id=no", 404),
        ("POST", "/", 403),
        ("PUT", "/", 501),
    ],
)
def test_sends_a_strict_policy_with_everything(page, method, path, status):
    answers = [page.send(method, path) for _ in range(2)]
    assert [answer.status for answer in answers] == [status, status]
    policies = [answer.headers["Content-Security-Policy"] for answer in answers]
    assert policies[0] != policies[1]
    assert "default-src 'none'" in policies[0]
    assert "unsafe" not in policies[0]
    assert "http" not in policies[0]
    assert answers[0].headers["Cache-Control"] == "no-store"
    assert answers[0].headers["X-Frame-Options"] == "DENY"


def test_marks_its_styles_and_script_with_the_nonce(page):
    answer = page.get("/")
    (nonce,) = set(re.findall(r"'nonce-([\w-]+)'", answer.headers["Content-Security-Policy"]))
    marked = [(tag, attributes) for tag, attributes in read_tags(answer.text) if tag in {"style", "script"}]
    assert marked == [("style", {"nonce": nonce}), ("script", {"nonce": nonce})]


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("192.0.2.7:80", True),
        ("192.0.2.7", True),
        ("localhost", True),
        ("evil.example", False),
        ("192.0.2.7:81", False),
    ],
)
def test_knows_the_addresses_of_a_server_that_others_reach(host, is_known):
    guard = Guard("192.0.2.1", 80)
    assert guard.admit({"Host": host}, guard.url_token).is_granted is is_known


def test_warns_of_an_address_that_other_machines_reach():
    assert "Caution" in "".join(build_remarks("192.0.2.7", "url"))
    for address in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        assert "Caution" not in "".join(build_remarks(address, "url"))


def test_cannot_listen_on_a_port_that_is_taken(server):
    with pytest.raises(ConfigurationError, match="cannot listen"):
        PageServer(find_host(), port=urlsplit(server.address).port)
    with pytest.raises(ConfigurationError, match="cannot listen"):
        PageServer(find_host(), port=99_999)


SERVE = """
from pollux_durable import configure
from pollux_durable.configuring import find_host
from pollux_durable.page.command import add_arguments, run_ui
from argparse import ArgumentParser
configure("memory:")
parser = ArgumentParser()
add_arguments(parser)
raise SystemExit(run_ui(parser.parse_args(["--open"]), find_host()))
"""


def test_prints_its_url_and_ends_with_ctrl_c():
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BROWSER": "true"},
    )
    with process:
        url = process.stdout.readline().split()[-1]
        parts = urlsplit(url)
        assert parts.hostname == "127.0.0.1"
        assert Client(SimpleNamespace(address=url)).get(f"/?{parts.query}").status == 200
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert "token" not in output


# What is shown


def test_shows_a_run_with_its_steps_and_children(page):
    child = declare(lambda ctx, payload: payload)

    def work(ctx, payload):
        ctx.step.run("load", lambda: {"lines": 3})
        ctx.step.map("each", abs, [1, 2])
        return ctx.step.invoke_and_wait("below", child, "for the child")

    handle = declare(work).invoke({"text": "hello"}, session_id="s-1", user_id="u-1")
    handle.result(20)
    html = page.show(handle.id)
    for shown in (
        "completed",
        "hello",
        "for the child",
        "s-1",
        "u-1",
        "each[1]",
        "&quot;lines&quot;: 3",
        f"{handle.id}.below",
    ):
        assert shown in html
    assert html.count("<rect ") == 4
    assert handle.id in page.show(f"{handle.id}.below")


def test_shows_what_a_run_failed_with(page):
    def fail(ctx, payload):
        ctx.step.run("bad", lambda: 1 / 0, max_retries=0)

    handle = declare(fail).invoke({})
    with pytest.raises(RunFailedError):
        handle.result(20)
    html = page.show(handle.id)
    assert "division by zero" in html
    assert '<li class="failed">' in html


def test_shows_what_a_run_waits_for(page):
    handle = declare(lambda ctx, payload: ctx.step.wait_for("nap", hours=1)).invoke({})
    wait_until(lambda: handle.status == "waiting")
    html = page.show(handle.id)
    assert "in step nap, for a time, until <time" in html
    assert find_form(html, "/answer") is None
    handle.cancel()


def test_escapes_all_that_comes_from_outside(page):
    field = {"key": HOSTILE, "label": HOSTILE, "type": "select", "options": [HOSTILE], "description": HOSTILE}
    asked = {"title": HOSTILE, "question": HOSTILE, "context": {HOSTILE: HOSTILE}, "fields": [field], HOSTILE: HOSTILE}

    def show(ctx, payload):
        ctx.step.run(HOSTILE, lambda: HOSTILE)
        ctx.step.publish_workflow_event("tell", {"step": 1, "content": HOSTILE}, "text_delta")
        ctx.step.publish_workflow_event("note", HOSTILE, HOSTILE)
        ctx.step.suspend(HOSTILE + "2", asked)

    flow = declare(show, id=HOSTILE)
    handle = flow.invoke(HOSTILE, execution_id=HOSTILE, session_id=HOSTILE, user_id=HOSTILE)
    wait_until(lambda: handle.status == "waiting")
    views = [
        page.show(HOSTILE),
        page.get("/").text,
        page.get("/questions").text,
        page.get(f"/run?{urlencode({'id': HOSTILE + 'no'})}").text,
        page.get(f"/?{urlencode({'workflow': HOSTILE})}").text,
    ]
    for html in views:
        assert "&lt;script&gt;" in html
        assert "<script>" not in html
        assert "<img" not in html
    handle.cancel()


def test_loads_nothing_from_elsewhere(page):
    handle = suspend({"context": HOSTILE, "fields": [{"key": "a"}]})
    for path in ("/", "/questions", "/queues", f"/run?id={handle.id}", "/no-such-page"):
        tags = read_tags(page.get(path).text)
        assert {"html", "style", "script", "main"} <= {tag for tag, _ in tags}
        names = {name for _, attributes in tags for name in attributes}
        assert not {name for name in names if name.startswith("on")}
        assert not names & {"style", "src", "srcset", "http-equiv"}
        links = {attributes[name] for _, attributes in tags for name in ("href", "action") if name in attributes}
        assert {link for link in links if not re.match(r"/(?!/)|#", link)} == {"data:,"}
    handle.cancel()


@pytest.mark.parametrize("asset", ["page.css", "page.js"])
def test_has_assets_that_load_nothing_from_elsewhere(asset):
    text = files("pollux_durable.page").joinpath("assets", asset).read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w+\.|@import|url\(|innerHTML = |eval\(", text)


def test_finds_runs_by_workflow_and_status(page):
    flow = declare(lambda ctx, payload: payload)
    for number in range(3):
        flow.run(number)
    waiting = suspend({})
    html = page.get(f"/?workflow={flow.id}").text
    assert html.count("<tr>") == 1 + 3
    assert "There is no such run." in page.get(f"/?workflow={flow.id}&status=failed").text
    assert waiting.id in page.get("/?status=waiting").text
    assert waiting.id not in page.get("/?status=cancelled").text
    waiting.cancel()
    assert waiting.id in page.get("/?status=cancelled").text


@pytest.mark.parametrize(
    "query", ["status=odd", "offset=-1", "offset=x", pytest.param(f"offset={'9' * 5000}", id="long")]
)
def test_refuses_a_filter_that_is_none(page, query):
    assert page.get(f"/?{query}").status == 404


def test_shows_many_runs_page_by_page(page):
    flow = declare(lambda ctx, payload: payload)
    handles = [flow.invoke(number) for number in range(120)]
    for handle in handles:
        handle.result(20)
    path, seen = f"/?workflow={flow.id}&status=completed", []
    while path:
        html = page.get(path).text
        seen += re.findall(r"/run\?id=([\w-]+)", html)
        older = re.search(r'href="([^"]+)">Older runs', html)
        path = older and older[1].replace("&amp;", "&")
    assert seen == [handle.id for handle in reversed(handles)]


def test_shows_no_password():
    for url in (
        "postgresql://ann:secret@db.example/runs",
        "postgresql://ann:s@cret@db.example/runs",
        "postgresql://db.example/runs?password=secret",
    ):
        assert format_database(DurableSettings(url=url)) == "postgresql://db.example/runs"


def test_shows_what_of_queues_and_schedules_is_set():
    queue = QueueInfo(name="mail", concurrency_limit=5, rate_limit=(100, 60.0), is_paused=True, paused_until=60.0)
    schedule = Schedule(
        workflow_id="report", key="global", cron="0 6 * * *", timezone="UTC", backfill=False, next_at=0.0
    )
    html = build_sections_view([queue], [schedule], "token").content
    for shown in ("mail", "100 in 60 s", "paused until", "report", "0 6 * * *", "1970-01-01 00:00:00 UTC"):
        assert shown in html
    assert build_sections_view([], [], "token").content.count("There are none.") == 2


def test_pauses_a_queue_and_lets_it_go_on(page):
    queue = name("queue")
    flow = declare(lambda ctx, payload: payload, queue=queue)
    assert flow.run(1, timeout=20) == 1
    fields = {**find_form(page.get("/queues").text, "/queues/pause"), "queue": queue}
    assert page.post("/queues/pause", fields).headers["Location"] == "/queues?done=queue_paused"
    handle = flow.invoke(2)
    html = page.get("/queues?done=queue_paused").text
    assert "No run of the queue begins" in html
    assert find_form(html, "/queues/resume")["queue"] == queue
    assert handle.status == "queued"
    assert page.post("/queues/resume", fields).status == 303
    assert handle.result(20) == 2
    assert page.post("/queues/pause", fields | {"queue": "nowhere"}).status == 409


def test_pauses_a_schedule_and_lets_it_go_on(page):
    report = declare(lambda ctx, payload: None, schedule="0 6 1 1 *")
    fields = {**find_form(page.get("/queues").text, "/schedules/pause"), "workflow": report.id, "key": "global"}
    assert page.post("/schedules/pause", fields).status == 303
    assert [schedule.is_paused for schedule in schedules.list(report)] == [True]
    assert find_form(page.get("/queues").text, "/schedules/resume")["workflow"] == report.id
    assert page.post("/schedules/resume", fields).status == 303
    assert [schedule.is_paused for schedule in schedules.list(report)] == [False]
    assert page.post("/schedules/resume", fields | {"key": "other"}).status == 409


def test_tries_the_step_again_with_which_a_run_failed(page):
    failures = [ValueError("no paper")]

    def print_it():
        if failures:
            raise failures.pop()
        return "printed"

    handle = declare(lambda ctx: ctx.step.run("print", print_it, max_retries=0), max_retries=0).invoke()
    wait_until(lambda: handle.status == "failed")
    assert page.post("/retry", page.find_form(handle.id, "/retry")).status == 303
    assert handle.result(20) == "printed"
    assert find_form(page.show(handle.id), "/retry") is None


def test_tells_what_the_database_cannot_give():
    def refuse():
        raise StoredDataError("a stored value was written with a codec", hint="name the plugin")

    request = PageRequest(method="GET", path="/questions", query={}, form={})
    host = SimpleNamespace(waits=SimpleNamespace(find_of_kind=lambda kind: refuse()))
    response = Site(host, "token").respond(request, "nonce")
    assert response.status == 500
    assert "a stored value was written with a codec" in response.body
    assert "name the plugin" in response.body


def test_shows_nothing_of_an_error_of_its_own(caplog):
    request = PageRequest(method="GET", path="/questions", query={}, form={})
    response = Site(SimpleNamespace(secret="in an attribute"), "token").respond(request, "nonce")
    assert response.status == 500
    assert "attribute" not in response.body
    assert "attribute" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (0.0123, "12 ms"), (61.2, "61.2 s"), (150, "2.5 min"), (172_800, "2.0 d")]
)
def test_shows_durations_in_a_unit_that_suits_them(seconds, shown):
    assert format_duration(seconds) == shown


def test_cuts_long_values():
    assert "x</pre>" not in build_value("x" * 20_001)
    assert "... and 1 more characters" in build_value("x" * 20_001)


# What is done


def test_answers_a_tool_that_waits_for_approval(page):
    agent = build_mailer("Done.")
    handle = agent.invoke("Write to Ann")
    fields = page.find_form(handle.id, "/answer")
    answer = page.post("/answer", fields | {"field.approved": "true"})
    assert (answer.status, answer.headers["Location"]) == (303, f"/run?id={handle.id}&done=answered")
    result = handle.result(20)
    assert (result.result, result.tool_results[0].result) == ("Done.", "sent to Ann")
    assert "The answer was sent." in page.get(answer.headers["Location"]).text
    assert find_form(page.show(handle.id), "/answer") is None


def test_tells_the_model_why_a_call_was_not_approved(page):
    handle = build_mailer("Sorry.").invoke("Write to Ann")
    fields = page.find_form(handle.id, "/answer")
    page.post("/answer", fields | {"field.approved": "false", "field.feedback": "not her"})
    assert "not her" in handle.result(20).tool_results[0].error


def test_sends_fields_as_their_types(page):
    kinds = {
        "t": "text",
        "a": "textarea",
        "n": "number",
        "f": "number",
        "b": "boolean",
        "s": "select",
        "o": "number",
        "e": "select",
        "x": "odd",
    }
    options = {"options": ["red", 7]}
    handle = suspend({"fields": [{"key": key, "type": kind, **options} for key, kind in kinds.items()]})
    sent = {"t": "é<b>", "a": "one\r\ntwo", "n": " 12", "f": "-0.5", "b": "false", "s": "1", "o": "", "e": "", "x": "y"}
    fields = page.find_form(handle.id, "/answer")
    assert {f"field.{key}" for key in kinds} < fields.keys()
    page.post("/answer", fields | {f"field.{key}": value for key, value in sent.items()})
    assert handle.result(20) == {
        "t": "é<b>",
        "a": "one\ntwo",
        "n": 12,
        "f": -0.5,
        "b": False,
        "s": 7,
        "o": None,
        "e": None,
        "x": "y",
    }


def test_shows_a_form_for_what_a_model_asks(page):
    asking = create_ask_user_tool(name("ask"))
    question = {"question": "How many?", "fields": [{"key": "n", "label": "Number", "type": "number"}]}
    call = Reply(tool_calls=(ToolCall("c1", asking.id, json.dumps(question)),), finish_reason="tool_calls")
    config = Config(provider="openai", model="m", use_mock=True, plugins=(Script(call, "Four."),))
    handle = Agent(id=name("asker"), config=config, tools=[asking]).invoke("Ask me")
    fields = page.find_form(handle.id, "/answer")
    assert "How many?" in page.get("/questions").text
    page.post("/answer", fields | {"field.n": "4", "back": "/questions"})
    assert handle.result(20).tool_results[0].result == {"n": 4}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("number", "many"),
        ("number", "nan"),
        ("number", "1e999"),
        ("boolean", "maybe"),
        ("select", "2"),
        ("select", "-1"),
        ("text", " "),
    ],
)
def test_refuses_an_answer_that_does_not_fit(page, kind, value):
    handle = suspend(
        {"fields": [{"key": "a", "label": "The field", "type": kind, "required": True, "options": ["x", "y"]}]}
    )
    answer = page.post("/answer", page.find_form(handle.id, "/answer") | {"field.a": value})
    assert answer.status == 409
    assert "The field" in answer.text
    assert handle.status == "waiting"
    handle.cancel()


@pytest.mark.parametrize(
    "data",
    [None, "Go on?", {"draft": "text"}, {"fields": []}, {"fields": [7]}, {"fields": [{"key": "a"}, {"key": "a"}]}],
)
def test_takes_json_where_no_fields_are_said(page, data):
    handle = suspend(data)
    fields = page.find_form(handle.id, "/answer")
    assert page.post("/answer", fields | {"json": "no"}).status == 409
    assert page.post("/answer", fields | {"json": '{"a": NaN}'}).status == 409
    assert page.post("/answer", fields | {"json": '{"approved": [1, "é"]}'}).status == 303
    assert handle.result(20) == {"approved": [1, "é"]}


def test_refuses_a_second_answer(page):
    handle = suspend({})
    fields = page.find_form(handle.id, "/answer") | {"json": "1"}
    assert page.post("/answer", fields).status == 303
    assert handle.result(20) == 1
    assert page.post("/answer", fields | {"json": "2"}).status == 409


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "x\r\nSet-Cookie: a=b"])
def test_leads_nowhere_else_after_an_answer(page, back):
    handle = suspend({})
    answer = page.post("/answer", page.find_form(handle.id, "/answer") | {"json": "1", "back": back})
    assert answer.headers["Location"] == f"/run?{urlencode({'id': back, 'done': 'answered'})}"
    assert "Set-Cookie" not in answer.headers


def test_cancels_and_resumes_a_run(page):
    handle = suspend({})
    assert page.post("/cancel", page.find_form(handle.id, "/cancel")).status == 303
    assert handle.status == "cancelled"
    assert page.post("/resume", page.find_form(handle.id, "/resume")).status == 303
    assert page.post("/answer", page.find_form(handle.id, "/answer") | {"json": "5"}).status == 303
    assert handle.result(20) == 5


def test_refuses_to_resume_a_run_that_was_not_cancelled(page):
    handle = suspend({})
    fields = page.find_form(handle.id, "/cancel")
    answer = page.post("/resume", fields)
    assert (answer.status, handle.status) == (409, "waiting")
    assert "only a cancelled run is resumed" in answer.text
    assert page.post("/cancel", fields | {"id": "no"}).status == 409
    assert page.post("/no-such-page", fields).status == 404
    handle.cancel()


# Live events


def test_follows_a_run_from_where_the_browser_was(page):
    go_on = threading.Event()

    def tell(ctx, payload):
        ctx.step.publish_workflow_event("one", {"n": 1}, "note")
        ctx.step.publish_workflow_event("two", {"n": 2}, "note")
        go_on.wait(20)
        ctx.step.publish_workflow_event("three", {"n": 3}, "note")

    handle = declare(tell).invoke({})
    feed = page.follow(handle.id)
    first = [*itertools.islice((one for one in feed if one[0] == "event"), 2)]
    feed.close()
    assert [data["data"]["n"] for _, _, data in first] == [1, 2]
    assert [number for _, number, _ in first] == [str(data["sequence_id"]) for _, _, data in first]
    again = page.follow(handle.id, Last_Event_ID=first[0][1])
    go_on.set()
    rest = [*again]
    assert [data["data"]["n"] for kind, _, data in rest if kind == "event"] == [2, 3]
    assert (rest[-1][0], rest[-1][2]["status"]) == ("end", "completed")


def test_follows_the_tokens_of_an_agent(page):
    config = Config(provider="openai", model="m", use_mock=True, plugins=(Script("one two three"),))
    stream = Agent(id=name("talker"), config=config).stream("Talk")
    events = [data for kind, _, data in page.follow(stream.id) if kind == "event"]
    assert "".join(one["data"]["content"] for one in events if one["event_type"] == "text_delta") == "one two three"
    assert "one two three</pre>" in page.show(stream.id)


def test_shows_only_what_happens_in_a_run_and_below_it(page):
    def tell(ctx, payload):
        ctx.step.publish_workflow_event("tell", payload, "note")

    child = declare(tell)

    def start(ctx, payload):
        ctx.step.invoke_and_wait("a", child, "of a")
        ctx.step.invoke_and_wait("ab", child, "of ab")

    handle = declare(start).invoke({})
    handle.result(20)

    def read(execution_id):
        return [data["data"] for kind, _, data in page.follow(execution_id) if kind == "event"]

    assert (read(handle.id), read(f"{handle.id}.a")) == (["of a", "of ab"], ["of a"])


@pytest.mark.parametrize("last", ["x", "-1", "²", pytest.param("9" * 5000, id="long")])
def test_refuses_a_place_that_is_none(page, last):
    handle = declare(lambda ctx, payload: None).invoke({})
    assert page.get(f"/events?{urlencode({'id': handle.id, 'after': last})}").status == 404


def test_drops_what_a_step_has_sent_before_it_began_anew(page):
    def stutter(ctx, payload):
        def tell(key, event_type, **data):
            ctx.step.publish_workflow_event(key, data, event_type)

        tell("1", "stream_start", step=1)
        tell("2", "text_delta", step=1, content="first try")
        tell("3", "text_delta", step=2, content="another step")
        tell("4", "stream_start", step=1)
        tell("5", "text_delta", step=1, content="second try")

    handle = declare(stutter).invoke({})
    handle.result(20)
    html = page.show(handle.id)
    assert "first try" not in html
    assert "another step" in html
    assert "second try" in html
    sent = [data["data"].get("content") for kind, _, data in page.follow(handle.id) if kind == "event"]
    assert sent == ["another step", None, "second try"]


def test_keeps_the_steps_of_other_runs_when_one_begins_anew():
    def build(number, event_type, run, step, content=None):
        data = {"step": step, "content": content}
        return EventPayload(
            sequence_id=number, topic="t", event_type=event_type, data=data, execution_id=run, created_at=0.0
        )

    events = [
        build(1, "text_delta", "a", 1, "x"),
        build(2, "text_delta", "b", 1, "y"),
        build(3, "stream_start", "b", 1),
        build(4, "text_delta", "b", 1, "z"),
    ]
    assert [event.sequence_id for event in drop_superseded(events)] == [1, 3, 4]
    assert fold_events(events, 4).texts == {("a", 1): "x", ("b", 1): "z"}


def test_ends_live_events_with_the_server():
    with PageServer(find_host()) as server:
        client = Client(server)
        client.get(f"/?token={read_token(server)}")
        handle = suspend({})
        feed = client.follow(handle.id)
        assert next(feed)[0] in {"event", "change"}
    assert "end" not in [kind for kind, _, _ in feed]
    handle.cancel()


# In a browser


def test_works_in_a_browser(tmp_path):
    path = find_browser()
    if path is None:
        pytest.skip("the browser test was not run: no Chromium was found; the page was checked over HTTP only")
    handle = build_mailer("The mail was sent.").stream("Write to Ann").handle
    with PageServer(find_host()) as server, Browser(path, tmp_path) as browser:
        browser.open(server.url)
        browser.wait_for("location.search == ''")  # the token is gone from the address
        browser.open(f"{server.address}/run?id={handle.id}")
        browser.wait_for("document.querySelector('form[action=\"/answer\"] fieldset') != null")
        # With the keyboard alone.
        browser.evaluate("document.querySelector('fieldset input').focus()")
        browser.press(" ", 32)
        browser.press("Tab", 9)
        browser.type("with <b>care</b>")
        browser.press("Tab", 9)
        browser.press("Enter", 13)
        browser.wait_for("document.querySelector('dd .badge').textContent == 'completed'")
        browser.wait_for("document.querySelector('#texts pre').textContent == 'The mail was sent.'")
        assert handle.result(20).tool_results[0].result == "sent to Ann"
        browser.wait_for("document.querySelector('#following').textContent == 'The run has ended.'")
        assert browser.problems == []


def test_shows_in_a_browser_what_changes(tmp_path):
    path = find_browser()
    if path is None:
        pytest.skip("the browser test was not run: no Chromium was found; the page was checked over HTTP only")
    go_on = threading.Event()

    def stutter(ctx, payload):
        ctx.step.publish_workflow_event("1", {"step": 1, "content": HOSTILE}, "text_delta")
        go_on.wait(20)
        ctx.step.publish_workflow_event("2", {"step": 1}, "stream_start")
        ctx.step.publish_workflow_event("3", {"step": 1, "content": HOSTILE[::-1]}, "text_delta")
        return ctx.step.suspend("ask", {"title": HOSTILE})

    handle = declare(stutter).invoke({})
    shown = "[...document.querySelectorAll('#texts pre')].map(one => one.textContent)"
    with PageServer(find_host()) as server, Browser(path, tmp_path) as browser:
        browser.open(server.url)
        browser.open(f"{server.address}/run?id={handle.id}")
        browser.wait_for(f"{shown}[0] == {json.dumps(HOSTILE)}")
        go_on.set()
        browser.wait_for(f"{shown}[0] == {json.dumps(HOSTILE[::-1])}")
        assert browser.evaluate(f"{shown}.length") == 1
        # The form of a question that comes later is there without another look.
        browser.wait_for("document.querySelector('form[action=\"/answer\"] textarea') != null")
        # What is being written is not replaced, not even when somebody else answers.
        browser.evaluate("document.querySelector('form[action=\"/answer\"] textarea').focus()")
        browser.type(" ")
        handle.answer("ask", 5)
        browser.wait_for("document.querySelector('dd .badge').textContent == 'completed'")
        assert browser.evaluate("document.activeElement.tagName") == "TEXTAREA"
        assert browser.problems == []
