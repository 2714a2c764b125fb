import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from pollux_sync import (
    APIError,
    Fault,
    HttpRequest,
    HttpResponse,
    Options,
    PluginLoadError,
    Problem,
    ProviderBugError,
    ProviderInfo,
    Reply,
    Source,
    TextDelta,
    hookimpl,
)
from pollux_sync.builtin.defaults import CoreDefaults
from pollux_sync.data.config import ConfigValues
from pollux_sync.data.events import CallStarted
from pollux_sync.data.handles import Asset
from pollux_sync.data.jobs import DeferredJob
from pollux_sync.data.request import Call, Plan, Request
from pollux_sync.hooks import specs
from pollux_sync.hooks.loading import Loaded
from pollux_sync.hooks.relay import REQUIRED_HOOKS, Hooks, build_manager, read_provider_info

SECRET = "sk-white-whale"
CONFIG = ConfigValues(provider="acme", model="m", api_key=SECRET)
CALL = Call(index=0, model="m", prompt="Who?", options=Options())
STOP = threading.Event()
REQUEST = HttpRequest(path="/ask", body={"question": "Who?"})
RESPONSE = HttpResponse(status=200, body={"answer": "Ahab"})
ASSET = Asset(id="file-1", mime_type="text/plain")
PLAN = Plan(request=Request(prompts=("Who?",), sources=(), config=CONFIG, options=Options()), calls=(CALL,))


class Client:
    """The client of the provider below. It counts how often it was closed."""

    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


class Acme:
    """A provider that does everything right."""

    info = ProviderInfo(name="acme", key_env=("ACME_API_KEY",))

    def __init__(self):
        self.clients = []

    @hookimpl
    def pollux_provider_info(self):
        return self.info

    @hookimpl
    def pollux_open(self, config):
        self.clients.append(Client())
        return self.clients[-1]

    @hookimpl
    def pollux_encode(self, call):
        return HttpRequest(path="/ask", body={"question": call.prompt})

    @hookimpl
    def pollux_send(self, request):
        return RESPONSE

    @hookimpl
    def pollux_decode(self, response):
        return Reply(text=response.body["answer"])


def load(provider, name="acme"):
    return Loaded(provider, name, "pollux-acme", "1.0")


def build_hooks(provider, *middleware, config=CONFIG):
    others = [Loaded(plugin, f"middleware {number}") for number, plugin in enumerate(middleware)]
    manager = build_manager([Loaded(CoreDefaults(), "defaults"), load(provider), *others])
    return Hooks(config=config, info=read_provider_info(load(provider)), manager=manager)


def with_hook(name, function):
    """The good provider with one hook of its own."""
    return type("Odd", (Acme,), {name: hookimpl(function)})()


def raising(error):
    def implementation(self):
        raise error

    return implementation


def giving(value):
    return lambda self: value


def declaring(**values):
    return type("Odd", (Acme,), {"info": ProviderInfo(**{"name": "acme"} | values)})()


# loading a provider


def test_provider_that_fits_declares_itself():
    assert read_provider_info(load(Acme())) is Acme.info


def test_declaration_is_read_once():
    asked = []

    def info(self):
        asked.append(1)
        return Acme.info

    provider = load(with_hook("pollux_provider_info", info))
    read_provider_info(provider)
    read_provider_info(provider)
    assert len(asked) == 1


@pytest.mark.parametrize("api", [(1, 1), (1, 99), (2, 0), (0, 9)])
def test_provider_of_a_newer_minor_or_another_major_version_is_refused(api):
    with pytest.raises(PluginLoadError, match=rf"speaks hook version {api[0]}\.{api[1]}, this core 1\.0") as caught:
        read_provider_info(load(declaring(api=api)))
    assert caught.value.hint == "upgrade the older of the two"


def test_provider_of_an_older_minor_version_is_accepted():
    older = (1, -1)  # 1.0 is the oldest there is
    assert read_provider_info(load(declaring(api=older))).api == older


@pytest.mark.parametrize("api", [None, 1, "1.0", ("1", "0"), (1,), [1, 0]])
def test_malformed_version_is_refused(api):
    with pytest.raises(PluginLoadError, match=r"'acme' of pollux-acme 1\.0 does not fit"):
        read_provider_info(load(declaring(api=api)))


