"""Recorded answers of a real service, which are replayed without a network.

A `Recorder` and a `Replayer` are middleware around one `Recording`. What they keep of a request is its method, path and
body, never a header: keys and cookies travel in these. Known secrets are scrubbed from all texts.
"""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from pollux_sync.data.config import redact_secret
from pollux_sync.data.differences import find_differences
from pollux_sync.data.headers import iter_secrets
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.retry import RetryPolicy
from pollux_sync.data.streaming import EventStream, ServerEvent, StreamedResponse
from pollux_sync.data.texts import map_texts
from pollux_sync.errors import ConfigurationError
from pollux_sync.hooks.config import Config
from pollux_sync.hooks.specs import hookimpl
from pollux_sync.wire.faults import HttpError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from pollux_sync.data.bodies import Payload
    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.request import Plan

_FORMAT = 1
#: The headers of answers that are kept: those that decoders and the retry loop read. Others may name an account, or be
#: cookies.
_KEPT_HEADERS = ("content-type", "retry-after", "retry-after-ms", "x-request-id", "request-id")
#: Longer texts, such as files in base64, are kept as their hash.
_MAX_TEXT_CHARS = 20_000
#: Stands for the key where none is needed. Unlike any word, since it is scrubbed from what is compared.
_NO_KEY = "no-key-is-needed-for-a-replay"
_MAX_DIFFERENCES = 5
_AGAIN = "delete the file, and record it again: pytest --pollux-record"


@attrs.define
class Exchange:
    """One recorded request and its answer, as JSON."""

    request: dict[str, Any]
    response: dict[str, Any]
    is_used: bool = False


