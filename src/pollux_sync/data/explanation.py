"""The explanation of a call: what would be sent, as data, before any money is spent. It never holds the key."""

from __future__ import annotations

import shlex
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync._values import Value
from pollux_sync.data.provider import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_sync.data.envelope import CacheMode
    from pollux_sync.data.provider import Delivery
    from pollux_sync.data.source import SourceType

#: The number of uploads that a printed explanation lists.
_MAX_UPLOAD_LINES = 10
_DELIVERY_PHRASES: dict[Delivery, str] = {
    "text": "as text",
    "inline": "inside the requests",
    "upload": "uploaded",
    "uri": "as an address",
    "stored": "stored already",
}


@attrs.frozen(kw_only=True)
class ExplainedRequest(HttpRequest):
    """One request as it would be sent; ``content`` is its exact body.

    ``url`` is None if it is not known before the client is open: with a client of the caller's, a model inside this
    process, or the mock. ``headers`` lack the key and what an HTTP client adds of its own. ``key_header`` is the header
    of the key, with the name of an environment variable in place of the key. ``estimated_input_tokens`` is a rough
    estimate, the characters of all texts divided by 4; None if files, addresses or a cache hold more input.
    ``counted_input_tokens`` is the provider's count, None if it was not requested or the provider cannot count. Prices
    are in US dollars and assume that nothing is cached: the lowest is that of the input alone, the highest includes an
    answer of ``max_tokens``. They are None if tokens or limit are not known, or no plugin knows the price.
    """

    url: str | None
    key_header: str | None
    estimated_input_tokens: int | None
    counted_input_tokens: int | None = None
    lowest_price: Decimal | None = None
    highest_price: Decimal | None = None

    @property
    def curl(self) -> str | None:
        """The request as a curl command for a POSIX shell, which expands the key's variable; None without a url."""
        if self.url is None:
            return None
        words = ["curl", "-X", self.method, self.url]
        words += [word for name, value in self.headers.items() for word in ("-H", f"{name}: {value}")]
        command = shlex.join(words)
        if self.key_header is not None:
            command += f" -H {_quote_expanding(self.key_header)}"
        content = self.content
        # The body is the command's input, since Linux allows a word of a command only 128 KiB. A here-document ends
        # with a line break, which curl's --data removes.
        return command if content is None else f"{command} --data @- <<'JSON'\n{content.decode()}\nJSON"


