"""``pollux-sync completion``: the script by which a shell completes the words of a command line.

The script has no list of its own. For every completion it calls this command again, with the words after ``--``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.cli.commands import build_parser
from pollux_sync.cli.terminal import write
from pollux_sync.commands import DONE, declare_parser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_sync.cli.commands import BuiltInParser
    from pollux_sync.cli.completing import Candidate

_BASH = r"""
_pollux_sync() {
    local IFS=$'\n'
    COMPREPLY=($("$1" completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _pollux_sync pollux-sync
"""
_ZSH = r"""
#compdef pollux-sync
_pollux_sync() {
    local -a candidates
    candidates=("${(@f)$("${(Q)words[1]}" completion zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n $candidates[1] ]]; then
        _describe candidate candidates
    else
        _files
    fi
}
if [[ $funcstack[1] == _pollux_sync ]]; then
    _pollux_sync "$@"
else
    compdef _pollux_sync pollux-sync
fi
"""
_FISH = r"""
function __pollux_sync_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l candidates ($before[1] completion fish -- $before[2..-1] "$current" 2>/dev/null)
    if set -q candidates[1]
        printf '%s\n' $candidates
    else
        __fish_complete_path "$current"
    end
end
complete -c pollux-sync -f -a '(__pollux_sync_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_EPILOG = """\
bash   eval "$(pollux-sync completion bash)"           in ~/.bashrc
zsh    eval "$(pollux-sync completion zsh)"            in ~/.zshrc, after compinit
fish   pollux-sync completion fish | source            in ~/.config/fish/config.fish

The scripts call completion SHELL -- WORD..., which lists what the last of the words can become."""


def build_completion_parser() -> BuiltInParser:
    """Return the parser of ``pollux-sync completion``."""
    parser = build_parser("completion", "bash|zsh|fish", epilog=_EPILOG)
    parser.add_argument("shell", choices=[*_SCRIPTS], metavar="SHELL", help="bash, zsh or fish")
    return parser


@declare_parser(build_completion_parser)
def main(argv: Sequence[str]) -> int:
    """Print the script for a shell, or the completions of the words after ``--``."""
    words = list(argv)
    # Not left to argparse: the words to complete may contain a second -- themselves.
    end = words.index("--") if "--" in words else len(words)
    shell = build_completion_parser().parse_args(words[:end]).shell
    if end == len(words):
        write(_SCRIPTS[shell].lstrip())
    else:
        _write_candidates(shell, words[end + 1 :])
    return DONE


def _write_candidates(shell: str, words: Sequence[str]) -> None:
    from pollux_sync.cli.completing import list_candidates

    if shell == "bash":
        words = _join_assignment(words)
    for candidate in list_candidates(words):
        # Not `write_line`, which would escape the tab.
        write(_FORMATS[shell](candidate))


def _join_assignment(words: Sequence[str]) -> list[str]:
    """Return the words without the ``=`` at which bash splits ``--option=value``."""
    before, current = [word for word in words[:-1] if word != "="], words[-1:]
    return [*before, *("" if word == "=" else word for word in current)]


def _format_for_zsh(candidate: Candidate) -> str:
    word = candidate.word.replace(":", r"\:")
    return f"{word}:{_shorten(candidate)}"


def _shorten(candidate: Candidate) -> str:
    return " ".join(candidate.about.split())


_FORMATS: dict[str, Callable[[Candidate], str]] = {
    "bash": lambda candidate: candidate.word,
    "zsh": _format_for_zsh,
    "fish": lambda candidate: f"{candidate.word}\t{_shorten(candidate)}",
}
