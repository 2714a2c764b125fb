"""The Files, Batches and Responses API of OpenAI, as a handler for `ScriptedServer` that stores what it receives."""

import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

import attrs

from pollux_sync.testing.server import Answer, Step
from responses_api import message, response, thought

_EMPTY = (
    *("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"),
    *("errors", "output_file_id", "error_file_id"),
)


def error(text, code=None):
    return {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": code}}


def build_refusal(status, text, code=None):
    return Answer(status=status, json=error(text, code))


def echo(body):
    """Return a response that depends on the request alone: the prompt in capitals, or as JSON."""
    prompt = body["input"][-1]["content"][-1]["text"]
    is_typed = "text" in body
    answer = json.dumps({"name": prompt, "twins": [{"key": "Oxford", "value": 1947}]}) if is_typed else prompt.upper()
    name = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:8]
    return response(thought("easy"), message(answer), id=f"resp_{name}")


def row(request_id, *, status=200, body=None, code=None, text=None):
    """Return a line of an output or error file."""
    answer = {"status_code": status, "request_id": f"req_{request_id}", "body": body}
    return {
        "id": f"batch_req_{request_id}",
        "custom_id": request_id,
        "response": None if code else answer,
        "error": {"code": code, "message": text} if code else None,
    }


@attrs.define
class Account:
    """The files (facts, content) and batches of one key, by id, in the order of their creation."""

    files: dict = attrs.field(factory=dict)
    batches: dict = attrs.field(factory=dict)


@attrs.define
class Interruption:
    """A step that replaces the answer to the next request of this kind, before or after it is carried out."""

    method: str
    path: str
    step: Step
    is_after: bool