def _quote_expanding(text: str) -> str:
    """Return ``text`` as one word of a shell command, in which the shell still expands variables."""
    # The backslash first, or the backslashes of the later replacements would be doubled. $ stays special on purpose.
    for special in '\\"`':
        text = text.replace(special, f"\\{special}")
    return f'"{text}"'


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExplainedSource(Value):
    """The way in which a source would reach the provider; ``upload`` is the id of its `ExplainedUpload`, if any.

    ``converted_from`` is the type of the caller's source, if a plugin has converted it.
    """

    identifier: str
    source_type: SourceType
    mime_type: str
    size_bytes: int
    delivery: Delivery
    upload: str | None = None
    converted_from: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExplainedUpload(Value):
    """A content that would be uploaded once.

    ``id`` stands in the requests for the id that the provider would assign. ``sha256`` is that of the content, in hex.
    """

    id: str
    identifier: str
    mime_type: str
    size_bytes: int
    sha256: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExplainedPrefix(Value):
    """A beginning that several requests share, to be cached: the first goes ahead, and the others follow its answer.

    ``first`` is the index of that request, ``n_requests`` counts it and the others. ``n_tokens`` is the length of the
    beginning, by the counts of the requests or else estimated, less an estimate of the prompts; None if it is not
    known. ``min_tokens`` is the length from which on the service caches, None if that is not known.
    ``expected_cached_tokens`` are the tokens that the others are expected to read from the cache, in all; a service
    promises none of them.
    """

    first: int
    n_requests: int
    n_tokens: int | None
    min_tokens: int | None
    expected_cached_tokens: int | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Explanation(Value):
    """The requests that `run_many` would send; ``print`` the explanation for an overview.

    ``cache_mode`` is as in the envelope's metrics, ``cache`` is the name of the cache in use. ``prefixes`` are the
    beginnings that requests share, where they are to be cached. ``response_schema`` is lowered for the provider,
    ``findings`` describe what the provider's dialect cannot hold.
    """

    provider: str
    model: str
    requests: tuple[ExplainedRequest, ...]
    sources: tuple[ExplainedSource, ...]
    uploads: tuple[ExplainedUpload, ...]
    cache_mode: CacheMode
    cache: str | None
    prefixes: tuple[ExplainedPrefix, ...] = ()
    response_schema: dict[str, Any] | None
    findings: tuple[str, ...]

    @property
    def lowest_price(self) -> Decimal | None:
        """The price of all input, in US dollars; None if the price of any request is not known."""
        price: Decimal | None = _sum_known([request.lowest_price for request in self.requests])
        return price

    @property
    def highest_price(self) -> Decimal | None:
        """The price if every answer is ``max_tokens`` long, in US dollars. Retries would cost more."""
        price: Decimal | None = _sum_known([request.highest_price for request in self.requests])
        return price

    def __repr__(self) -> str:
        """Return the first line of the overview; all requests would fill pages."""
        return f"Explanation({next(self._iter_lines())})"

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows."""
        return f"```text\n{self}\n```"

    def __str__(self) -> str:
        return "\n".join(self._iter_lines())

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON-ready data, each request with its curl command; prices are texts."""
        data = attrs.asdict(self, value_serializer=lambda _, __, value: _convert_jsonable(value))
        for item, request in zip(data["requests"], self.requests, strict=True):
            item |= {"body": item.pop("fields"), "curl": request.curl}
            # They are among the headers.
            del item["extra_headers"]
        return data | {name: _convert_jsonable(getattr(self, name)) for name in ("lowest_price", "highest_price")}

    def _iter_lines(self) -> Iterator[str]:
        yield f"{_describe_count(len(self.requests), 'request')} to {self.provider}, model {self.model}: not sent"
        # Requests of one call nearly always share their address: one line with a range of sizes says all.
        for target in dict.fromkeys(_describe_target(request) for request in self.requests):
            sizes = [len(request.content or b"") for request in self.requests if _describe_target(request) == target]
            yield f"  {target}: {_describe_range(sizes)} bytes"
        yield f"  input tokens: {self._describe_tokens()}"
        if self.lowest_price is not None:
            yield f"  price: {self._describe_price(self.lowest_price)}"
        kinds = Counter(_DELIVERY_PHRASES[source.delivery] for source in self.sources)
        if kinds:
            yield f"sources: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}"
        yield from self._iter_conversion_lines()
        yield from self._iter_upload_lines()
        yield f"caching: {self.cache_mode}{f', {self.cache}' if self.cache else ''}"
        yield from self._iter_prefix_lines()
        if self.response_schema is not None:
            yield f"schema: {_describe_count(len(self.findings), 'finding')}"
            yield from (f"  {finding}" for finding in self.findings)

    def _iter_conversion_lines(self) -> Iterator[str]:
        converted = Counter((s.identifier, s.converted_from, s.mime_type) for s in self.sources if s.converted_from)
        for (name, before, after), count in converted.items():
            yield f"  {name}: converted from {before} to {f'{count} x ' if count > 1 else ''}{after}"

    def _describe_tokens(self) -> str:
        counts = [r.counted_input_tokens for r in self.requests if r.counted_input_tokens is not None]
        if counts:
            share = "" if len(counts) == len(self.requests) else f" in {len(counts)} of {len(self.requests)} requests"
            return f"{sum(counts)}{share}, counted by the provider"
        estimate = _sum_known([request.estimated_input_tokens for request in self.requests])
        return "not known" if estimate is None else f"about {estimate}, estimated by characters / 4"

    def _describe_price(self, lowest: Decimal) -> str:
        # A price from estimated tokens is no more exact than the estimate.
        about = "about " if any(request.counted_input_tokens is None for request in self.requests) else ""
        if self.highest_price is None:
            return f"{about}{_format_price(lowest)} US dollars, without the answers"
        return f"{about}{_format_price(lowest)} to {_format_price(self.highest_price)} US dollars"

    def _iter_prefix_lines(self) -> Iterator[str]:
        if not self.prefixes:
            return
        n_first, n_all = len(self.prefixes), sum(prefix.n_requests for prefix in self.prefixes)
        first = _describe_count(n_first, "request")
        yield f"  {first} first, then {n_all - n_first} with the same beginning once it is cached"
        expected = _sum_known([prefix.expected_cached_tokens for prefix in self.prefixes])
        yield f"  expected from the cache: {'not known' if expected is None else f'about {expected} input tokens'}"
        short = [prefix.min_tokens for prefix in self.prefixes if prefix.expected_cached_tokens == 0]
        if short:
            yield f"  too short to be cached: {len(short)} of {n_first}, the service caches from {short[0]} tokens on"

    def _iter_upload_lines(self) -> Iterator[str]:
        for upload in self.uploads[:_MAX_UPLOAD_LINES]:
            yield f"  {upload.id}: {upload.identifier}, {upload.mime_type}, {upload.size_bytes} bytes"
        if len(self.uploads) > _MAX_UPLOAD_LINES:
            yield f"  and {_describe_count(len(self.uploads) - _MAX_UPLOAD_LINES, 'upload')} more"


def _sum_known(values: Sequence[Any]) -> Any:
    """Return the sum, or None without any values or if one of them is not known."""
    return sum(values) if values and None not in values else None


def _format_price(price: Decimal) -> str:
    # normalize() drops trailing zeros, but may write 1E-7; the format "f" writes digits.
    return f"{price.normalize():f}"


def _convert_jsonable(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    # As text, since a JSON number would be read back as a float and rounded.
    return str(value) if isinstance(value, Decimal) else value


def _describe_target(request: ExplainedRequest) -> str:
    return f"{request.method} {request.url or request.path}"


def _describe_range(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return str(low) if low == high else f"{low} to {high}"


def _describe_count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
