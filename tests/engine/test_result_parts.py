"""The result of one prompt of several keeps what belongs to all of them."""

from typing import Any, cast

from pollux_sync import ResultEnvelope, result_of


def _build_envelope(answers: list[str], diagnostics: dict[str, Any], **fields: Any) -> ResultEnvelope:
    both = {"raw_responses": [{}, {}], "attempts": [[], []]} | diagnostics
    return cast("ResultEnvelope", {"answers": answers, "metrics": {"duration_s": 1.0}, "diagnostics": both, **fields})


def test_conversions_stay_whole() -> None:
    conversions = [{"source": "a.docx", "mime_type": "application/msword", "sent_as": "text/markdown"}]
    envelope = _build_envelope(["one", "two"], {"conversions": conversions})

    one = result_of(envelope, 1)

    assert one["answers"] == ["two"]
    assert one["diagnostics"].get("conversions") == conversions


def test_an_answer_of_files_alone_is_ok() -> None:
    envelope = _build_envelope(["", ""], {}, files=[[{"data": "aGk="}], []])

    assert result_of(envelope, 0)["status"] == "ok"
    assert result_of(envelope, 1)["status"] == "error"
