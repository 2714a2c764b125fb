"""What a call would send, as data: for looking at before money is spent. No key is in it."""

from __future__ import annotations

import shlex
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.provider import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_sync.data.envelope import CacheMode
    from pollux_sync.data.provider import Delivery
    from pollux_sync.data.source import SourceType

#: How many uploads a printed explanation names.
_MAX_UPLOAD_LINES = 10
_DELIVERY_PHRASES = {"text": "as text", "inline": "inside the requests", "upload": "uploaded", "uri": "as an address"}


@attrs.frozen(kw_only=True)
class ExplainedRequest(HttpRequest):
    """One request as it would be sent; ``content`` is its body to the byte.

    ``url`` is None where it is not known before the client is open: with a client of the caller's, a model inside this
    process, or the mock. ``headers`` lack the key and what every HTTP client adds of its own. ``key_header`` is the
    header with the key, for which the name of an environment variable stands. ``estimated_input_tokens`` is a rough
    guess, the characters of all texts divided by 4; None where files, addresses or a cache hold more.
    ``counted_input_tokens`` is what the provider counted, None where it was not asked or does not know. Prices are in
    US dollars: the lowest is that of the input alone, the highest that of an answer of ``max_tokens`` too, both as if
    nothing were cached; None where tokens or limit are not known, or no plugin knows the price.
    """

    url: str | None
    key_header: str | None
    estimated_input_tokens: int | None
    counted_input_tokens: int | None = None
    lowest_price: Decimal | None = None
    highest_price: Decimal | None = None

    @property
    def curl(self) -> str | None:
        """The request as a command for a POSIX shell, which puts the variable's value in place of its name.

        The body is its input, since the words of a command may not be long; curl takes the line break off its end.
        """
        if self.url is None:
            return None
        words = ["curl", "-X", self.method, self.url]
        words += [word for name, value in self.headers.items() for word in ("-H", f"{name}: {value}")]
        command = shlex.join(words)
        if self.key_header is not None:
            command += f" -H {_quote_expanding(self.key_header)}"
        content = self.content
        return command if content is None else f"{command} --data @- <<'JSON'\n{content.decode()}\nJSON"


def _quote_expanding(text: str) -> str:
    """``text`` as one word of a shell that expands the variables in it."""
    for special in '\\"`':
        text = text.replace(special, f"\\{special}")
    return f'"{text}"'


@attrs.frozen(kw_only=True)
class ExplainedSource:
    """How a source would reach the provider; ``upload`` is the id of what it becomes where it is uploaded."""

    identifier: str
    source_type: SourceType
    mime_type: str
    size_bytes: int
    delivery: Delivery
    upload: str | None = None


@attrs.frozen(kw_only=True)
class ExplainedUpload:
    """A content that would be uploaded, once. ``id`` stands in the requests for the one that the provider would give.

    ``sha256`` is that of the content, in hex.
    """

    id: str
    identifier: str
    mime_type: str
    size_bytes: int
    sha256: str


@attrs.frozen(kw_only=True)
class Explanation:
    """What `run_many` would send: ``print`` it for an overview.

    ``cache_mode`` is as in the envelope's metrics, ``cache`` the name of the cache that is used. ``response_schema`` is
    the one that the provider gets, ``findings`` say what of yours it cannot express.
    """

    provider: str
    model: str
    requests: tuple[ExplainedRequest, ...]
    sources: tuple[ExplainedSource, ...]
    uploads: tuple[ExplainedUpload, ...]
    cache_mode: CacheMode
    cache: str | None
    response_schema: dict[str, Any] | None
    findings: tuple[str, ...]

    @property
    def lowest_price(self) -> Decimal | None:
        """What all the input costs, in US dollars; None where that of one request is not known."""
        price: Decimal | None = _sum_known([request.lowest_price for request in self.requests])
        return price

    @property
    def highest_price(self) -> Decimal | None:
        """What it costs if every answer is ``max_tokens`` long; attempts after the first come on top."""
        price: Decimal | None = _sum_known([request.highest_price for request in self.requests])
        return price

    def __str__(self) -> str:
        return "\n".join(self._iter_lines())

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON-ready data, each request with its curl command; prices are texts."""
        data = attrs.asdict(self, value_serializer=lambda _, __, value: _convert_jsonable(value))
        for item, request in zip(data["requests"], self.requests, strict=True):
            item["curl"] = request.curl
        return data | {name: _convert_jsonable(getattr(self, name)) for name in ("lowest_price", "highest_price")}

    def _iter_lines(self) -> Iterator[str]:
        yield f"{_describe_count(len(self.requests), 'request')} to {self.provider}, model {self.model}: not sent"
        for target in dict.fromkeys(_describe_target(request) for request in self.requests):
            sizes = [len(request.content or b"") for request in self.requests if _describe_target(request) == target]
            yield f"  {target}: {_describe_range(sizes)} bytes"
        yield f"  input tokens: {self._describe_tokens()}"
        if self.lowest_price is not None:
            yield f"  price: {self._describe_price(self.lowest_price)}"
        kinds = Counter(_DELIVERY_PHRASES[source.delivery] for source in self.sources)
        if kinds:
            yield f"sources: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}"
        yield from self._iter_upload_lines()
        yield f"caching: {self.cache_mode}{f', {self.cache}' if self.cache else ''}"
        if self.response_schema is not None:
            yield f"schema: {_describe_count(len(self.findings), 'finding')}"
            yield from (f"  {finding}" for finding in self.findings)

    def _describe_tokens(self) -> str:
        counts = [r.counted_input_tokens for r in self.requests if r.counted_input_tokens is not None]
        if counts:
            some = "" if len(counts) == len(self.requests) else f" in {len(counts)} of {len(self.requests)} requests"
            return f"{sum(counts)}{some}, counted by the provider"
        estimate = _sum_known([request.estimated_input_tokens for request in self.requests])
        return "not known" if estimate is None else f"about {estimate}, estimated by characters / 4"

    def _describe_price(self, lowest: Decimal) -> str:
        about = "about " if any(request.counted_input_tokens is None for request in self.requests) else ""
        if self.highest_price is None:
            return f"{about}{_format_price(lowest)} US dollars, without the answers"
        return f"{about}{_format_price(lowest)} to {_format_price(self.highest_price)} US dollars"

    def _iter_upload_lines(self) -> Iterator[str]:
        for upload in self.uploads[:_MAX_UPLOAD_LINES]:
            yield f"  {upload.id}: {upload.identifier}, {upload.mime_type}, {upload.size_bytes} bytes"
        if len(self.uploads) > _MAX_UPLOAD_LINES:
            yield f"  and {_describe_count(len(self.uploads) - _MAX_UPLOAD_LINES, 'upload')} more"


def _sum_known(values: Sequence[Any]) -> Any:
    """The sum; None where one is not known, or there is none."""
    return sum(values) if values and None not in values else None


def _format_price(price: Decimal) -> str:
    return f"{price.normalize():f}"


def _convert_jsonable(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Decimal) else value


def _describe_target(request: ExplainedRequest) -> str:
    return f"{request.method} {request.url or request.path}"


def _describe_range(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return str(low) if low == high else f"{low} to {high}"


def _describe_count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
