import pytest

from pollux_sync import HttpResponse, ProviderInfo, Source, SourceRule
from pollux_sync.data.provider import TEXT_FILE_RULE, TEXT_RULE

IMAGE = SourceRule(source_types={"file", "uri"}, mime_types=("image/*",), delivery="inline")
WEB = SourceRule(source_types={"uri"}, uri_schemes=("http", "https"), delivery="uri")
PICTURE = Source.from_uri("gs://bucket/whale.png", mime_type="image/png")
PAGE = Source.from_uri("HTTPS://example.org/whale.png", mime_type="image/png")


def test_rule_matches_by_source_type_and_mime_pattern():
    assert IMAGE.matches(PICTURE)


@pytest.mark.parametrize(
    "source",
    [
        Source.from_text("whale"),
        Source.from_uri("gs://bucket/whale.pdf", mime_type="application/pdf"),
        Source.from_youtube("https://youtu.be/x"),
    ],
)
def test_rule_leaves_other_sources_alone(source):
    assert not IMAGE.matches(source)


@pytest.mark.parametrize("mime_type", ["IMAGE/PNG", "image/svg+xml; charset=utf-8", " image/png "])
def test_rule_matches_a_mime_type_however_it_is_written(mime_type):
    assert IMAGE.matches(Source.from_uri("gs://bucket/whale", mime_type=mime_type))


def test_rule_leaves_out_the_types_that_it_excludes():
    others = SourceRule(source_types={"uri"}, excluded_types=("image/*",), delivery="upload")
    paper = Source.from_uri("gs://bucket/whale.pdf", mime_type="application/pdf")
    assert [others.matches(source) for source in (PICTURE, paper)] == [False, True]


def test_rule_may_ask_for_a_scheme_of_the_address():
    assert [WEB.matches(source) for source in (PAGE, PICTURE)] == [True, False]


@pytest.mark.parametrize(("rules", "delivery"), [((IMAGE, WEB), "inline"), ((WEB, IMAGE), "uri")])
def test_first_rule_that_matches_wins(rules, delivery):
    assert ProviderInfo(name="acme", sources=rules).find_rule(PAGE).delivery == delivery


def test_source_that_no_rule_is_about_cannot_be_sent():
    assert ProviderInfo(name="acme").find_rule(PAGE) is None


@pytest.mark.parametrize("source", [Source.from_text("whale"), Source.from_json({"whale": 1})])
def test_text_and_json_are_sent_as_text(source):
    assert TEXT_RULE.matches(source)


@pytest.mark.parametrize(
    "mime_type",
    [
        "text/markdown",
        "application/json",
        "application/ld+json",
        "application/yaml",
        "application/x-tex",
        "image/svg+xml",
    ],
)
def test_text_files_are_sent_as_text(mime_type):
    assert TEXT_FILE_RULE.matches(Source.from_file(__file__, mime_type=mime_type))


@pytest.mark.parametrize("mime_type", ["application/pdf", "image/png", "application/octet-stream"])
def test_other_files_are_not_sent_as_text(mime_type):
    assert not TEXT_FILE_RULE.matches(Source.from_file(__file__, mime_type=mime_type))


@pytest.mark.parametrize("name", ["x-request-id", "request-id", "x-goog-request-id", "cf-ray"])
def test_reads_the_request_id_from_any_of_its_headers(name):
    assert HttpResponse(status=200, headers={name: "r-1"}).request_id == "r-1"


def test_response_without_a_request_id_has_none():
    assert HttpResponse(status=200).request_id is None