def test_provider_of_another_name_than_its_entry_point_is_refused():
    with pytest.raises(PluginLoadError, match="declares the name 'zebra' under the entry point 'acme'"):
        read_provider_info(load(declaring(name="zebra")))


@pytest.mark.parametrize("wrong", [{"name": "acme"}, "acme"])
def test_declaration_of_the_wrong_type_is_refused(wrong):
    message = f"pollux_provider_info returned {type(wrong).__name__}, not a ProviderInfo"
    with pytest.raises(PluginLoadError, match=message):
        read_provider_info(load(with_hook("pollux_provider_info", giving(wrong))))


def test_provider_that_declares_nothing_is_refused():
    with pytest.raises(PluginLoadError, match="not a ProviderInfo"):
        read_provider_info(load(with_hook("pollux_provider_info", giving(None))))


@pytest.mark.parametrize("name", REQUIRED_HOOKS)
def test_provider_without_a_required_hook_is_refused_with_its_name(name):
    incomplete = type("Incomplete", (Acme,), {name: None})()
    message = rf"'acme' of pollux-acme 1\.0 does not fit: it does not implement {name}, which every provider needs"
    with pytest.raises(PluginLoadError, match=message) as caught:
        read_provider_info(load(incomplete))
    assert caught.value.hint.startswith(f"implement {name} and mark each with hookimpl")


def test_required_hooks_are_those_of_which_the_specifications_say_so():
    hooks = {name: spec for name, spec in vars(specs).items() if name.startswith("pollux_")}
    required = {name for name, spec in hooks.items() if "Required of every provider." in spec.__doc__}
    assert set(REQUIRED_HOOKS) == required


@pytest.mark.parametrize("name", ["pollux_encode", "pollux_rewrite_call"])
def test_hook_without_its_mark_is_refused_with_its_name(name):
    forgetful = type("Forgetful", (Acme,), {name: lambda self, call: call})()
    with pytest.raises(PluginLoadError, match=rf"{name} would never be called without the mark @hookimpl") as caught:
        read_provider_info(load(forgetful))
    assert caught.value.hint.startswith("mark it with hookimpl")


def test_other_names_need_no_mark():
    helpful = type("Helpful", (Acme,), {"pollux_helper": lambda self: None, "pollux_encode_all": 7})()
    assert read_provider_info(load(helpful)).name == "acme"


@pytest.mark.parametrize(
    ("fields", "message", "hint"),
    [
        ({"options": {"heat_temperature"}}, "its options name 'heat_temperature'", "did you mean 'temperature'?"),
        ({"conditions": {"weather": "sunny"}}, "its conditions name 'weather'", "use names of the fields of Options"),
    ],
)
def test_declaration_of_an_unknown_option_is_refused(fields, message, hint):
    info = ProviderInfo(name="acme", **fields)
    with pytest.raises(PluginLoadError, match=message) as caught:
        read_provider_info(load(with_hook("pollux_provider_info", giving(info))))
    assert caught.value.hint.startswith(hint)


def test_declaration_that_raises_is_refused_with_its_reason():
    with pytest.raises(PluginLoadError, match="pollux_provider_info raised OSError: no boat") as caught:
        read_provider_info(load(with_hook("pollux_provider_info", raising(OSError("no boat")))))
    assert isinstance(caught.value.__cause__, OSError)