class OpenAIBatches:
    """The service. Each look at a batch shows the next of `stages`, then its `end`.

    `answered` is the number of requests that are done when a job ends early. `failing` maps a request id to an answer
    other than 200. `arrange` rewrites the lines of the output file. A page has at most `page_size` items.
    """

    def __init__(self):
        self.accounts = defaultdict(Account)
        self.stages = ("validating", "in_progress", "finalizing")
        self.end = "completed"
        self.reply = echo
        self.answered = None
        self.failing = {}
        self.arrange = lambda rows: rows[::-1]
        self.page_size = 10_000
        self.bad_models = {"no-such-model"}
        self.interruptions = []
        self._lock = threading.Lock()
        self._numbers = defaultdict(int)

    @property
    def account(self):
        """The only account."""
        (account,) = self.accounts.values()
        return account

    @property
    def batches(self):
        return list(self.account.batches.values())

    @property
    def names(self):
        """The names of the files that the client stored."""
        return sorted(
            facts["filename"] for facts, _ in self.account.files.values() if facts["purpose"] != "batch_output"
        )

    def interrupt(self, method, path, step, *, after=False):
        self.interruptions.append(Interruption(method, path, step, after))

    def __call__(self, request):
        with self._lock:
            interruption = next(
                (i for i in self.interruptions if (i.method, i.path) == (request.method, request.path)), None
            )
            if interruption:
                self.interruptions.remove(interruption)
            if interruption and not interruption.is_after:
                return interruption.step
            answer = self._answer(request)
            return interruption.step if interruption else answer

    def _answer(self, request):
        url = urlsplit(request.path)
        account = self.accounts[request.headers["Authorization"]]
        for method, pattern, answer in self._routes():
            match = re.fullmatch(pattern, url.path)
            if match and method == request.method:
                return answer(account, request, *match.groups())
        return build_refusal(404, f"unknown request: {request.method} {url.path}")

    def _routes(self):
        return (
            ("POST", "/v1/responses", lambda _, request: Answer(json=self.reply(request.json()))),
            ("POST", "/v1/files", self.store),
            ("GET", "/v1/files", lambda account, request: self._page([f for f, _ in account.files.values()], request)),
            ("DELETE", "/v1/files/([^/]+)", self._delete),
            ("GET", "/v1/files/([^/]+)/content", self._content),
            ("POST", "/v1/batches", self._create),
            ("GET", "/v1/batches", lambda account, request: self._page(account.batches.values(), request)),
            ("GET", "/v1/batches/([^/]+)", self._look),
            ("POST", "/v1/batches/([^/]+)/cancel", self._cancel),
        )

    # -- files

    def store(self, account, request):
        fields = parse_form(request)
        name, content = fields["file"]
        lifetime_s = int(fields["expires_after[seconds]"][1])
        if not 3600 <= lifetime_s <= 2_592_000:
            return build_refusal(400, "expires_after.seconds is out of range")
        purpose = fields["purpose"][1].decode()
        return Answer(json=self.keep(account, name, content, purpose, lifetime_s))

    def keep(self, account, name, content, purpose, lifetime_s=2_592_000):
        now = int(time.time())
        facts = {
            "id": self._name("file"),
            "object": "file",
            "bytes": len(content),
            "created_at": now,
            "filename": name,
            "purpose": purpose,
            "status": "processed",
            "expires_at": now + lifetime_s,
        }
        account.files[facts["id"]] = (facts, content)
        return facts

    def _delete(self, account, request, file_id):
        if account.files.pop(file_id, None) is None:
            return build_refusal(404, f"No such File object: {file_id}")
        return Answer(json={"id": file_id, "object": "file", "deleted": True})

    def _content(self, account, request, file_id):
        if file_id not in account.files:
            return build_refusal(404, f"No such File object: {file_id}")
        return Answer(body=account.files[file_id][1], headers={"Content-Type": "application/octet-stream"})

    def _page(self, items, request):
        query = parse_qs(urlsplit(request.path).query)
        items = list(items)[::-1]
        ids = [item["id"] for item in items]
        start = ids.index(query["after"][0]) + 1 if "after" in query else 0
        end = start + min(int(query["limit"][0]), self.page_size)
        shown = items[start:end]
        edges = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": "", "last_id": ""}
        # As every real server does: a submission that was lost reads the service's clock from it.
        headers = {"Date": formatdate(usegmt=True)}
        return Answer(json={"object": "list", "data": shown, "has_more": end < len(items)} | edges, headers=headers)

    # -- batches

    def _create(self, account, request):
        fields = request.json()
        if account.files.get(fields["input_file_id"], ({},))[0].get("purpose") != "batch":
            return build_refusal(400, "Invalid input_file_id")
        return Answer(json=self.create_batch(account, fields))

    def create_batch(self, account, fields):
        now = int(time.time())
        batch = dict.fromkeys(_EMPTY)
        batch |= {
            "id": self._name("batch"),
            "object": "batch",
            "status": "validating",
            "created_at": now,
            "expires_at": now + 86_400,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        } | fields
        account.batches[batch["id"]] = batch
        return batch

    def _look(self, account, request, batch_id):
        batch = account.batches.get(batch_id)
        if batch is None:
            return build_refusal(404, f"No batch found with id '{batch_id}'.")
        shown = Answer(json=dict(batch))
        self._move(account, batch)
        return shown

    def _move(self, account, batch):
        """Move a batch to its next stage. In the real service time does this, here every look."""
        status = batch["status"]
        errors = self._errors(account, batch) if status == "validating" else []
        if errors:
            batch |= {"status": "failed", "failed_at": int(time.time()), "errors": {"object": "list", "data": errors}}
        elif status == "cancelling":
            self._finish(account, batch, "cancelled")
        elif status in self.stages:
            later = self.stages[self.stages.index(status) + 1 :]
            if later:
                batch["status"] = later[0]
                batch["request_counts"]["total"] = len(self._lines(account, batch))
            else:
                self._finish(account, batch, self.end)

    def _cancel(self, account, request, batch_id):
        batch = account.batches.get(batch_id)
        if batch is None:
            return build_refusal(404, f"No batch found with id '{batch_id}'.")
        if batch["status"] not in self.stages:
            return build_refusal(409, f"Cannot cancel a batch with status '{batch['status']}'.")
        batch |= {"status": "cancelling", "cancelling_at": int(time.time())}
        return Answer(json=batch)

    def _lines(self, account, batch):
        content = account.files[batch["input_file_id"]][1]
        return [json.loads(line) for line in content.decode().split("\n") if line]

    def _errors(self, account, batch):
        found = []
        known = set()
        for number, line in enumerate(self._lines(account, batch), start=1):
            problem = {"code": "invalid_request", "param": None, "line": number}
            if line["custom_id"] in known:
                found.append(problem | {"code": "duplicate_custom_id", "message": "The custom_id is already in use."})
            known.add(line["custom_id"])
            if (line["method"], line["url"]) != ("POST", batch["endpoint"]):
                found.append(problem | {"code": "mismatched_url", "message": "The URL does not match the endpoint."})
            if line["body"]["model"] in self.bad_models:
                text = f"The provided model '{line['body']['model']}' is not supported by the Batch API."
                found.append(problem | {"code": "model_not_found", "message": text, "param": "body.model"})
        return found

    def _finish(self, account, batch, end):
        output, errors = [], []
        lines = self._lines(account, batch)
        answered = len(lines) if self.answered is None or end == "completed" else self.answered
        for number, line in enumerate(lines):
            name = line["custom_id"]
            if number >= answered:
                errors.append(row(name, code=f"batch_{end}", text=f"This request was not executed: batch {end}."))
            elif name in self.failing:
                status, body = self.failing[name]
                errors.append(row(name, status=status, body=body))
            else:
                output.append(row(name, body=self.reply(line["body"])))
        counts = {
            "total": len(lines),
            "completed": len(output),
            "failed": sum(name in self.failing for name in ids(lines)),
        }
        batch |= {"status": end, f"{end}_at": int(time.time()), "request_counts": counts}
        for name, rows in (("output_file_id", self.arrange(output)), ("error_file_id", errors)):
            if rows:
                content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in rows).encode()
                batch[name] = self.keep(account, f"{batch['id']}_{name}.jsonl", content, "batch_output")["id"]

    def _name(self, kind):
        self._numbers[kind] += 1
        return f"{kind}-{self._numbers[kind]}" if kind == "file" else f"{kind}_{self._numbers[kind]}"


def ids(lines):
    return [line["custom_id"] for line in lines]


def parse_form(request):
    """Return the parts of a form by name, each as (file name, content)."""
    boundary = b"--" + request.headers["Content-Type"].partition("boundary=")[2].encode()
    parts = {}
    for part in request.body.split(boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        names = dict(re.findall(rb'(name|filename)="([^"]*)"', head))
        parts[names[b"name"].decode()] = (names.get(b"filename", b"").decode(), content.removesuffix(b"\r\n"))
    return parts
