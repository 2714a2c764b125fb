"""Hooks that forward to the client: a provider inherits them and implements its client alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.hooks.specs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pollux_sync.data.clients import FileClient, JobClient
    from pollux_sync.data.handles import Asset, DeferredJob, JobState
    from pollux_sync.data.request import DeferredBatch, DeferredRow
    from pollux_sync.data.source import Source


# The marks of inherited methods count: pluggy looks hooks up on the plugin object.
class FileHooks:
    """The hooks of files, for a provider whose client is a `FileClient`."""

    @hookimpl
    def pollux_upload(
        self, source: Source, client: FileClient, timeout_s: float, name: str, lifetime_s: float
    ) -> Asset:
        """Store a source's content through the client."""
        return client.upload(source, timeout_s, name, lifetime_s)

    @hookimpl
    def pollux_delete_upload(self, asset: Asset, client: FileClient, timeout_s: float) -> bool:
        """Delete a stored file through the client."""
        client.delete(asset, timeout_s)
        return True


class JobHooks(FileHooks):
    """The hooks of files and deferred jobs, for a provider whose client is a `JobClient`."""

    @hookimpl
    def pollux_submit_deferred(self, batch: DeferredBatch, client: JobClient, timeout_s: float) -> DeferredJob:
        """Submit one job through the client."""
        return client.files.submit(batch, timeout_s)

    @hookimpl
    def pollux_find_deferred(self, batch: DeferredBatch, client: JobClient, timeout_s: float) -> DeferredJob | None:
        """Look up the job of an interrupted submission through the client."""
        return client.files.find(batch, timeout_s)

    @hookimpl
    def pollux_find_uploads(self, mark: str, client: JobClient, timeout_s: float) -> list[Asset]:
        """Look up the files of an interrupted submission through the client."""
        return client.files.find_uploads(mark, timeout_s)

    @hookimpl
    def pollux_inspect_deferred(self, job: DeferredJob, client: JobClient, timeout_s: float) -> JobState:
        """Return the state of a job through the client."""
        return client.files.inspect(job, timeout_s)

    @hookimpl
    def pollux_collect_deferred(self, job: DeferredJob, client: JobClient, timeout_s: float) -> Iterable[DeferredRow]:
        """Return the rows of a job through the client."""
        return client.files.collect(job, timeout_s)

    @hookimpl
    def pollux_cancel_deferred(self, job: DeferredJob, client: JobClient, timeout_s: float) -> bool:
        """Cancel a job through the client."""
        client.files.cancel(job, timeout_s)
        return True

    @hookimpl
    def pollux_release_deferred(self, job: DeferredJob, client: JobClient, timeout_s: float) -> bool:
        """Delete what was stored for a job through the client."""
        client.files.release(job, timeout_s)
        return True