def test_exception_of_a_declaration_is_raised_unchanged_when_strict(monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_STRICT_PLUGINS", "1")
    with pytest.raises(OSError, match="no boat"):
        read_provider_info(load(with_hook("pollux_provider_info", raising(OSError("no boat")))))


def test_declaration_that_raises_an_error_of_ours_is_left_alone():
    with pytest.raises(PluginLoadError, match=r"^needs more sea$"):
        read_provider_info(load(with_hook("pollux_provider_info", raising(PluginLoadError("needs more sea")))))


def test_misfit_carries_its_name_distribution_and_version():
    with pytest.raises(PluginLoadError) as caught:
        read_provider_info(load(object()))
    assert (caught.value.name, caught.value.distribution, caught.value.version) == ("acme", "pollux-acme", "1.0")


def test_hook_with_an_unknown_argument_is_refused_with_plugin_and_hook():
    with pytest.raises(PluginLoadError, match=r"'acme' of pollux-acme 1\.0 does not fit: .*pollux_encode.*question"):
        read_provider_info(load(with_hook("pollux_encode", lambda self, question: None)))


def test_hook_that_does_not_exist_is_refused_with_its_name():
    with pytest.raises(PluginLoadError, match="pollux_teleport") as caught:
        read_provider_info(load(with_hook("pollux_teleport", giving(None))))
    assert caught.value.hint == "it may need a newer pollux-sync"


def test_middleware_with_a_bad_hook_is_named_and_not_the_provider():
    class Log:
        @hookimpl
        def pollux_send(self, nonsense): ...

    with pytest.raises(PluginLoadError, match="plugin 'middleware 0' of object Log does not fit"):
        build_hooks(Acme(), Log())


def test_two_middleware_of_one_name_are_both_registered():
    counters = [Counter(), Counter()]
    manager = build_manager([load(Acme()), *(Loaded(counter, "Counter") for counter in counters)])
    Hooks(config=CONFIG, info=Acme.info, manager=manager).emit(CallStarted(CALL))
    assert [counter.seen for counter in counters] == [1, 1]


class Counter:
    """Counts events."""

    def __init__(self):
        self.seen = 0

    @hookimpl
    def pollux_event(self, event):
        self.seen += 1


# asking hooks


def test_every_hook_answers_with_its_type():
    hooks = build_hooks(Acme())
    request = hooks.encode(CALL)
    reply = hooks.decode(hooks.send(request, 60), CALL)
    assert (request.body, reply.text) == ({"question": "Who?"}, "Ahab")


def test_arguments_may_be_left_out_or_reordered():
    def decode(self, call, response):
        return Reply(text=f"{call.prompt} {response.body['answer']}")

    assert build_hooks(with_hook("pollux_decode", decode)).decode(RESPONSE, CALL).text == "Who? Ahab"


def test_attempt_gets_the_client_and_its_time_limit():
    def send(self, request, client, timeout_s):
        return HttpResponse(status=200, body=[request, client, timeout_s])

    provider = with_hook("pollux_send", send)
    assert build_hooks(provider).send(REQUEST, 7).body == [REQUEST, provider.clients[0], 7]


ASKED = [
    ("pollux_encode", lambda hooks: hooks.encode(CALL), "HttpRequest"),
    ("pollux_send", lambda hooks: hooks.send(REQUEST, 60), "HttpResponse"),
    ("pollux_decode", lambda hooks: hooks.decode(RESPONSE, CALL), "Reply"),
    ("pollux_upload", lambda hooks: hooks.upload(Source.from_text("x"), 60, name="x", lifetime_s=60), "Asset"),
    ("pollux_convert", lambda hooks: hooks.convert(Source.from_text("x")), "Source"),
    ("pollux_plan", lambda hooks: hooks.plan(PLAN), "Plan"),
    ("pollux_call", lambda hooks: hooks.call(CALL, lambda _: Reply(), STOP), "Reply"),
    ("pollux_rewrite_call", lambda hooks: hooks.rewrite_call(CALL), "Call"),
    ("pollux_classify_error", lambda hooks: hooks.classify(KeyError("x")), "Fault"),
]
every_answer = pytest.mark.parametrize(("hook", "ask", "wanted"), ASKED, ids=[hook for hook, *_ in ASKED])


@every_answer
def test_answer_of_the_wrong_type_is_refused_by_hook_and_type(hook, ask, wanted):
    message = f"{hook} of plugin acme.* must return a {wanted}, but it returned a dict"
    with pytest.raises(ProviderBugError, match=message) as caught:
        ask(build_hooks(with_hook(hook, giving({}))))
    assert caught.value.hook == hook


@every_answer
def test_answer_of_the_wrong_type_names_the_distribution(hook, ask, wanted):
    with pytest.raises(ProviderBugError) as caught:
        ask(build_hooks(with_hook(hook, giving({}))))
    assert caught.value.distribution == "pollux-acme"


@every_answer
def test_answer_of_the_wrong_type_has_a_hint(hook, ask, wanted):
    with pytest.raises(ProviderBugError) as caught:
        ask(build_hooks(with_hook(hook, giving({}))))
    assert caught.value.hint == "report this to the plugin's author"


@pytest.mark.parametrize(
    ("hook", "ask"), [(hook, ask) for hook, ask, _ in ASKED if hook in {"pollux_encode", "pollux_decode"}]
)
def test_required_hook_that_answers_none_is_refused(hook, ask):
    with pytest.raises(ProviderBugError, match=f"{hook} of plugin acme.* must return a .*, but no plugin answered"):
        ask(build_hooks(with_hook(hook, giving(None))))


def test_required_hook_that_is_missing_is_refused():
    with pytest.raises(
        ProviderBugError, match=r"pollux_upload of plugin acme.* must return a Asset, but no plugin answered"
    ):
        build_hooks(Acme()).upload(Source.from_text("x"), 60, name="x", lifetime_s=60)


class Tracer:
    """Wraps everything that it can."""

    @hookimpl(wrapper=True)
    def pollux_encode(self):
        return (yield)

    @hookimpl(wrapper=True)
    def pollux_decode(self):
        return (yield)


@pytest.mark.parametrize(
    ("hook", "ask"), [(hook, ask) for hook, ask, _ in ASKED if hook in {"pollux_encode", "pollux_decode"}]
)
def test_wrong_answer_is_not_blamed_on_the_middleware_around_it(hook, ask):
    with pytest.raises(ProviderBugError) as caught:
        ask(build_hooks(with_hook(hook, giving({})), Tracer()))
    assert caught.value.distribution == "pollux-acme"


@pytest.mark.parametrize(
    ("hook", "ask"), [(hook, ask) for hook, ask, _ in ASKED if hook in {"pollux_plan", "pollux_rewrite_call"}]
)
def test_wrapper_that_forgets_to_return_is_blamed_on_its_middleware(hook, ask):
    def forgetful(self):
        yield

    middleware = type("Forgetful", (), {hook: hookimpl(forgetful, wrapper=True)})()
    with pytest.raises(ProviderBugError) as caught:
        ask(build_hooks(Acme(), middleware))
    assert "Forgetful" in (caught.value.distribution or caught.value.message)


ISOLATED = [entry for entry in ASKED if entry[0] not in {"pollux_send", "pollux_decode", "pollux_upload"}]
every_isolated = pytest.mark.parametrize(("hook", "ask", "wanted"), ISOLATED, ids=[hook for hook, *_ in ISOLATED])


@every_isolated
def test_foreign_exception_becomes_a_bug_of_that_plugin_and_hook(hook, ask, wanted):
    with pytest.raises(ProviderBugError, match=rf"{hook} of plugin .*pollux-acme.* raised OSError: no boat") as caught:
        ask(build_hooks(with_hook(hook, raising(OSError("no boat")))))
    assert caught.value.hook == hook


@every_isolated
def test_foreign_exception_is_chained(hook, ask, wanted):
    cause = OSError("no boat")
    with pytest.raises(ProviderBugError) as caught:
        ask(build_hooks(with_hook(hook, raising(cause))))
    assert caught.value.__cause__ is cause


@every_isolated
def test_foreign_exception_is_raised_unchanged_when_strict(hook, ask, wanted, monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_STRICT_PLUGINS", "1")
    with pytest.raises(OSError, match="no boat"):
        ask(build_hooks(with_hook(hook, raising(OSError("no boat")))))


@pytest.mark.parametrize(("hook", "ask"), [(hook, ask) for hook, ask, _ in ASKED if hook != "pollux_classify_error"])
def test_error_of_our_tree_passes_unchanged(hook, ask):
    error = APIError("the provider said no", status_code=400)
    with pytest.raises(APIError) as caught:
        ask(build_hooks(with_hook(hook, raising(error))))
    assert caught.value is error


@pytest.mark.parametrize(
    ("hook", "ask"),
    [(hook, ask) for hook, ask, _ in ASKED if hook in {"pollux_send", "pollux_decode", "pollux_upload"}],
)
def test_what_the_wire_raises_passes_for_the_classifier(hook, ask):
    error = ConnectionResetError("wave")
    with pytest.raises(ConnectionResetError) as caught:
        ask(build_hooks(with_hook(hook, raising(error))))
    assert caught.value is error


def test_bug_in_middleware_names_the_middleware():
    class Broken:
        @hookimpl(wrapper=True)
        def pollux_encode(self):
            yield
            raise OSError("no boat")

    with pytest.raises(ProviderBugError, match=r"pollux_encode of plugin .*object Broken.* raised OSError: no boat"):
        build_hooks(Acme(), Broken()).encode(CALL)


# problems


def test_problems_of_all_plugins_are_gathered():
    class Policy:
        @hookimpl
        def pollux_validate(self, call):
            return Problem(f"no questions like {call.prompt}")

    class Content:
        @hookimpl
        def pollux_validate(self):
            return None

    provider = with_hook("pollux_validate", giving(Problem("too short")))
    problems = build_hooks(provider, Policy(), Content()).validate(CALL)
    assert sorted(problem.message for problem in problems) == ["no questions like Who?", "too short"]


def test_no_validator_finds_no_problem():
    assert build_hooks(Acme()).validate(CALL) == []


def test_problem_of_the_wrong_type_is_refused_by_its_hook():
    with pytest.raises(ProviderBugError, match="pollux_validate"):
        build_hooks(with_hook("pollux_validate", giving("too short"))).validate(CALL)


# classifying


def test_provider_classifies_before_the_core():
    fault = Fault(kind="capacity", message="whale in the way", retryable=True)
    assert build_hooks(with_hook("pollux_classify_error", giving(fault))).classify(KeyError("x")) == fault


def test_core_classifies_errors_that_the_provider_does_not():
    hooks = build_hooks(with_hook("pollux_classify_error", giving(None)))
    assert hooks.classify(ConnectionResetError("wave")).kind == "connection"


def test_unknown_exception_is_a_bug_of_its_hook():
    def decode(self, response):
        return response.body["no such key"]

    hooks = build_hooks(with_hook("pollux_decode", decode))
    with pytest.raises(KeyError) as raised:
        hooks.decode(RESPONSE, CALL)
    with pytest.raises(ProviderBugError, match=r"pollux_decode of plugin .*pollux-acme.* KeyError") as caught:
        hooks.classify(raised.value)
    assert caught.value.__cause__ is raised.value


def test_unknown_exception_without_a_traceback_is_a_bug():
    with pytest.raises(ProviderBugError, match="acme"):
        build_hooks(Acme()).classify(KeyError("x"))


def test_auth_fault_has_a_hint_with_the_key_variables():
    fault = Fault(kind="auth", message="who are you?", status_code=401)
    hint = build_hooks(with_hook("pollux_classify_error", giving(fault))).classify(KeyError("x")).hint
    assert hint == "check api_key or ACME_API_KEY"


def test_auth_fault_keeps_a_hint_of_its_own():
    fault = Fault(kind="auth", message="who are you?", hint="renew your key")
    assert (
        build_hooks(with_hook("pollux_classify_error", giving(fault))).classify(KeyError("x")).hint == "renew your key"
    )


# observers


class Failing:
    """Fails at every event."""

    @hookimpl
    def pollux_event(self, event):
        raise OSError(f"no boat for {SECRET}")


def test_observers_receive_an_event():
    counter = Counter()
    build_hooks(Acme(), counter).emit(CallStarted(CALL))
    assert counter.seen == 1


def test_failing_observer_stops_no_other():
    counters = [Counter(), Counter()]
    build_hooks(Acme(), counters[0], Failing(), counters[1]).emit(CallStarted(CALL))
    assert [counter.seen for counter in counters] == [1, 1]


def test_failing_observer_is_logged_by_name_without_the_key(caplog):
    with caplog.at_level(logging.WARNING, "pollux_sync"):
        build_hooks(Acme(), Failing()).emit(CallStarted(CALL))
    assert re.search(r"observer .*Failing.* failed: OSError: no boat for \[REDACTED\]", caplog.text)


def test_observer_may_leave_the_event_out():
    told = []

    class Bell:
        @hookimpl
        def pollux_event(self):
            told.append("ding")

    build_hooks(Acme(), Bell()).emit(CallStarted(CALL))
    assert told == ["ding"]


def test_has_observers_only_with_a_plugin_that_observes():
    assert [build_hooks(Acme(), *plugins).has_observers for plugins in ([], [Counter()])] == [False, True]


# middleware


class Marking:
    """Writes a letter behind the prompt, and into the trace of what happens around the call."""

    def __init__(self, letter, trace=None):
        self.letter = letter
        self.trace = [] if trace is None else trace

    @hookimpl(wrapper=True)
    def pollux_rewrite_call(self):
        call = yield
        return attrs.evolve(call, prompt=call.prompt + self.letter)

    @hookimpl(wrapper=True)
    def pollux_plan(self):
        plan = yield
        return attrs.evolve(
            plan, calls=tuple(attrs.evolve(call, prompt=call.prompt + self.letter) for call in plan.calls)
        )

    @hookimpl(wrapper=True)
    def pollux_call(self):
        self.trace.append(f"{self.letter} in")
        reply = yield
        self.trace.append(f"{self.letter} out")
        return reply


def test_calls_are_rewritten_from_the_inner_to_the_outer_middleware():
    assert build_hooks(Acme(), Marking("a"), Marking("b")).rewrite_call(CALL).prompt == "Who?ab"


def test_plans_are_folded_from_the_inner_to_the_outer_middleware():
    assert build_hooks(Acme(), Marking("a"), Marking("b")).plan(PLAN).calls[0].prompt == "Who?ab"


def test_last_middleware_is_the_outermost_around_a_call():
    trace = []
    build_hooks(Acme(), Marking("a", trace), Marking("b", trace)).call(CALL, lambda _: Reply(), STOP)
    assert trace == ["b in", "a in", "a out", "b out"]


def test_call_stays_unchanged_without_middleware():
    assert build_hooks(Acme()).rewrite_call(CALL) is CALL


def test_plan_stays_unchanged_without_middleware():
    assert build_hooks(Acme()).plan(PLAN) is PLAN


def test_call_proceeds_without_middleware():
    assert build_hooks(Acme()).call(CALL, lambda call: Reply(text=f"to {call.prompt}"), STOP).text == "to Who?"


class Cache:
    """Answers by itself."""

    @hookimpl(tryfirst=True)
    def pollux_call(self, call):
        return Reply(text="from the cache")


def test_cached_reply_is_served_without_proceeding():
    def proceed(call):
        raise AssertionError("asked the provider")

    assert build_hooks(Acme(), Cache()).call(CALL, proceed, STOP).text == "from the cache"


def test_wrapper_sees_the_cached_reply_pass():
    trace = []
    build_hooks(Acme(), Cache(), Marking("a", trace)).call(CALL, lambda _: Reply(), STOP)
    assert trace == ["a in", "a out"]


def test_middleware_may_proceed_more_than_once():
    class Twice:
        @hookimpl(tryfirst=True)
        def pollux_call(self, call, proceed):
            return Reply(text=proceed(call).text + proceed(attrs.evolve(call, prompt="Why?")).text)

    assert build_hooks(Acme(), Twice()).call(CALL, lambda call: Reply(text=call.prompt), STOP).text == "Who?Why?"


class Adding:
    """Goes on with the middleware inside, and adds its mark to the prompt and to the answer."""

    def __init__(self, mark):
        self.mark = mark

    @hookimpl
    def pollux_call(self, call, proceed):
        reply = proceed(attrs.evolve(call, prompt=call.prompt + self.mark))
        return attrs.evolve(reply, text=reply.text + self.mark)

    @hookimpl
    def pollux_call_stream(self, call, proceed):
        yield from proceed(attrs.evolve(call, prompt=call.prompt + self.mark))
        yield TextDelta(self.mark)

    @hookimpl
    def pollux_call_deferred(self, call, proceed, job):
        reply = proceed(call)
        return attrs.evolve(reply, text=f"{reply.text}{self.mark} of {job.job_id}")


def test_middleware_proceeds_to_the_middleware_inside_of_it():
    hooks = build_hooks(Acme(), Adding("a"), Marking("b", []), Adding("c"))
    assert hooks.call(CALL, lambda call: Reply(text=f"({call.prompt})"), STOP).text == "(Who?ca)ac"


def test_stream_passes_through_all_middleware():
    hooks = build_hooks(Acme(), Adding("a"), Adding("b"))
    items = hooks.call_stream(CALL, lambda call: iter([TextDelta(call.prompt)]), STOP)
    assert [item.text for item in items] == ["Who?ba", "a", "b"]


def test_row_of_a_job_passes_through_all_middleware():
    hooks = build_hooks(Acme(), Adding("a"), Adding("b"))
    reply = hooks.call_deferred(CALL, lambda _: Reply(text="Ahab"), DeferredJob(job_id="j", first=0, request_count=1))
    assert reply.text == "Ahaba of jb of j"


def test_middleware_gets_the_hooks_of_the_configuration_and_the_stop():
    seen = []

    class Looking:
        @hookimpl
        def pollux_call(self, call, hooks, stop):
            seen.extend([hooks, stop])

    hooks = build_hooks(Acme(), Looking())
    hooks.call(CALL, lambda _: Reply(), STOP)
    assert seen == [hooks, STOP]


def test_middleware_that_raises_in_the_middle_of_a_stream_is_named():
    class Odd:
        @hookimpl
        def pollux_call_stream(self, call, proceed):
            yield TextDelta("a")
            raise KeyError("x")

    items = build_hooks(Acme(), Odd(), Adding("b")).call_stream(CALL, iter, STOP)
    assert next(items).text == "a"
    with pytest.raises(ProviderBugError, match=r"pollux_call_stream of plugin middleware 0 .* raised KeyError"):
        next(items)


def test_middleware_with_a_wrong_answer_is_named_among_others():
    class Odd:
        @hookimpl
        def pollux_call(self, call):
            return "Ahab"

    with pytest.raises(ProviderBugError, match=r"plugin middleware 1 .*must return a Reply, but it returned a str"):
        build_hooks(Acme(), Marking("a", []), Odd(), Marking("b", [])).call(CALL, lambda _: Reply(), STOP)


def test_tracing_wrapper_sees_the_error_of_the_call():
    seen = []

    class Trace:
        @hookimpl(wrapper=True)
        def pollux_call(self):
            try:
                return (yield)
            except APIError as error:
                seen.append(error)
                raise

    error = APIError("down")

    def proceed(call):
        raise error

    with pytest.raises(APIError):
        build_hooks(Acme(), Trace()).call(CALL, proceed, STOP)
    assert seen == [error]


def test_wrapper_may_turn_an_error_into_a_reply():
    class Restore:
        @hookimpl(wrapper=True)
        def pollux_call(self):
            try:
                return (yield)
            except APIError:
                return Reply(text="restored")

    def proceed(call):
        raise APIError("down")

    assert build_hooks(Acme(), Restore()).call(CALL, proceed, STOP).text == "restored"


def test_wrapper_around_an_attempt_sees_request_and_response():
    seen = []

    class WireLog:
        @hookimpl(wrapper=True)
        def pollux_send(self, request):
            response = yield
            seen.append((request, response))
            return response

    build_hooks(Acme(), WireLog()).send(REQUEST, 60)
    assert seen == [(REQUEST, RESPONSE)]


# the client


def test_client_is_not_opened_before_it_is_needed():
    provider = Acme()
    build_hooks(provider).encode(CALL)
    assert provider.clients == []


def test_client_is_the_same_at_every_use():
    hooks = build_hooks(Acme())
    assert hooks.client is hooks.client


def test_client_is_opened_once_however_many_threads_want_it():
    asking = threading.Semaphore(0)
    opened = []

    def open_slowly(self):
        opened.append(Client())
        assert all(asking.acquire(timeout=10) for _ in range(8))
        return opened[-1]

    hooks = build_hooks(with_hook("pollux_open", open_slowly))

    def client(_):
        asking.release()
        return hooks.client

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(client, range(8)))
    assert found == opened * 8


def test_client_is_closed():
    provider = Acme()
    hooks = build_hooks(provider)
    _ = hooks.client
    hooks.close()
    assert provider.clients[0].closed == 1


def test_client_is_closed_once():
    provider = Acme()
    hooks = build_hooks(provider)
    _ = hooks.client
    hooks.close()
    hooks.close()
    assert provider.clients[0].closed == 1


def test_client_that_was_never_opened_is_not_opened_to_be_closed():
    provider = Acme()
    build_hooks(provider).close()
    assert provider.clients == []


def test_client_is_opened_anew_after_it_was_closed():
    provider = Acme()
    hooks = build_hooks(provider)
    _ = hooks.client
    hooks.close()
    assert hooks.client is provider.clients[1]


def test_client_that_needs_no_closing_is_left_alone():
    hooks = build_hooks(with_hook("pollux_open", giving("no close method")))
    _ = hooks.client
    hooks.close()


def test_failure_to_close_is_only_logged_and_without_the_key(caplog):
    hooks = build_hooks(with_hook("pollux_close", raising(OSError(f"stuck with {SECRET}"))))
    _ = hooks.client
    with caplog.at_level(logging.WARNING, "pollux_sync"):
        hooks.close()
    assert "closing the client of acme failed: stuck with [REDACTED]" in caplog.text


def test_failure_to_open_is_a_bug_that_names_the_plugin():
    with pytest.raises(ProviderBugError, match=r"pollux_open of plugin .*pollux-acme.* raised OSError: no boat"):
        _ = build_hooks(with_hook("pollux_open", raising(OSError("no boat")))).client


def test_stored_file_is_deleted_with_the_client_that_stored_it():
    deleted = []

    def delete(self, asset, client, timeout_s):
        deleted.append((asset, client, timeout_s))
        return True

    provider = with_hook("pollux_delete_upload", delete)
    build_hooks(provider).delete_upload(ASSET, 30)
    assert deleted == [(ASSET, provider.clients[0], 30)]


# the key


def test_key_is_scrubbed_from_a_text():
    assert build_hooks(Acme()).scrub(f"Bearer {SECRET}!") == "Bearer [REDACTED]!"


def test_secrets_of_calls_are_scrubbed_from_a_text():
    hooks = build_hooks(Acme())
    hooks.hide(["tok-of-a-call"])
    hooks.hide(["tok-of-a-call", "tok-of-another"])
    assert hooks.scrub(f"tok-of-a-call tok-of-another {SECRET}") == "[REDACTED] [REDACTED] [REDACTED]"


def test_secrets_of_calls_of_long_ago_are_forgotten():
    hooks = build_hooks(Acme())
    for number in range(1001):
        hooks.hide([f"tok-of-call-{number:04}"])
    assert hooks.scrub("tok-of-call-0000 tok-of-call-0001") == "tok-of-call-0000 [REDACTED]"


def test_text_stays_unchanged_without_a_key():
    config = ConfigValues(provider="acme", model="m")
    assert build_hooks(Acme(), config=config).scrub("Bearer nobody") == "Bearer nobody"


def test_key_is_scrubbed_from_the_report_of_a_bug():
    with pytest.raises(ProviderBugError) as caught:
        build_hooks(with_hook("pollux_encode", raising(OSError(f"bad {SECRET}")))).encode(CALL)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("field", ["message", "hint"])
def test_key_is_scrubbed_from_a_fault(field):
    fault = attrs.evolve(Fault(kind="auth", message="no", hint="no"), **{field: f"bad key {SECRET}"})
    presented = build_hooks(with_hook("pollux_classify_error", giving(fault))).classify(KeyError("x"))
    assert getattr(presented, field) == "bad key [REDACTED]"


@pytest.mark.parametrize("kept", range(1, len(SECRET)))
def test_key_across_the_cut_of_a_long_message_does_not_leak_its_beginning(kept):
    fault = Fault(kind="unknown", message="-" * (500 - kept) + SECRET + "-" * 100)
    presented = build_hooks(with_hook("pollux_classify_error", giving(fault))).classify(KeyError("x"))
    shown = presented.message.strip("-.")
    assert shown
    assert "[REDACTED]".startswith(shown)
