"""A plugin that compares each sent request with `explain`, and a script that runs an example with it.

The script takes the path of an example, and adds the plugin to every Config. The plugin writes each pair of requests
to the file that the variable below names.
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

#: The variable with the path of the file, which gets a line of JSON for each call that was sent.
FOUND = "EXPLAINED_EXAMPLES"
#: The uploaded files, by content and type; a session uses them again.
ASSETS = {}


class ExplainedRequest:
    """The request of one `run_many` or `stream_many`, and its explanation."""

    def __init__(self, request):
        self._request = request
        self._lock = threading.Lock()
        self._explanation = None

    @property
    def explanation(self):
        with self._lock:
            if self._explanation is None:
                request = self._request
                self._explanation = explain(
                    request.prompts,
                    sources=request.sources,
                    config=request.config,
                    options=request.options,
                    per_source=request.per_source,
                )
            return self._explanation

    def explain_body(self, index):
        """Return the explained body of a call, with the real ids of its files instead of placeholders."""
        text = self.explanation.requests[index].content.decode()
        for upload in self.explanation.uploads:
            asset = ASSETS[upload.sha256, upload.mime_type]
            text = text.replace(json.dumps(upload.id), json.dumps(asset.uri or asset.id))
        return text


REQUEST = ContextVar("request", default=None)
#: The call of this thread for which nothing has been sent yet.
UNSENT_CALL = ContextVar("unsent_call", default=None)


class Comparing:
    """Middleware that compares the first attempt of each call. Later attempts may repair an answer: they differ."""

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
    request_record, index = UNSENT_CALL.get()
    line = json.dumps({"explained": request_record.explain_body(index), "sent": request.content.decode()}) + "\n"
    UNSENT_CALL.set(None)  # not before: explaining rewrites the call, which sets the variable again
    with Path(os.environ[FOUND]).open("a") as file:
        file.write(line)


COMPARING = Comparing()


def add_comparison(config):
    """Return the configuration with the plugin outermost, where it sees the changes of the others."""
    return attrs.evolve(config, plugins=[*(config.plugins or ()), COMPARING])


class _Comparing(ast.NodeTransformer):
    """Replaces ``Config(...)`` by ``add_comparison(Config(...))``."""

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "Config":
            return ast.Call(func=ast.Name(add_comparison.__name__, ast.Load()), args=[node], keywords=[])
        return node


def run_example(path):
    """Run a script as the main module, with the plugin in its configurations."""
    sys.path.insert(0, str(path.parent))
    tree = ast.fix_missing_locations(_Comparing().visit(ast.parse(path.read_text())))
    exec(
        compile(tree, str(path), "exec"),
        {"__name__": "__main__", "__file__": str(path), "add_comparison": add_comparison},
    )


if __name__ == "__main__":
    run_example(Path(sys.argv[1]))
