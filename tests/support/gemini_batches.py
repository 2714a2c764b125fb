"""The Gemini API with stored batches and files, as a handler for a scripted server.

It follows the published contract: it refuses unknown fields and methods, and shows each account only its own things.
"""

import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

import attrs

from gemini_api import error, response, text, thought
from pollux_gemini import INFO, GeminiProvider
from pollux_sync.data.rules import DeferredLimits
from pollux_sync.hooks.specs import hookimpl
from pollux_sync.testing.server import Answer

#: The fields of a GenerateContentRequest.
FIELDS = {
    *("model", "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig"),
    *("cachedContent", "store"),
}
ENDED = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}
ANSWERED = {"SUCCEEDED", "PARTIALLY_SUCCEEDED"}
REASONS = {
    "FAILED": {"code": 3, "message": "the input file has bad lines"},
    "CANCELLED": {"code": 1, "message": "the operation was cancelled"},
    "EXPIRED": {"code": 4, "message": "the batch has expired"},
}


def read_prompt(body):
    return body["contents"][-1]["parts"][-1]["text"]


def build_result(body):
    """Return the result of a request: a response, or an error if the prompt begins with "fail"."""
    prompt, config = read_prompt(body), body.get("generationConfig", {})
    if prompt.startswith("fail"):
        return {"error": {"code": 3, "message": f"cannot answer {prompt!r}"}}
    if "responseJsonSchema" in config:
        return {"response": response(text(json.dumps({"name": prompt, "size": len(prompt)})))}
    thoughts = [thought("let me think")] if "thinkingConfig" in config else []
    return {"response": response(*thoughts, text(f"said {prompt}"))}


@attrs.define
class StoredFile:
    """A file of one account."""

    account: str
    facts: dict
    content: bytes = b""
    is_whole: bool = False


@attrs.define
class StoredBatch:
    """A batch: its requests by key, its next states, and its results."""

    account: str
    facts: dict
    requests: list
    is_inline: bool
    states: list
    answered: int
    rows: list = attrs.field(factory=list)
    answers_file: str | None = None

    @property
    def state(self):
        return self.states[0]


