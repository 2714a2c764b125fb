"""OpenRouter's list of models: listed for users, and used to refuse requests that a model cannot answer.

The check never stands in the way without evidence: a model that is not listed, a fact that is missing and a list that
cannot be read refuse nothing.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import attrs

from pollux_sync.plugin import HttpRequest, InlinePart, ModelInfo, Problem, UriPart, as_text, read_count, read_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pollux_sync.plugin import Call, ConfigValues, HttpResponse, Options, Plan, ProviderInfo

#: The request for all models.
MODELS_REQUEST = HttpRequest(method="GET", path="/models")
#: The request for the limits of the account. It checks the key, which the public list of models does not.
ACCOUNT_REQUEST = HttpRequest(method="GET", path="/key")

#: How long a list is used before it is fetched again, in seconds.
MAX_AGE_S = 300.0
#: How long a call waits for the list at most, in seconds.
FETCH_TIMEOUT_S = 10.0


@attrs.frozen(kw_only=True)
class ModelFacts:
    """The inputs and parameters that a model takes; an empty set where the list does not name them."""

    inputs: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()


Models: TypeAlias = "dict[str, ModelFacts]"


class Catalogue:
    """The lists of models by base url, shared by all threads, each fetched again after `MAX_AGE_S`.

    A list that could not be read counts as empty until then.
    """

    def __init__(self, fetch: Callable[[ConfigValues], Models], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._lists: dict[str | None, tuple[float, Models]] = {}

    def find_problem(self, plan: Plan) -> Problem | None:
        """Return the first problem of a plan that its models are known to have, or None."""
        config = plan.request.config
        # With fallback models another model may answer, which takes what this one does not.
        if "models" in plan.request.options.read_raw_fields(config.provider):
            return None
        models = self._refresh_models(config)
        problems = (problem for call in plan.calls for problem in iter_problems(call, find_facts(call.model, models)))
        return next(problems, None)

    def _refresh_models(self, config: ConfigValues) -> Models:
        # One thread fetches while the others wait for its list. A fetch that takes too long must not hold up
        # every call: an empty list refuses nothing.
        if not self._lock.acquire(timeout=FETCH_TIMEOUT_S):
            return {}
        try:
            expires_at, models = self._lists.get(config.base_url, (0.0, {}))
            if config.base_url not in self._lists or self._clock() >= expires_at:
                # A failed fetch is kept like a list, or each call would wait for it again.
                models = self._fetch(config)
                self._lists[config.base_url] = (self._clock() + MAX_AGE_S, models)
            return models
        finally:
            self._lock.release()


def fetch_models(config: ConfigValues, info: ProviderInfo) -> Models:
    """Fetch the facts of all models; return an empty dict if the list cannot be read."""
    from pollux_sync.plugin import open_client

    try:
        client = open_client(config, info)
        try:
            return decode_facts(client.send(MODELS_REQUEST, min(FETCH_TIMEOUT_S, config.timeout_s)))
        finally:
            client.close()
    # The call itself goes on, and reports what is wrong with key, network or service.
    except Exception:  # noqa: BLE001
        return {}


def decode_facts(response: HttpResponse) -> Models:
    """Decode the facts by model from the answer to `MODELS_REQUEST`. Raises ReplyError for an answer without a list."""
    return {entry["id"]: _decode_facts(entry) for entry in _read_entries(response)}


def decode_models(response: HttpResponse) -> list[ModelInfo]:
    """Decode the models, from the answer to `MODELS_REQUEST`. Raises ReplyError for an answer without a list."""
    return [
        ModelInfo(
            id=entry["id"],
            display_name=as_text(entry.get("name")),
            context_tokens=read_count(entry, "context_length"),
            max_output_tokens=read_count(entry.get("top_provider"), "max_completion_tokens"),
            created_at=read_count(entry, "created"),
        )
        for entry in _read_entries(response)
    ]


def build_model_request(model: str) -> HttpRequest:
    """Build the request for one model, with or without a routing suffix."""
    return HttpRequest(method="GET", path=f"/model/{quote(model, safe='/:')}")


def _read_entries(response: HttpResponse) -> list[dict[str, Any]]:
    return [entry for entry in read_objects(response, "data") if as_text(entry.get("id"))]


def _decode_facts(entry: Mapping[str, Any]) -> ModelFacts:
    architecture = entry.get("architecture")
    inputs = architecture.get("input_modalities") if isinstance(architecture, dict) else None
    return ModelFacts(inputs=_read_texts(inputs), parameters=_read_texts(entry.get("supported_parameters")))


def _read_texts(values: Any) -> frozenset[str]:
    return frozenset(value for value in values if isinstance(value, str)) if isinstance(values, list) else frozenset()


def find_facts(model: str, models: Models) -> ModelFacts:
    """Return the facts of a model, or empty facts for a model that is not listed."""
    # A model with a suffix may be listed as such. A suffix that only chooses a route (:nitro) need not be.
    return models.get(model) or models.get(model.partition(":")[0]) or ModelFacts()


def iter_problems(call: Call, facts: ModelFacts) -> Iterator[Problem]:
    """Yield the problems of a call with a model that is known not to support it.

    PDFs pass with every model: the service reads them itself.
    """
    hint = "use a model that does, see https://openrouter.ai/models, or leave out check_catalogue"
    for kind in sorted(_list_media_kinds(call)):
        if facts.inputs and kind not in facts.inputs:
            yield Problem(f"the model {call.model!r} takes no {kind} input", hint)
    for name, names in _iter_required_parameters(call.options):
        # A capability that the configuration declares counts more than the list.
        if facts.parameters and not names & facts.parameters and not call.capabilities.get(name):
            yield Problem(f"the model {call.model!r} does not support {name}", hint)


def _list_media_kinds(call: Call) -> set[str]:
    kinds = {part.mime_type.partition("/")[0] for part in call.parts if isinstance(part, InlinePart | UriPart)}
    return kinds & {"image", "audio"}


def _iter_required_parameters(options: Options) -> Iterator[tuple[str, set[str]]]:
    """Yield the options that are set, each with the parameters of which the model must have one."""
    if options.tools:
        yield "tools", {"tools"}
    if options.tool_choice is not None:
        yield "tool_choice", {"tool_choice"}
    if options.response_schema is not None:
        yield "response_schema", {"structured_outputs", "response_format"}
    for name in ("reasoning_effort", "reasoning_budget_tokens", "reasoning_summary"):
        # Where a model does not reason, no reasoning is shown.
        if getattr(options, name) not in {None, "none"}:
            yield name, {"reasoning", "reasoning_effort"}
