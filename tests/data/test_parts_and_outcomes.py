from decimal import Decimal

import attrs
import pytest

from pollux_sync import APIError, ConfigurationError, HttpResponse, Source, Usage
from pollux_sync.data.findings import AnswerFile, Citation, HostedCall
from pollux_sync.data.reply import Failure, Reply, ToolCall
from pollux_sync.data.request import InlinePart, UriPart
from pollux_sync.errors import Attempt

PAPER = Source.from_uri("gs://bucket/whale.pdf", mime_type="application/pdf")


@pytest.mark.parametrize("part", [InlinePart(PAPER, b"%PDF-"), UriPart(PAPER)])
def test_part_has_the_type_of_its_source(part):
    assert part.mime_type == "application/pdf"


def test_part_by_address_has_that_of_its_source():
    assert UriPart(PAPER).uri == "gs://bucket/whale.pdf"


def test_inline_part_does_not_show_its_bytes():
    assert "secret" not in repr(InlinePart(PAPER, b"secret"))


def test_equal_parts_hash_alike():
    assert len({UriPart(PAPER), UriPart(PAPER), UriPart(Source.from_text("whale"))}) == 2


def test_usage_lists_what_was_reported():
    assert Usage(input_tokens=3, output_tokens=0).to_dict() == {"input_tokens": 3, "output_tokens": 0}


def test_failure_has_the_attempts_of_its_error():
    attempts = (Attempt(started_at=1.0, duration_s=0.5),)
    assert Failure(APIError("down", attempts=attempts)).attempts == attempts


def test_failure_that_was_never_sent_has_no_attempts():
    assert Failure(ConfigurationError("no")).attempts == ()


def test_a_reply_with_attempts_is_the_same_with_its_ledger():
    reply = Reply(
        text="t",
        reasoning="r",
        tool_calls=(ToolCall("id", "name", "{}"),),
        usage=Usage(input_tokens=1),
        finish_reason="stop",
        raw_finish_reason="done",
        response_id="resp",
        model="m",
        service_tier="flex",
        provider_state={"a": 1},
        artifacts={"b": 2},
        citations=(Citation(url="u"),),
        hosted_calls=(HostedCall(kind=None, name="n"),),
        files=(AnswerFile(id="f"),),
        cost_usd=Decimal("0.25"),
        notes={"cache": {"hit": True}},
        response=HttpResponse(status=200),
    )
    unset = {field.name for field in attrs.fields(Reply) if getattr(reply, field.name) == field.default}
    assert unset == {"attempts"}
    ledger = (Attempt(started_at=1.0, duration_s=2.0),)
    assert reply.with_attempts(ledger) == attrs.evolve(reply, attempts=ledger)
