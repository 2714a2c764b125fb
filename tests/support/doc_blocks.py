"""The blocks of the documentation that run: those of Python, and the commands of a console.

A comment above a block may mark it: ``needs a key`` (it does not run), ``output varies`` (its output differs between
machines), ``goes on`` (it runs after the block before it, in the same namespace).

A console block is ``$ command``, with its further lines behind ``> `` as in bash, and below it what it prints.
"""

import contextlib
import io
import re

_BLOCK = re.compile(
    r"(?:<!-- (?P<marks>[a-z, ]+) -->\n)?```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```)?", re.DOTALL
)
_CONSOLE = re.compile(r"```console\n(?P<runs>.*?)```", re.DOTALL)
_RUN = re.compile(r"^\$ (?P<command>.*(?:\n> .*)*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)


def list_runs(page):
    """Return the commands of a page in their order, each with the output that is shown below it."""
    blocks = _CONSOLE.finditer(page.read_text())
    runs = (run for block in blocks for run in _RUN.finditer(block["runs"]))
    return [(run["command"].replace("\n> ", "\n"), run["output"]) for run in runs]


def list_chains(page):
    """Return the blocks of a page that run, grouped by namespace."""
    chains = []
    for block in list_blocks(page):
        if "needs a key" in block.marks:
            continue
        if "goes on" in block.marks:
            chains[-1].append(block)
        else:
            chains.append([block])
    return chains


def list_blocks(page):
    text = page.read_text()
    return [_Block(match, page.name, text.count("\n", 0, match.start()) + 1) for match in _BLOCK.finditer(text)]


class _Block:
    """A block: its code, the output shown below it or None, its marks, and its line."""

    def __init__(self, match, page, line):
        self.code, self.output, self.line = match["code"], match["output"], line
        self.marks = set((match["marks"] or "").split(", "))
        self._name = f"{page}:{line}"

    def run(self, namespace):
        """Run the code in a namespace; return what it prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(self.code, self._name, "exec"), namespace)
        return printed.getvalue()
