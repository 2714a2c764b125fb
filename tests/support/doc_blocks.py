"""The python blocks of the documentation, and the marks that say how they run.

A mark stands in a comment above its block: ``needs a key`` (it does not run), ``output varies`` (what it prints, and
what is shown, differs between machines), ``goes on`` (it runs after the block before it, in the same namespace).
"""

import contextlib
import io
import re

_BLOCK = re.compile(
    r"(?:<!-- (?P<marks>[a-z, ]+) -->\n)?```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```)?", re.DOTALL
)


def list_chains(page):
    """The blocks of a page that run, those together that go on from each other."""
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
    """One block: its code, the output that is shown below it or None, its marks, and where it stands."""

    def __init__(self, match, page, line):
        self.code, self.output, self.line = match["code"], match["output"], line
        self.marks = set((match["marks"] or "").split(", "))
        self._name = f"{page}:{line}"

    def run(self, namespace):
        """Run it in a namespace; gives what it prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(self.code, self._name, "exec"), namespace)
        return printed.getvalue()
