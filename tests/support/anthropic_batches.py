"""The Messages API with files and batches, as a handler for `ScriptedServer` that stores what it receives.

Every key has its own account. A batch advances each time it is looked at.
"""

import json
import re
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import attrs

from messages_api import response, text
from pollux_sync.testing.server import Answer

FILES_BETA = "files-api-2025-04-14"
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FATES = ("succeeded", "errored", "canceled", "expired")


def read_prompt(params):
    return params["messages"][-1]["content"][-1]["text"]


def echo(params):
    return response(text(f"re: {read_prompt(params)}"), model=params["model"])


def error(message, kind="invalid_request_error"):
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def refusal(status, message):
    return Answer(status=status, json=error(message))


@attrs.define
class Batch:
    """A batch; it is in progress for ``looks_left`` more looks."""

    id: str
    requests: list
    created_at: float
    looks_left: int
    fates: dict = attrs.field(factory=dict)
    is_canceling: bool = False
    ended_at: float | None = None

    def counts(self):
        fates = [self.fates.get(row["custom_id"], "processing") for row in self.requests]
        return {name: fates.count(name) for name in ("processing", *_FATES)}

    def facts(self, url):
        status = "ended" if self.ended_at else "canceling" if self.is_canceling else "in_progress"
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": self.counts(),
            "created_at": format_time(self.created_at),
            "expires_at": format_time(self.created_at + 86_400),
            "ended_at": self.ended_at and format_time(self.ended_at),
            "cancel_initiated_at": format_time(self.created_at) if self.is_canceling else None,
            "archived_at": None,
            "results_url": f"{url}/v1/messages/batches/{self.id}/results" if self.ended_at and url else None,
        }


@attrs.define
class Account:
    """The files and batches of one key."""

    files: dict = attrs.field(factory=dict)
    deleted: list = attrs.field(factory=list)
    batches: list = attrs.field(factory=list)


