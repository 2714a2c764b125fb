"""Submissions in the journal: what was asked of a provider's deferred jobs or of a fleet, before and after it was.

A submission and its members are on disk before anything is sent, so that a job that a killed process may have submitted
is looked for, and never paid for twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import attrs

from pollux_batch.data.rows import Member
from pollux_sync import stages
from pollux_sync.data.converter import dump_value, load_value
from pollux_sync.data.handles import Asset  # noqa: TC001 - read from files
from pollux_sync.data.jobs import DeferredJob, SubmissionAttempt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pollux_batch.data.work import Work
    from pollux_batch.journaling import Journal
    from pollux_sync.data.request import UploadPart


@attrs.frozen(kw_only=True)
class Upload:
    """A file that was stored for a submission. ``identity`` is the hash of its content."""

    identity: str
    mime_type: str
    asset: Asset


class Submission:
    """One submission, as a log for `stages.submit_calls`. Every change is on disk when the method returns."""

    def __init__(self, journal: Journal, row: Sequence[Any]) -> None:
        self._journal = journal
        self.id, self.scope, self.mark, attempted, jobs, uploads = row
        self.attempted = None if attempted is None else load_value(json.loads(attempted), SubmissionAttempt)
        self.jobs = tuple(load_value(item, DeferredJob) for item in json.loads(jobs))
        self._uploads = [load_value(item, Upload) for item in json.loads(uploads)]
        #: Whoever recorded an attempt may have died at any moment after it.
        self.is_open = self.attempted is not None

    @property
    def may_exist(self) -> bool:
        """True if any job of it was submitted, or may have been."""
        return bool(self.jobs) or self.is_open

    @property
    def files(self) -> tuple[Asset, ...]:
        """The files that were stored for it."""
        return tuple(upload.asset for upload in self._uploads)

    def find_asset(self, part: UploadPart) -> Asset | None:
        """Return the stored file of this content and type, or None."""
        name = (part.identity, part.source.mime_type)
        return next((upload.asset for upload in self._uploads if (upload.identity, upload.mime_type) == name), None)

    def record_upload(self, part: UploadPart, asset: Asset) -> None:
        """Record a file that has been stored."""
        self._uploads.append(Upload(identity=part.identity, mime_type=part.source.mime_type, asset=asset))
        self._journal.update_submission(self.id, uploads=json.dumps([dump_value(upload) for upload in self._uploads]))

    def record_attempt(self, attempt: SubmissionAttempt) -> None:
        """Record that a job is about to be submitted."""
        self.attempted = attempt
        self._journal.update_submission(self.id, attempted=json.dumps(dump_value(attempt)))

    def mark_open(self) -> None:
        """Note that a job may exist that is not recorded."""
        self.is_open = True

    def record_job(self, job: DeferredJob) -> None:
        """Record a job that has been submitted."""
        self.jobs = (*self.jobs, job)
        self.attempted, self.is_open = None, False
        jobs = json.dumps([dump_value(one) for one in self.jobs])
        self._journal.update_submission(self.id, jobs=jobs, attempted=None)

    def record_members(self, members: Sequence[Member]) -> None:
        """Record that these are its items now."""
        self._journal.replace_members(self.id, members)

    def record_end(self) -> None:
        """Record that all answers were collected."""
        self._journal.update_submission(self.id, is_collected=1)


def begin_submission(journal: Journal, fleet: str, scope: str, works: Sequence[Work]) -> Submission:
    """Record a submission of works, in their order, to a fleet if there is one; return it."""
    content = hashlib.sha256(b"".join(work.key for work in works)).hexdigest()
    mark = stages.create_mark(content)
    row = journal.insert_submission(fleet, scope, mark, list_members(works), time.time())
    return Submission(journal, row)


def list_members(works: Iterable[Work]) -> list[Member]:
    """Return works as the items of a submission."""
    return [Member(work.key, work.ask, work.label) for work in works]
