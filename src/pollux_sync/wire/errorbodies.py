"""Bodies of errors: their sentence, their codes and statuses, in whichever shape a server sends them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pollux_sync.wire.fields import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: No server puts the sentence of an error so deep into its body.
_MAX_LEVELS = 20
#: The keys under which servers put the sentence of an error, or what holds it, in order of preference.
_MESSAGE_KEYS = (
    *("error", "message", "detail", "msg", "error_message", "error_msg", "status_msg", "error_description", "errors"),
    *("title", "reason"),
)
#: Those of a sentence that make a body an error if it has a code too.
_SENTENCE_KEYS = ("message", "error_message", "error_msg", "status_msg")
#: The keys under which servers put the machine-readable code of an error; "__type" is that of AWS.
_CODE_KEYS = ("code", "error_code", "type", "status", "__type")
#: The keys under which servers put the status of an error.
_STATUS_KEYS = ("code", "status", "status_code", "statusCode", "http_code")
#: What names the problem in a page of a proxy, or in the XML of a store of files.
_TITLE = r"(?is)<(title|h1|message)\b[^>]*>\s*(\S.{0,300}?)</\1>"


def find_error(body: Any, name: str = "") -> Any:
    """Return the error in a body with status 200 that holds no answer, or in an event, else None.

    ``name`` is that of the event. The error is returned as a body that has it under "error", as most services send it.
    """
    if isinstance(body, list):
        return find_error(body[0], name) if body else None
    if not isinstance(body, dict):
        return {"error": body} if name == "error" else None
    if body.get("error"):
        return body
    # vLLM and Mistral send {"object": "error", ...}, OpenAI {"type": "error", ...}, FastAPI {"detail": ...}, Cloudflare
    # {"errors": [...]}, gateways {"message": ..., "code": ...}, MiniMax {"base_resp": {"status_code": 1008, ...}}.
    is_named = "error" in (name, body.get("object"), body.get("type")) or body.get("success") is False
    is_coded = any(as_text(body.get(key)) for key in _SENTENCE_KEYS) and any(map(body.get, _CODE_KEYS + _STATUS_KEYS))
    if is_named or is_coded or body.get("errors") or body.get("detail"):
        return {"error": body}
    return find_error(body.get("base_resp"))


def error_message(body: Any) -> str:
    """Return the most specific sentence of an error body, in whichever shape the server sends it."""
    return _find_message(body, _MAX_LEVELS)


def _find_message(body: Any, levels: int) -> str:
    """Return the sentence of a body, which is looked for as many levels deep."""
    # Google sends a list of one, OpenAI {"error": {"message"}}, FastAPI {"detail"} with a text or a list of {"msg"},
    # Cloudflare {"errors": [{"message"}]}, problem details (RFC 9457) a "title" at least.
    if isinstance(body, list) and body and levels:
        return _find_message(body[0], levels - 1)
    if isinstance(body, dict) and levels:
        nested = _choose_nested(body)
        upstream = _read_upstream_message(body, levels - 1)
        return upstream or (_find_message(nested, levels - 1) if nested is not None else _show(body or "no details"))
    return _read_text_message(_show(body or "").strip(), levels)


def _choose_nested(body: Mapping[str, Any]) -> Any:
    """Return the value of an error body that holds its sentence, None without one."""
    named = [value for key in _MESSAGE_KEYS if (value := body.get(key)) and isinstance(value, str | dict | list)]
    # {"error": "invalid_grant", "error_description": "a sentence"}, as OAuth has it, or {"error": "Bad Request", ...}
    if len(named) > 1 and isinstance(body.get("error"), str) and isinstance(named[1], str):
        return max(named[:2], key=len)
    return named[0] if named else None


def _read_text_message(text: str, levels: int) -> str:
    # Gateways pass on the body of the server behind them as text.
    if levels and text.startswith(("{", "[")):
        parsed = _parse_json(text)
        if parsed is not text:
            return _find_message(parsed, levels - 1)
    # A proxy or gateway answered in the server's place; the title names the problem. HAProxy's pages have a heading.
    if text.lower().startswith(("<!doctype", "<html", "<head", "<?xml", "<error", "<h1")):
        title = re.search(_TITLE, text)
        kind = "a page of XML" if text.lower().startswith(("<?xml", "<error")) else "an HTML page"
        return f"{kind}{f' titled {title[2].strip()!r}' if title else ''}"
    return text or "no details"


def _show(body: Any) -> str:
    try:
        return str(body)
    except RecursionError:
        return "an error that is nested too deeply to be shown"


def _read_upstream_message(error: Mapping[str, Any], levels: int) -> str | None:
    """Return a gateway's report of the provider behind it: ``metadata.provider_name`` and ``metadata.raw``."""
    metadata = error.get("metadata")
    if not isinstance(metadata, dict):
        return None
    raw = metadata.get("raw")
    raw = raw.strip() if isinstance(raw, str) else raw
    if not raw or not isinstance(raw, str | dict):
        return None
    return f"{metadata.get('provider_name') or 'upstream'}: {_find_message(_parse_json(raw), levels)}"


