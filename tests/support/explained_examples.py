"""A plugin that holds what is sent against what `explain` says, and examples with this plugin in every Config.

Run as a script with the path of an example; the plugin writes what it found into the file of the variable below.
"""

import ast
import json
import os
import sys
import threading
from contextvars import ContextVar
from pathlib import Path

import attrs

from pollux_sync import explain, hookimpl

#: Names the file that gets a line of JSON for each call that was sent.
FOUND = "EXPLAINED_EXAMPLES"
#: What was uploaded, by content and type; a session uses it again.
ASSETS = {}


class ExplainedRequest:
    """One `run_many` or `stream_many`: its arguments, and what `explain` says of them."""

    def __init__(self, request):
        self._request = request
        self._lock = threading.Lock()
        self._explanation = None

    @property
    def explanation(self):
        with self._lock:
            if self._explanation is None:
                asked = self._request
                self._explanation = explain(
                    asked.prompts,
                    sources=asked.sources,
                    config=asked.config,
                    options=asked.options,
                    per_source=asked.per_source,
                )
            return self._explanation

    def explain_body(self, index):
        """The body of a call with the ids of its files in place of those that stand for them."""
        text = self.explanation.requests[index].content.decode()
        for upload in self.explanation.uploads:
            asset = ASSETS[upload.sha256, upload.mime_type]
            text = text.replace(json.dumps(upload.id), json.dumps(asset.uri or asset.id))
        return text


REQUEST = ContextVar("asked", default=None)
#: The call that this thread carries out and has sent nothing for.
UNSENT_CALL = ContextVar("begun", default=None)


class Comparing:
    """Middleware. Only the first attempt counts: later ones may be other requests, which repair an answer."""

    @hookimpl(wrapper=True)
    def pollux_plan(self, plan):
        planned = yield
        if not (planned.is_dry_run or planned.is_deferred):
            REQUEST.set(ExplainedRequest(planned.request))
        return planned

    @hookimpl(wrapper=True)
    def pollux_upload(self, source):
        asset = yield
        ASSETS[source.content_sha256(), source.mime_type] = asset
        return asset

    @hookimpl(wrapper=True)
    def pollux_rewrite_call(self, call):
        UNSENT_CALL.set((REQUEST.get(), call.index))
        return (yield)

    @hookimpl(wrapper=True)
    def pollux_send(self, request):
        _compare(request)
        return (yield)

    @hookimpl(wrapper=True)
    def pollux_encode_stream(self, request):
        _compare(request)
        return (yield)


def _compare(request):
    if UNSENT_CALL.get() is None:
        return
    asked, index = UNSENT_CALL.get()
    line = json.dumps({"explained": asked.explain_body(index), "sent": request.content.decode()}) + "\n"
    UNSENT_CALL.set(None)  # after explaining, which rewrites calls too
    with Path(os.environ[FOUND]).open("a") as file:
        file.write(line)


COMPARING = Comparing()


def add_comparison(config):
    """The configuration with the plugin outermost, where it sees what the others made of a request."""
    return attrs.evolve(config, plugins=[*(config.plugins or ()), COMPARING])


class _Comparing(ast.NodeTransformer):
    """``Config(...)`` becomes ``comparing(Config(...))``."""

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "Config":
            return ast.Call(func=ast.Name(add_comparison.__name__, ast.Load()), args=[node], keywords=[])
        return node


def run_example(path):
    """Run a script as the main module, its configurations with the plugin."""
    sys.path.insert(0, str(path.parent))
    tree = ast.fix_missing_locations(_Comparing().visit(ast.parse(path.read_text())))
    exec(compile(tree, str(path), "exec"), {"__name__": "__main__", "__file__": str(path), "comparing": add_comparison})


if __name__ == "__main__":
    run_example(Path(sys.argv[1]))
