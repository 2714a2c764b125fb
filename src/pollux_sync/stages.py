"""All that a package which puts the stages together in its own way may import from the core, in one list.

`run_many` is one way to put them together: Request -> Plan -> Prepared -> Outcomes -> Envelope. A package for bulk work
or for workflows needs another one, with its own queue, its own waits and its own record of what was answered. It stands
on these names, on `pollux_sync.plugin` and on the values of `pollux_sync.data`; everything else may change in any
release.

**Stability.** As in `pollux_sync.plugin`: names, arguments and meaning change only with a new major version of
`pollux_sync.plugin.API_VERSION`. The key that `request_key` returns changes only with `KEY_VERSION`, since whoever
stores answers under it would pay for them again.
"""

from __future__ import annotations

from pollux_sync._lazy import build_getattr

TYPE_CHECKING = False  # as in typing, whose import would cost more than everything here
if TYPE_CHECKING:
    from pollux_sync.builtin.opening import open_hooks
    from pollux_sync.engine.collecting import cancel_jobs, inspect_jobs, iter_job_items, release_jobs
    from pollux_sync.engine.deferring import JobUploads, SubmissionLog, delete_strays, submit_calls
    from pollux_sync.engine.encoding import encode_request
    from pollux_sync.engine.journaling import create_mark
    from pollux_sync.engine.keying import KEY_VERSION, hash_request, render_request, request_key
    from pollux_sync.engine.planning import find_deferral_problem, plan_calls
    from pollux_sync.engine.preparing import SharedUploads, UploadScope, prepare_plan
    from pollux_sync.engine.repairing import ask_until_fitting
    from pollux_sync.engine.requesting import build_request
    from pollux_sync.engine.retrying import call_with_retries, decide_wait, decode_reply, read_fault, request_delivered
    from pollux_sync.engine.sending import execute_call
    from pollux_sync.engine.streaming import ActiveStreams, stream_call
    from pollux_sync.hooks.relay import Hooks

_HOMES = {
    "builtin.opening": ("open_hooks",),
    "engine.collecting": ("cancel_jobs", "inspect_jobs", "iter_job_items", "release_jobs"),
    "engine.deferring": ("JobUploads", "SubmissionLog", "delete_strays", "submit_calls"),
    "engine.encoding": ("encode_request",),
    "engine.journaling": ("create_mark",),
    "engine.keying": ("KEY_VERSION", "hash_request", "render_request", "request_key"),
    "engine.planning": ("find_deferral_problem", "plan_calls"),
    "engine.preparing": ("SharedUploads", "UploadScope", "prepare_plan"),
    "engine.repairing": ("ask_until_fitting",),
    "engine.requesting": ("build_request",),
    "engine.retrying": ("call_with_retries", "decide_wait", "decode_reply", "read_fault", "request_delivered"),
    "engine.sending": ("execute_call",),
    "engine.streaming": ("ActiveStreams", "stream_call"),
    "hooks.relay": ("Hooks",),
}

__all__ = [
    "KEY_VERSION",
    "ActiveStreams",
    "Hooks",
    "JobUploads",
    "SharedUploads",
    "SubmissionLog",
    "UploadScope",
    "ask_until_fitting",
    "build_request",
    "call_with_retries",
    "cancel_jobs",
    "create_mark",
    "decide_wait",
    "decode_reply",
    "delete_strays",
    "encode_request",
    "execute_call",
    "find_deferral_problem",
    "hash_request",
    "inspect_jobs",
    "iter_job_items",
    "open_hooks",
    "plan_calls",
    "prepare_plan",
    "read_fault",
    "release_jobs",
    "render_request",
    "request_delivered",
    "request_key",
    "stream_call",
    "submit_calls",
]

__getattr__ = build_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