class Batches:
    """The service. Every look at a batch moves it to the next of ``states``; ending early it has ``answered`` rows.

    ``shape`` rearranges the rows. ``after`` has steps that replace the answer about a batch which is created
    nevertheless; ``instead`` has steps that replace the creation.
    """

    def __init__(self, *, states=("PENDING", "RUNNING", "SUCCEEDED"), answered=0, shape=list, page_size=2):
        self.states, self.answered, self.shape, self.page_size = states, answered, shape, page_size
        self.prefix, self.number, self.output_at = "BATCH_STATE_", str, ("metadata", "response")
        self.reply, self.after, self.instead = build_result, [], []
        self.files, self.batches, self.deleted, self.lines = {}, {}, [], []
        self._numbers = itertools.count(1)

    def __call__(self, request):
        url = urlsplit(request.path)
        for method, path, ask in (
            ("POST", r"/upload/v1beta/files", self.start),
            ("POST", r"/stored/(files/.+)", self.store),
            ("GET", r"/v1beta/files", self.list_files),
            ("GET", r"/v1beta/(files/[^:]+):download", self.download),
            ("GET", r"/v1beta/(files/[^:]+)", self.get_file),
            ("DELETE", r"/v1beta/(files/[^:]+)", self.delete_file),
            ("POST", r"/v1beta/(models/[^:]+):generateContent", self.generate),
            ("POST", r"/v1beta/(models/[^:]+):batchGenerateContent", self.create),
            ("GET", r"/v1beta/batches", self.list_batches),
            ("GET", r"/v1beta/(batches/[^:]+)", self.get_batch),
            ("POST", r"/v1beta/(batches/[^:]+):cancel", self.cancel),
        ):
            match = re.fullmatch(path, url.path)
            if match and request.method == method:
                return ask(request, *match.groups())
        return error(404, f"no such method: {request.method} {request.path}")

    # Files

    def start(self, request):
        file = request.json()["file"]
        if file["sizeBytes"] != request.headers["x-goog-upload-header-content-length"]:
            return error(400, "the sizes differ")
        facts = {"displayName": file["displayName"], "mimeType": file["mimeType"], "source": "UPLOADED"}
        name = self.new_file(read_account(request), facts)
        url = f"http://{request.headers['host']}/stored/{name}"
        return Answer(json={}, headers={"x-goog-upload-url": url})

    def store(self, request, name):
        file = self.files[name]
        assert int(request.headers["x-goog-upload-offset"]) == len(file.content)
        file.content += request.body
        file.is_whole = "finalize" in request.headers["x-goog-upload-command"]
        headers = {"x-goog-upload-status": "final" if file.is_whole else "active"}
        return Answer(json={"file": file.facts} if file.is_whole else {}, headers=headers)

    def new_file(self, account, facts, content=b"", *, prefix=""):
        name = f"files/{prefix}{next(self._numbers)}"
        facts = {"name": name, "uri": f"https://files.example/{name}", "state": "ACTIVE", **facts}
        self.files[name] = StoredFile(account, facts | {"expirationTime": "2090-01-01T00:00:00Z"}, content)
        return name

    def list_files(self, request):
        mine = [file.facts for file in self.files.values() if file.account == read_account(request)]
        return self.page(request, "files", mine)

    def get_file(self, request, name):
        return Answer(json=self.files[name].facts) if self.owns(request, self.files, name) else build_not_found(name)

    def delete_file(self, request, name):
        if not self.owns(request, self.files, name):
            return build_not_found(name)
        self.deleted.append(self.files.pop(name).facts["displayName"])
        return Answer(json={})

    def download(self, request, name):
        if not self.owns(request, self.files, name) or self.files[name].facts["source"] != "GENERATED":
            return build_not_found(name)
        return Answer(body=self.files[name].content)

    # Batches

    def generate(self, request, _model):
        result = self.reply(request.json())
        return Answer(json=result["response"]) if "response" in result else error(400, result["error"]["message"])

    def create(self, request, model):
        if self.instead:
            return self.instead.pop(0)
        (batch,) = request.json().values()
        if batch.keys() != {"displayName", "inputConfig"} or len(batch["inputConfig"]) != 1:
            return error(400, f"unknown fields in {sorted(batch)}")
        (source,) = batch["inputConfig"].values()
        is_inline = "requests" in batch["inputConfig"]
        if is_inline:
            rows = [(row["metadata"]["key"], row["request"]) for row in source["requests"]]
        else:
            if not self.owns(request, self.files, source) or not self.files[source].is_whole:
                return build_not_found(source)
            self.lines = [json.loads(line) for line in self.files[source].content.splitlines()]
            rows = [(row["key"], row["request"]) for row in self.lines]
        if unknown := {field for _, body in rows for field in body} - FIELDS:
            return error(400, f"unknown fields: {sorted(unknown)}")
        name = self.new_batch(read_account(request), batch["displayName"], rows, model=model, is_inline=is_inline)
        return self.after.pop(0) if self.after else Answer(json=self.build_operation(name))

    def new_batch(self, account, mark, requests, *, model="models/m", is_inline=True, made_at=None):
        number = next(self._numbers)
        created = (made_at or datetime.now(UTC) + timedelta(milliseconds=number)).isoformat().replace("+00:00", "Z")
        facts = {"model": model, "displayName": mark, "createTime": created}
        name = f"batches/{number}"
        self.batches[name] = StoredBatch(account, facts, requests, is_inline, list(self.states), self.answered)
        self.settle(name)
        return name

    def list_batches(self, request):
        mine = [name for name, stored in self.batches.items() if stored.account == read_account(request)]
        newest = sorted(mine, key=lambda name: self.batches[name].facts["createTime"], reverse=True)
        return self.page(request, "operations", [self.build_operation(name) for name in newest])

    def get_batch(self, request, name):
        if not self.owns(request, self.batches, name):
            return build_not_found(name)
        operation = self.build_operation(name)
        stored = self.batches[name]
        stored.states = stored.states[1:] or stored.states
        self.settle(name)
        return Answer(json=operation)

    def cancel(self, request, name):
        if not self.owns(request, self.batches, name):
            return build_not_found(name)
        stored = self.batches[name]
        if stored.state in ENDED:
            return error(400, "the batch has ended", "FAILED_PRECONDITION")
        stored.states = ["CANCELLED"]
        self.settle(name)
        return Answer(json={})

    def settle(self, name):
        """Answer the requests of a batch that has ended, once."""
        stored = self.batches[name]
        if stored.state not in ENDED or stored.rows:
            return
        count = len(stored.requests) if stored.state in ANSWERED else stored.answered
        rows = [(key, self.reply(body)) for key, body in stored.requests[:count]]
        stored.rows = self.shape(rows)
        if not stored.is_inline and stored.rows:
            content = "".join(json.dumps({"key": key} | row) + "\n" for key, row in stored.rows).encode()
            facts = {"displayName": stored.facts["displayName"], "mimeType": "application/jsonl", "source": "GENERATED"}
            stored.answers_file = self.new_file(stored.account, facts, content, prefix="batch-")

    def build_operation(self, name):
        """Return a batch as a long-running operation."""
        stored = self.batches[name]
        is_done = stored.state in ENDED
        failed = sum("error" in row for _, row in stored.rows)
        counts = {"successfulRequestCount": len(stored.rows) - failed, "failedRequestCount": failed}
        counts["pendingRequestCount"] = 0 if is_done else len(stored.requests)
        stats = {kind: self.number(count) for kind, count in counts.items() if count}
        metadata = stored.facts | {"name": name, "state": self.prefix + stored.state, "batchStats": stats}
        operation = {"name": name, "metadata": metadata}
        if not is_done:
            return operation
        metadata["endTime"] = stored.facts["createTime"]
        inline = [{"metadata": {"key": key}} | row for key, row in stored.rows]
        output = {"inlinedResponses": {"inlinedResponses": inline}} if inline else {}
        output = {"responsesFile": stored.answers_file} if stored.answers_file else output
        if output and "metadata" in self.output_at:
            metadata["output"] = output
        if stored.state in REASONS:
            return operation | {"done": True, "error": REASONS[stored.state]}
        return operation | {"done": True} | ({"response": output} if "response" in self.output_at else {})

    def page(self, request, kind, items):
        query = parse_qs(urlsplit(request.path).query)
        assert 1 <= int(query["pageSize"][0]) <= 100
        first = int(query.get("pageToken", ["0"])[0])
        more = {"nextPageToken": str(first + self.page_size)} if first + self.page_size < len(items) else {}
        # As every real server does: a submission that was lost reads the service's clock from it.
        headers = {"Date": formatdate(usegmt=True)}
        return Answer(json={kind: items[first : first + self.page_size]} | more, headers=headers)

    def owns(self, request, stored, name):
        return name in stored and stored[name].account == read_account(request)


def read_account(request):
    return request.headers["x-goog-api-key"]


def build_not_found(name):
    return error(403, f"You do not have permission to access {name} or it may not exist.", "PERMISSION_DENIED")


class FewRequests(GeminiProvider):
    """The provider, with room for two requests in a job."""

    @hookimpl
    def pollux_provider_info(self):
        return attrs.evolve(INFO, deferred=DeferredLimits(max_requests=2, max_bytes=10_000))


class FewBytes(GeminiProvider):
    """The provider, with room for two short requests in a job."""

    @hookimpl
    def pollux_provider_info(self):
        return attrs.evolve(INFO, deferred=DeferredLimits(max_requests=100, max_bytes=250))
