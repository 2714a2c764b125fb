"""Ids with half a character, from an answer or a job file: the service says that it knows no such object."""

import pytest

from pollux_sync import APIError, Config, cancel_deferred, collect_deferred, delete_cache, inspect_deferred
from pollux_sync.data.handles import Asset, CacheHandle
from pollux_sync.data.jobs import DeferredHandle, DeferredJob
from pollux_sync.process import clients
from pollux_sync.testing.server import Answer, ScriptedServer

ODD = "batches/\ud800"
VERSIONS = {"openai": "/v1", "anthropic": "", "gemini": ""}
every_provider = pytest.mark.parametrize("provider", VERSIONS)


@pytest.fixture
def server():
    with ScriptedServer(default=Answer(status=404, json={"error": {"message": "no such object"}})) as server:
        yield server


@pytest.fixture
def config(provider, server):
    return Config(provider=provider, model="m", api_key="sk-made-up", base_url=server.url + VERSIONS[provider])


@every_provider
@pytest.mark.parametrize("act", [inspect_deferred, cancel_deferred, collect_deferred])
def test_service_is_asked_about_a_job(server, config, provider, act):
    job = DeferredJob(job_id=ODD, first=0, request_count=1, provider_state={})
    handle = DeferredHandle(provider=provider, model="m", jobs=(job,), request_count=1, submitted_at=0.0, mark="x")
    with pytest.raises(APIError) as caught:
        act(handle, config=config)
    assert caught.value.status_code == 404
    assert server.requests


@every_provider
def test_service_is_asked_to_delete_a_file(server, config, provider):
    with clients.lease(config) as hooks:
        hooks.delete_upload(Asset(id=ODD, mime_type="image/png"), 5.0)
    assert [request.method for request in server.requests] == ["DELETE"]


@pytest.mark.parametrize("provider", ["gemini"])
def test_service_is_asked_to_delete_a_cache(server, config):
    delete_cache(CacheHandle(name=ODD, provider="gemini", model="m", expires_at=9e9), config=config)
    assert [request.method for request in server.requests] == ["DELETE"]