class Batches:
    """The service. ``accounts`` has the stored things by key; the other fields set its behaviour.

    ``fates`` maps a prompt to its result type ("succeeded" without an entry). ``looks`` is the number of looks that
    find a batch in progress; with ``is_instant`` a batch ends as it is created. ``after_create`` has steps that replace
    the answer about a batch which is created nevertheless (None: no replacement), ``before_create`` steps that replace
    the creation, ``before_results`` steps that replace results. ``edit_rows`` rewrites the rows of results.
    ``public_url`` is the start of ``results_url``, None for a service that keeps no results.
    """

    def __init__(self):
        self.accounts = defaultdict(Account)
        self.reply = echo
        self.fates = {}
        self.looks = 1
        self.page_size = 1000
        self.has_old_pages = False
        self.is_instant = False
        self.before_create = []
        self.after_create = []
        self.before_results = []
        self.edit_rows = list
        self.public_url = "https://api.invalid"
        self.betas = []
        self._lock = threading.Lock()
        self._numbers = iter(range(1, 10_000))

    @property
    def account(self):
        """The only account."""
        (account,) = self.accounts.values()
        return account

    def __call__(self, request):
        with self._lock:
            return self._route(request)

    def _route(self, request):
        address = urlsplit(request.path)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        key = request.headers.get("x-api-key") or request.headers["authorization"].removeprefix("Bearer ")
        account = self.accounts[key]
        is_allowed = FILES_BETA in request.headers.get("anthropic-beta", "")
        match request.method, *address.path.strip("/").split("/")[1:]:
            case "POST", "messages":
                step = self._answer(request.json())
            case "POST", "files" if is_allowed:
                step = self._store(request, account)
            case "GET", "files" if is_allowed:
                step = self._page(list(reversed(account.files.values())), query)
            case "DELETE", "files", name if is_allowed:
                step = self._delete(name, account)
            case "POST", "messages", "batches":
                step = self._create(request, account)
            case "GET", "messages", "batches":
                step = self._page([batch.facts(self.public_url) for batch in reversed(account.batches)], query)
            case method, "messages", "batches", name, *rest:
                found = next((batch for batch in account.batches if batch.id == name), None)
                step = self._about(method, found, rest) if found else refusal(404, f"no batch {name}")
            case _:
                step = refusal(404, "no such address, or not without its beta")
        return step

    def _answer(self, params):
        if self.fates.get(read_prompt(params)) == "errored":
            return refusal(400, f"cannot answer {read_prompt(params)}")
        return Answer(json=self.reply(params))

    def _store(self, request, account):
        name = f"file_{next(self._numbers)}"
        (filename,) = re.findall(rb'filename="([^"]+)"', request.body)
        account.files[name] = {
            "id": name,
            "type": "file",
            "filename": filename.decode(),
            "mime_type": "application/pdf",
            "size_bytes": request.body_size,
            "created_at": format_time(time.time()),
            "expires_at": format_time(time.time() + 259_200),
            "downloadable": False,
        }
        return Answer(json=account.files[name])

    def _delete(self, name, account):
        account.deleted.append(name)
        deleted = account.files.pop(name, None)
        return Answer(json={"id": name, "type": "file_deleted"}) if deleted else refusal(404, f"no file {name}")

    def _page(self, items, query):
        size = min(int(query.get("limit", 20)), self.page_size)
        ids = [item["id"] for item in items]
        first = ids.index(query["after_id"]) + 1 if "after_id" in query else int(query.get("page", "page_0")[5:])
        page, more = items[first : first + size], first + size < len(items)
        if items and items[0]["type"] == "file" and not self.has_old_pages:
            return Answer(json={"data": page, "next_page": f"page_{first + size}" if more else None})
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return Answer(json={"data": page, "has_more": more} | ends)

    def _create(self, request, account):
        if self.before_create:
            return self.before_create.pop(0)
        rows = request.json()["requests"]
        ids = [row["custom_id"] for row in rows]
        if len(set(ids)) < len(ids) or not all(map(_CUSTOM_ID.fullmatch, ids)):
            return refusal(400, "custom ids must be unique and well formed")
        betas = request.headers.get("anthropic-beta", "")
        self.betas.append(betas)
        wanted = re.findall(r'"file_id": "([^"]+)"', json.dumps(rows))
        if wanted and FILES_BETA not in betas:
            return refusal(400, "files need their beta")
        if set(wanted) - set(account.files):
            return refusal(400, "no such file")
        name = f"msgbatch_{next(self._numbers)}"
        batch = Batch(id=name, requests=rows, created_at=time.time(), looks_left=self.looks)
        account.batches.append(batch)
        if self.is_instant:
            self.end(batch)
        replacement = self.after_create.pop(0) if self.after_create else None
        return replacement or Answer(json=batch.facts(self.public_url))

    def _about(self, method, batch, rest):
        if rest == ["cancel"] and method == "POST":
            if batch.ended_at:
                return refusal(400, "the batch has ended")
            batch.is_canceling = True
        elif rest == ["results"]:
            return self._results(batch) if batch.ended_at else refusal(404, "no results yet")
        elif batch.looks_left:
            batch.looks_left -= 1
        else:
            self.end(batch)
        return Answer(json=batch.facts(self.public_url))

    def end(self, batch):
        """End a batch: give every request its result type."""
        if batch.ended_at:
            return
        batch.ended_at = time.time()
        unanswered = "canceled" if batch.is_canceling else "succeeded"
        for row in batch.requests:
            batch.fates[row["custom_id"]] = self.fates.get(read_prompt(row["params"]), unanswered)

    def _results(self, batch):
        if self.before_results:
            return self.before_results.pop(0)
        rows = [{"custom_id": row["custom_id"], "result": self._result(row, batch)} for row in batch.requests]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in self.edit_rows(rows)]
        return Answer(body="".join(lines).encode(), headers={"Content-Type": "application/x-jsonl"})

    def _result(self, row, batch):
        fate = batch.fates[row["custom_id"]]
        if fate == "succeeded":
            return {"type": fate, "message": self.reply(row["params"])}
        failed = {"error": error(f"cannot answer {read_prompt(row['params'])}")} if fate == "errored" else {}
        return {"type": fate} | failed


def format_time(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
