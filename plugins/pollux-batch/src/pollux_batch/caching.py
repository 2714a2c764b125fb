"""A model of Gemini's whose sources stay at the provider: stored once, found again by the next run."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Self

from pollux_batch.data.settings import check_number
from pollux_batch.errors import ProcessorStateError
from pollux_batch.models import GeminiModel
from pollux_sync import Config, Source, create_cache, delete_cache, extend_cache, list_caches
from pollux_sync.errors import CacheError, ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pollux_batch.data.responses import LLMResponse
    from pollux_sync import CacheHandle, Options

log = logging.getLogger("pollux_batch")

#: How the tags of a cache begin in its label; JSON with sorted keys follows.
_PREFIX = "abl-tags:"
#: The tag that holds the fingerprint of the content. Callers cannot set it.
_CONTENT_TAG = "abl-content"
_FINGERPRINT_CHARS = 16
#: What the provider keeps of a label.
_MAX_LABEL = 128
#: Times to live below the first are for tests; from there to the second they are likely a mistake, as is a shorter
#: buffer.
_TEST_TTL_S, _SHORT_S = 10, 60


class GeminiCachedModel(GeminiModel):
    """A model whose sources and instruction are kept in a cache at the provider.

    ``prepare`` finds the cache of an earlier run, or creates one; ``cleanup`` leaves it for the next run, and
    `delete_cache` deletes it. A cache is taken only if its label shows the same content, or, for caches that others
    made without a fingerprint, all of ``cache_tags``; with tags it must have them in any case. One that is about to
    expire is extended, with ``auto_renew``, ``cache_renewal_buffer_seconds`` before its end.
    """

    def __init__(
        self,
        config: Config,
        cached_content: Sequence[Source],
        options: Options | None = None,
        *,
        system_instruction: str | None = None,
        cache_ttl_seconds: int = 3600,
        cache_renewal_buffer_seconds: float = 300,
        auto_renew: bool = True,
        cache_tags: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(config, options)
        _check_times(cache_ttl_seconds, cache_renewal_buffer_seconds)
        self._sources = _check_content(cached_content)
        self._instruction = system_instruction
        self._ttl_s = cache_ttl_seconds
        self._buffer_s = cache_renewal_buffer_seconds
        self._auto_renew = auto_renew
        self._tags = _check_tags(cache_tags or {})
        self._fingerprint = _hash_content(self._sources, system_instruction)
        self._label = _build_label(self._tags | {_CONTENT_TAG: self._fingerprint})
        self._lock = threading.Lock()
        self._handle: CacheHandle | None = None

    @classmethod
    def from_api_key(  # type: ignore[override]
        cls,
        model: str,
        api_key: str | None = None,
        *,
        cached_content: Sequence[Source],
        options: Options | None = None,
        config: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Self:
        """Return a model by its name. ``config`` are further fields of `Config`, ``settings`` those of this class."""
        fields = Config(provider=cls.provider, model=model, api_key=api_key, **(config or {}))
        return cls(fields, cached_content, options, **settings)

    @property
    def cache_name(self) -> str | None:
        """The provider's name of the cache, None until it exists."""
        handle = self._handle
        return handle.name if handle is not None else None

    def prepare(self) -> None:
        """Find the cache, or create it. Of many threads one does so."""
        with self._lock:
            if self._handle is None or self._is_ending(self._handle):
                self._handle = self._find_or_create()

    def cleanup(self) -> None:
        """Leave the cache to the next run."""

    def delete_cache(self) -> None:
        """Delete the cache at the provider. A failure is logged; it expires then."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            delete_cache(handle, config=self.config)
        except PolluxError as error:
            log.warning("the cache %s cannot be deleted: %s", handle.name, error)

    def generate(
        self,
        prompt: str | list[Any],
        *,
        temperature: float | None = None,
        system_instruction: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> LLMResponse:
        """Answer one prompt about the cached content; see `PolluxModel.generate`.

        The instruction is in the cache, so that none is accepted here. A cache that has gone is replaced, once a call.
        """
        settings = dict(config or {})
        if system_instruction is not None or "system_instruction" in settings:
            raise ConfigurationError(
                "the instruction of a cached model is in its cache",
                hint="pass GeminiCachedModel(..., system_instruction=...)",
            )
        handle = self._acquire()
        try:
            return super().generate(prompt, temperature=temperature, config=settings | {"cache": handle})
        except CacheError as error:
            if error.kind != "cache_missing":
                raise
        handle = self._replace(handle)
        return super().generate(prompt, temperature=temperature, config=settings | {"cache": handle})

    def _acquire(self) -> CacheHandle:
        """Return a cache that lasts for a while."""
        with self._lock:
            handle = self._handle
            if handle is not None and not self._is_ending(handle):
                return handle
            if not self._auto_renew:
                if handle is not None and not handle.is_expired:
                    return handle
                raise ProcessorStateError("there is no cache", hint="call prepare() first, or pass auto_renew=True")
            self._handle = self._extend(handle) if handle is not None else self._find_or_create()
            return self._handle

    def _replace(self, missing: CacheHandle) -> CacheHandle:
        """Return a cache in place of one that the provider does not know any more."""
        with self._lock:
            # Another thread may have replaced it.
            if self._handle is None or self._handle.name == missing.name:
                self._handle = self._find_or_create(without=missing.name)
            return self._handle

    def _is_ending(self, handle: CacheHandle) -> bool:
        return time.time() >= handle.expires_at - self._buffer_s

    def _extend(self, handle: CacheHandle) -> CacheHandle:
        try:
            return extend_cache(handle, self._ttl_s, config=self.config)
        except CacheError:  # it expired meanwhile
            return self._find_or_create(without=handle.name)

    def _find_or_create(self, without: str | None = None) -> CacheHandle:
        found = [handle for handle in self._list() if handle.name != without and self._fits(handle)]
        if found:
            return max(found, key=lambda handle: handle.expires_at)
        return create_cache(
            self._sources,
            config=self.config,
            system_instruction=self._instruction,
            ttl_seconds=self._ttl_s,
            label=self._label,
        )

    def _list(self) -> Iterable[CacheHandle]:
        try:
            return list_caches(config=self.config)
        except PolluxError as error:
            log.warning("caches cannot be listed, so one is created: %s", error)
            return ()

    def _fits(self, handle: CacheHandle) -> bool:
        """Return whether a cache holds what is wanted, and lasts for a while."""
        if handle.model.rpartition("/")[2] != self.config.model.rpartition("/")[2] or self._is_ending(handle):
            return False
        tags = _read_label(handle.label)
        if not self._tags.items() <= tags.items():
            return False
        fingerprint = tags.get(_CONTENT_TAG)
        return fingerprint == self._fingerprint if fingerprint is not None else bool(self._tags)


def _check_times(ttl_s: int, buffer_s: float) -> None:
    check_number("cache_ttl_seconds", ttl_s, above=True, typical="3600")
    check_number("cache_renewal_buffer_seconds", buffer_s, typical="300")
    if buffer_s >= ttl_s:
        raise ConfigurationError(
            f"cache_renewal_buffer_seconds={buffer_s:g} is not less than cache_ttl_seconds={ttl_s:g}",
            hint="typical are 300 and 3600",
        )
    if _TEST_TTL_S <= ttl_s < _SHORT_S:
        warnings.warn(f"cache_ttl_seconds={ttl_s:g} is short: a cache is paid for anew each time", stacklevel=3)
    if ttl_s >= _TEST_TTL_S and buffer_s < _SHORT_S:
        warnings.warn(f"cache_renewal_buffer_seconds={buffer_s:g} is short: calls may meet the end", stacklevel=3)


def _check_content(sources: Sequence[Source]) -> tuple[Source, ...]:
    if not isinstance(sources, list | tuple) or not all(isinstance(source, Source) for source in sources):
        raise ConfigurationError("cached_content must be a list of Source", hint="[Source.from_file('manual.pdf')]")
    return tuple(sources)


def _check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if _CONTENT_TAG in tags:
        raise ConfigurationError(f"the tag {_CONTENT_TAG!r} is reserved", hint="choose another name")
    if not all(isinstance(text, str) for pair in tags.items() for text in pair):
        raise ConfigurationError("cache_tags must be texts by name", hint="e.g. {'customer': 'acme'}")
    return dict(tags)


def _hash_content(sources: Sequence[Source], instruction: str | None) -> str:
    """Return a fingerprint of the content, wherever its files are stored."""
    # Names go into the request where there are several to tell apart.
    names = [source.identifier for source in sources] if sources[1:] else None
    contents = [(source.mime_type, source.cache_identity_hash(provider="gemini")) for source in sources]
    text = json.dumps([names, contents, instruction])
    return hashlib.sha256(text.encode()).hexdigest()[:_FINGERPRINT_CHARS]


def _build_label(tags: Mapping[str, str]) -> str:
    label = _PREFIX + json.dumps(tags, sort_keys=True, separators=(",", ":"))
    if len(label) > _MAX_LABEL:
        raise ConfigurationError(
            f"cache_tags make a label of {len(label)} characters, and the provider keeps {_MAX_LABEL}",
            hint="shorten their names and values",
        )
    return label


def _read_label(label: str | None) -> dict[str, str]:
    """Return the tags in a label; none for a label of another kind."""
    if label is None or not label.startswith(_PREFIX):
        return {}
    try:
        tags = json.loads(label.removeprefix(_PREFIX))
    except ValueError:
        return {}
    return tags if isinstance(tags, dict) else {}