def _parse_json(raw: str | dict[str, Any]) -> Any:
    """Return an error body that was sent as text as data, or unchanged if it is not a JSON object or list."""
    try:
        parsed = json.loads(raw) if isinstance(raw, str) else raw
    except (ValueError, RecursionError):
        return raw
    return parsed if isinstance(parsed, dict | list) else raw


def error_code(body: Any) -> str:
    """Return the machine-readable codes and types of an error body, joined by spaces; "" without any."""
    return next(filter(None, map(_join_codes, iter_facts(body))), "")


def _join_codes(facts: Mapping[str, Any]) -> str:
    codes = [code for key in _CODE_KEYS if isinstance(code := facts.get(key), str) and " " not in code]
    # {"type": "error"} names no error. Under "error" may be the message; a code there has underscores, not blanks.
    if re.fullmatch(r"\w+_\w+", as_text(facts.get("error")) or ""):
        codes.append(facts["error"])
    return " ".join(code for code in codes if code not in {"error", "about:blank"})


def iter_facts(body: Any, levels: int = _MAX_LEVELS) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of an error body that may have its code and status, the innermost first."""
    if isinstance(body, list) and body and levels:
        yield from iter_facts(body[0], levels - 1)
    elif isinstance(body, dict) and levels:
        for key in ("error", "errors", "detail"):
            yield from iter_facts(body.get(key), levels - 1)
        yield body


def iter_reasons(body: Any) -> Iterator[str]:
    """Yield the reasons and the ids of quotas in the details of a Google error (google.rpc.ErrorInfo, QuotaFailure)."""
    for detail in read_details(body):
        yield from _select_texts(detail, "reason")
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            yield from _select_texts(violation, "quotaId", "quotaMetric")


def _select_texts(holder: Any, *names: str) -> Iterator[str]:
    values = map(holder.get, names) if isinstance(holder, dict) else ()
    yield from (value for value in values if isinstance(value, str))


def read_details(body: Any) -> list[dict[str, Any]]:
    """Return the details of a Google error, each an object."""
    listed = [facts["details"] for facts in iter_facts(body) if isinstance(facts.get("details"), list)]
    return [detail for details in listed for detail in details if isinstance(detail, dict)]


def iter_statuses(body: Any) -> Iterator[int]:
    """Yield the statuses that an error body names."""
    # Gateways such as OpenRouter put the status into the code; problem details (RFC 9457) have a field for it.
    for value in (facts.get(key) for facts in iter_facts(body) for key in _STATUS_KEYS):
        # Some write it as text; int() refuses thousands of digits.
        code = int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 3 else value  # noqa: PLR2004
        if isinstance(code, int) and 400 <= code < 600:  # noqa: PLR2004
            yield code


def read_refused_answer(body: Any) -> bytes | None:
    """Return the answer of the model that the service itself refused, None without one.

    Groq sends it as ``failed_generation`` beside the codes tool_use_failed and json_validate_failed
    (console.groq.com/docs/tool-use, read 2026-11-26). It is billed.
    """
    answer = next((answer for facts in iter_facts(body) if (answer := facts.get("failed_generation"))), None)
    if answer is None:
        return None
    return (answer if isinstance(answer, str) else json.dumps(answer)).encode("utf-8", "replace")