class Recording:
    """The exchanges of one file. Threads may share it."""

    def __init__(self, path: Path, exchanges: Iterable[Exchange] = ()) -> None:
        self.path = path
        self._exchanges = list(exchanges)
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a recording. Raises ConfigurationError for any other file."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            form, exchanges = (
                kept["format"],
                [Exchange(each["request"], each["response"]) for each in kept["exchanges"]],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path} is not a recording: {error!r}", hint=_AGAIN) from error
        if form != _FORMAT:
            raise ConfigurationError(f"{path} is a recording of another format: {form!r}", hint=_AGAIN)
        return cls(path, exchanges)

    def save(self) -> None:
        """Write the recording to its file, if there is anything in it."""
        if not self._exchanges:
            return
        kept = [{"request": each.request, "response": each.response} for each in self._exchanges]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": _FORMAT, "exchanges": kept}, indent=2, ensure_ascii=False)
        # Half a character, which a stream may cut off, is written as the escape of JSON that it came as.
        self.path.write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")

    def add(self, request: dict[str, Any], response: dict[str, Any]) -> None:
        """Add one exchange."""
        with self._lock:
            self._exchanges.append(Exchange(request, response))

    def take(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the next answer to a request, each once. Raises ConfigurationError after the last."""
        with self._lock:
            for exchange in self._exchanges:
                if exchange.request == request and not exchange.is_used:
                    exchange.is_used = True
                    return exchange.response
        raise ConfigurationError(self._describe_miss(request), hint=_AGAIN)

    def _describe_miss(self, request: dict[str, Any]) -> str:
        """Return what is new about a request, compared with the recorded one that differs in the fewest places."""
        title = f"{self.path.name} has no answer to {request['method']} {request['path']}"
        differences = [list(find_differences(each.request, request)) for each in self._exchanges]
        if not differences:
            return f"{title}: it is empty"
        number, nearest = min(enumerate(differences, 1), key=lambda item: len(item[1]))
        if not nearest:
            return f"{title}: the same request was recorded {differences.count([])} times, and is sent once more"
        lines = [f"  {path}: recorded {old}, now {new}" for path, old, new in nearest[:_MAX_DIFFERENCES]]
        more = [f"  and {len(nearest) - _MAX_DIFFERENCES} more"] if len(nearest) > _MAX_DIFFERENCES else []
        return "\n".join([f"{title}; request {number} of {len(differences)} differs least:", *lines, *more])


class _Player:
    """Middleware around a recording, which knows the secrets that this must not hold."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._secrets: frozenset[str] = frozenset()

    def build_config(self, **fields: Any) -> Config:
        """Return a Config with this middleware innermost."""
        return Config(**{**fields, "plugins": [self, *fields.get("plugins", ())]})

    @hookimpl(wrapper=True)
    def pollux_plan(self, plan: Plan) -> Generator[None, Plan, Plan]:
        """Note the secrets of a plan, which a service may repeat."""
        self._learn(*plan.request.config.secrets, *plan.request.options.secrets)
        return (yield)

    def _describe(self, request: HttpRequest) -> dict[str, Any]:
        """Return what is kept of a request, and compared."""
        self._learn(*iter_secrets(request.extra_headers))
        payload = {"payload": _describe_payload(request.payload)} if request.payload else {}
        described = {"method": request.method, "path": request.path, "body": request.body, **payload}
        # Through JSON, so that it equals what is read from a file.
        return map_texts(json.loads(json.dumps(described)), lambda text: _shorten(self._scrub(text)))  # type: ignore[no-any-return]

    def _learn(self, *secrets: str) -> None:
        # A new set: other threads go through the old one.
        self._secrets = self._secrets.union(secrets)

    def _scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = redact_secret(text, secret)
        return text


class Recorder(_Player):
    """Middleware that keeps what a real service answers.

    Kept are complete answers and refusals; not connections that broke, uploads, caches and deferred jobs.
    """

    @hookimpl(wrapper=True)
    def pollux_send(self, request: HttpRequest) -> Generator[None, HttpResponse, HttpResponse]:
        """Keep the answer of one attempt."""
        with _KeepingRefusals(self, request):
            response = yield
        self.keep(request, response)
        return response

    @hookimpl(wrapper=True)
    def pollux_stream(self, request: HttpRequest) -> Generator[None, EventStream, EventStream]:
        """Keep the events of one attempt, once they have been read to the end."""
        with _KeepingRefusals(self, request):
            stream = yield
        return _RecordedStream(stream, lambda response: self.keep(request, response))

    def keep(self, request: HttpRequest, response: HttpResponse) -> None:
        """Add one exchange to the recording, without secrets."""
        described = self._describe(request)
        events = {}
        if isinstance(response, StreamedResponse):
            events = {"events": [[name, data] for name, data in response.events], "is_done": response.is_done}
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        kept = {"status": response.status, "headers": headers, "body": response.body, **events}
        self.recording.add(described, map_texts(kept, self._scrub))


class Replayer(_Player):
    """Middleware that answers from a recording and never opens a connection. Each answer is used once."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording)
        #: The errors of requests without an answer.
        self.misses: list[ConfigurationError] = []

    def build_config(self, **fields: Any) -> Config:
        """Return a Config with this middleware innermost, which needs no key and retries without delays."""
        usual = {"api_key": _NO_KEY, "retry": RetryPolicy(initial_delay_s=0, jitter=False)}
        return super().build_config(**{**usual, **fields})

    # tryfirst: before the hooks of the provider, so that nothing is opened and nothing is sent.
    @hookimpl(tryfirst=True)
    def pollux_open(self) -> object:
        """Open a client that refuses whatever is not replayed."""
        return _NoClient(self.recording.path.name)

    @hookimpl(tryfirst=True)
    def pollux_close(self) -> bool:
        """Do nothing, since nothing is open."""
        return True

    @hookimpl(tryfirst=True)
    def pollux_connect(self) -> bool:
        """Do nothing, since nothing is sent."""
        return True

    @hookimpl(tryfirst=True)
    def pollux_send(self, request: HttpRequest) -> HttpResponse:
        """Return the recorded answer."""
        response = self._take(request)
        return StreamedResponse(**response) if "events" in response else HttpResponse(**response)

    @hookimpl(tryfirst=True)
    def pollux_stream(self, request: HttpRequest) -> EventStream:
        """Return the recorded events."""
        response = self._take(request)
        events, is_done = response.pop("events", ()), response.pop("is_done", True)
        stream = EventStream(HttpResponse(**response), events)
        stream.is_done = is_done
        return stream

    def _take(self, request: HttpRequest) -> dict[str, Any]:
        """Return the fields of the recorded answer. Raises HttpError for a refusal, ConfigurationError for a miss."""
        try:
            fields = dict(self.recording.take(self._describe(request)))
        except ConfigurationError as error:
            self.misses.append(error)
            raise
        if fields["status"] >= 300:  # noqa: PLR2004 - as every client of ours decides
            raise HttpError(HttpResponse(**fields))
        if "events" in fields:
            fields["events"] = tuple(ServerEvent(name, data) for name, data in fields["events"])
        return fields


class _KeepingRefusals:
    """A block in which an answer that is raised, for its status, is kept too."""

    def __init__(self, recorder: Recorder, request: HttpRequest) -> None:
        self._recorder = recorder
        self._request = request

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Keep the answer that ends the block."""
        if isinstance(error, HttpError):
            self._recorder.keep(self._request, error.response)


class _RecordedStream(EventStream):
    """A stream that passes on the events of another, and keeps them once the answer is complete."""

    def __init__(self, inner: EventStream, keep: Callable[[HttpResponse], None]) -> None:
        super().__init__(inner.response)
        self._inner = inner
        self._keep = keep
        self._read: list[ServerEvent] = []

    def __iter__(self) -> Iterator[ServerEvent]:
        for event in self._inner:
            self._read.append(event)
            yield event
        self.is_done = self._inner.is_done

    def read_whole(self) -> HttpResponse | None:
        """Return the answer of a server that did not stream, and keep it."""
        whole = self._inner.read_whole()
        if whole is not None:
            self._keep(whole)
        return whole

    def limit(self, limit_s: float) -> None:
        """Limit the time of the inner stream."""
        self._inner.limit(limit_s)

    def hurry(self) -> None:
        """Limit the wait of the inner stream."""
        self._inner.hurry()

    def finish(self) -> None:
        """End the inner stream, and keep its events."""
        self._inner.finish()
        if self._read:
            response = self.response
            # The decoder may have left at its own end mark, before that of the stream.
            self._keep(
                StreamedResponse(
                    status=response.status, headers=response.headers, events=tuple(self._read), is_done=self.is_done
                )
            )

    def close(self) -> None:
        """Break the inner stream off; half an answer is not kept."""
        self._inner.close()

    def wake(self) -> None:
        """Wake the reader of the inner stream."""
        self._inner.wake()


class _NoClient:
    """The client of a replay: whatever a provider wants from it, besides calls, is refused."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, wanted: str) -> NoReturn:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        raise ConfigurationError(
            f"{self._name} replays answers to calls; it holds no uploads, caches, deferred jobs or lists of models",
            hint="script these with the mock: Config(use_mock=True)",
        )


def _describe_payload(payload: Payload) -> dict[str, Any]:
    digest = hashlib.sha256()
    for chunk in payload.iter_chunks():
        digest.update(chunk)
    return {"content_type": payload.content_type.partition(";")[0], "sha256": digest.hexdigest()}


def _shorten(text: str) -> str:
    if len(text) <= _MAX_TEXT_CHARS:
        return text
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
