"""Questions that the journal has, but that are rendered as other requests now: found before they are sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from pollux_batch.errors import DriftError
from pollux_sync import stages
from pollux_sync.data.differences import find_differences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_batch.data.rows import StoredAnswer
    from pollux_batch.data.settings import OnDrift
    from pollux_batch.data.work import Work
    from pollux_batch.journaling import Journal
    from pollux_batch.remembering import MemoryJournal


def check_drift(
    works: Sequence[Work], journal: Journal | MemoryJournal, on_drift: OnDrift
) -> dict[bytes, StoredAnswer]:
    """Return the stored answers to reuse, by the keys of the works whose requests have drifted.

    Raises DriftError with ``on_drift="stop"``.
    """
    keys = journal.find_asked([work.ask for work in works])
    # Not those whose answer could not be read, and is asked for again.
    drifted = [work for work in works if keys.get(work.ask, work.key) != work.key]
    if not drifted or on_drift == "resend":
        return {}
    if on_drift == "stop":
        raise _build_error(drifted, journal)
    stored = journal.find_answers([keys[work.ask] for work in drifted])
    return {
        work.key: attrs.evolve(answer, key=work.key)
        for work in drifted
        if (answer := stored.get(keys[work.ask])) is not None
    }


def _build_error(drifted: Sequence[Work], journal: Journal | MemoryJournal) -> DriftError:
    for work in drifted:
        request = journal.find_sample(work.ask)
        if request is None:
            continue
        rendered = stages.render_request(work.call, work.lane.hooks)
        now = {"method": rendered.method, "path": rendered.path, "body": rendered.body}
        difference = next(find_differences(json.loads(request), now), None)
        if difference is not None:
            path, old, new = difference
            return _describe(drifted, f"{path} was {old}, and is {new} now", path, old, new)
    return _describe(drifted, "the old requests were not kept", None, None, None)


def _describe(drifted: Sequence[Work], what: str, path: str | None, old: str | None, new: str | None) -> DriftError:
    return DriftError(
        f"{drifted[0].label!r} is answered or submitted in the journal, but would be asked otherwise now: {what} "
        f"({len(drifted)} items so far; nothing was sent for them)",
        hint="on_drift='resend' asks them anew and pays for it, on_drift='reuse' takes the stored answers; or go back "
        "to the versions that the journal was made with",
        path=path,
        old=old,
        new=new,
    )
