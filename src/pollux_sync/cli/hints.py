"""The hints of errors in the words of the command line: options where a script passes arguments."""

from __future__ import annotations

import re
from functools import cache

#: What only a script can write, with what the command line has for it. The first match at a place counts.
_PHRASES = (
    (r",? or pass api_key=\.\.\.", ""),
    (r"\bpass api_key=\.\.\.", "set the provider's variable, which pollux-sync doctor names"),
    (r"\bapi_key or (?=[A-Z])", ""),
    (r"\bapi_key\b", "the key"),
    (r"\bConfig\(provider_options=\{'(\w+)': True\}\)", r"--option \1=true"),
    (r"\bRetryPolicy's limits", "--retries"),
    (r"\bSource\.from_file\b(\(\.\.\.\))?", "-s FILE"),
    (r"\blist_models\(config=\.\.\.\) returns", "pollux-sync models lists"),
    (r"\bjob_file\b", "--job FILE"),
)
#: An argument: inside a call of Config or Options, with a value, with an underscore in its name, or to be left out.
_ARGUMENT = re.compile(
    r"\b(?:Config|Options)\((?P<inside>\w+)(?:=(?P<its>'[^']*'|[^()\s]+))?\)"
    r"|\b(?P<given>\w+)=(?P<value>'[^']*'|\.\.\.|\w+)"
    r"|\b(?P<named>[a-z]+_\w+)\b"
    r"|(?<=leave )(?P<left>\w+)(?= out)"
)


def translate_hint(hint: str) -> str:
    """Return a hint with options of the command line in place of arguments; what has no option stays."""
    for pattern, words in _PHRASES:
        hint = re.sub(pattern, words, hint)
    return _ARGUMENT.sub(_translate_argument, hint)


def _translate_argument(found: re.Match[str]) -> str:
    name = found["inside"] or found["given"] or found["named"] or found["left"]
    value = found["its"] or found["value"] or "..."
    flags = _list_flags()
    if name not in flags:
        return found[0]
    flag, takes_value = flags[name]
    return flag if value == "..." or not takes_value else f"{flag} {value.strip(chr(39)) or value}"


@cache
def _list_flags() -> dict[str, tuple[str, bool]]:
    # Imported here: only an error needs it, and the parser's module imports the one that reports errors.
    from pollux_sync.cli.asking import build_run_parser

    return build_run_parser().list_flags()
