"""Bodies that are not JSON, and large texts inside JSON."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import PurePath

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_sync import ConfigurationError, Source
from pollux_sync.data.bodies import InlineText
from pollux_sync.data.payloads import FormPayload, RawPayload
from pollux_sync.data.provider import HttpRequest, encode_json
from pollux_sync.data.request import InlinePart

#: Names of fields, values and files as users may have them, and what a form cannot hold.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
CONTENTS = st.binary(max_size=300)


def as_source(content):
    return Source("file", "x.bin", "application/x-test", len(content), lambda: content)


def build_form(content=b"content", **fields):
    defaults = {"file_name": "a.pdf", "file_type": "application/pdf", "content": as_source(content)}
    return FormPayload(**(defaults | fields))


def read(payload):
    return b"".join(payload.iter_chunks())


def parse(form):
    """Return the parts of a form as another implementation reads them: name, file name, type and content."""
    head = f"MIME-Version: 1.0\r\nContent-Type: {form.content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parse(io.BytesIO(head + read(form)))
    assert message.is_multipart()
    assert not message.defects
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type() if part.get_filename() else None,
            part.get_payload(decode=True),
        )
        for part in message.get_payload()
    ]


def test_form_has_its_fields_before_its_file():
    form = build_form(fields={"purpose": "batch", "expires_after[seconds]": "86400"})
    assert parse(form) == [
        ("purpose", None, None, b"batch"),
        ("expires_after[seconds]", None, None, b"86400"),
        ("file", "a.pdf", "application/pdf", b"content"),
    ]


def test_form_has_the_field_of_its_file():
    assert parse(build_form(file_field="document"))[0][:2] == ("document", "a.pdf")


@given(st.binary(max_size=300))
def test_form_holds_any_content(content):
    # From the bytes themselves: the parser above reads a text, which has line ends of its own.
    head, _, rest = read(build_form(content)).partition(b"\r\n\r\n")
    assert b'filename="a.pdf"' in head
    assert rest.rpartition(b"\r\n--")[0] == content


@given(NAMES, st.dictionaries(NAMES, NAMES, max_size=3), CONTENTS)
def test_form_has_exactly_the_size_that_it_announces(name, fields, content):
    form = build_form(content, file_name=name, fields=fields)
    assert form.size_bytes == len(read(form))


@given(NAMES)
def test_name_of_a_file_cannot_end_its_header(name):
    form = build_form(file_name=f'{name}"\r\nX-Evil: 1\r\n\r\n')
    head = read(form).partition(b"\r\n\r\n")[0].decode()
    lines = head.split("\r\n")
    assert [line.partition(":")[0] for line in lines[1:]] == ["Content-Disposition", "Content-Type"]
    assert head.count('"') == 4


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ('a "b".pdf', "a %22b%22.pdf"),
        ("a\r\nb.pdf", "a__b.pdf"),
        ("a\x00\x7fb.pdf", "a__b.pdf"),
        ("a\u2028b.pdf", "a_b.pdf"),
        ("a\udcffb.pdf", "a_b.pdf"),
        ("Übersicht ☃.pdf", "Übersicht ☃.pdf"),
        ("a;b=c.pdf", "a;b=c.pdf"),
        ("a\\b.pdf", "a\\b.pdf"),
    ],
    ids=ascii,
)
def test_form_writes_each_name_as_it_can_stand_there(name, sent):
    assert f'filename="{sent}"\r\n'.encode() in read(build_form(file_name=name))


def test_form_can_be_read_again():
    form = build_form()
    assert read(form) == read(form)


def test_forms_have_boundaries_of_their_own():
    assert build_form().boundary != build_form().boundary


def test_form_does_not_show_its_content():
    assert "content=" not in repr(build_form(b"secret"))


@given(st.lists(st.tuples(CONTENTS, st.booleans()), max_size=5))
def test_raw_payload_is_its_pieces_one_after_the_other(pieces):
    payload = RawPayload("text/plain", tuple(as_source(piece) if is_read else piece for piece, is_read in pieces))
    assert read(payload) == b"".join(piece for piece, _ in pieces)
    assert payload.size_bytes == len(read(payload))


def test_payload_of_a_file_is_read_in_chunks(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x" * 1_000_000)
    payload = RawPayload("text/plain", (Source.from_file(PurePath(tmp_path) / "a.bin"),))
    assert len(list(payload.iter_chunks())) > 1
    assert payload.size_bytes == 1_000_000


# Texts inside JSON

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
INLINE = st.builds(InlineText, st.binary(), st.sampled_from(["", "data:image/png;base64,", 'data:"\\é,']))
BODIES = st.dictionaries(
    TEXTS,
    st.recursive(
        TEXTS | INLINE | st.none() | st.booleans() | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)


def replace_inline(value):
    """Return the body with texts in place of the inline ones."""
    if isinstance(value, dict):
        return {name: replace_inline(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [replace_inline(inner) for inner in value]
    return str(value) if isinstance(value, InlineText) else value


@given(BODIES)
def test_pieces_of_a_body_are_the_body(parts):
    request, body = HttpRequest(path="/", body=parts), replace_inline(parts)
    assert b"".join(request.split_content()) == request.content == encode_json(body)
    assert request.body == body


def test_refuses_a_body_that_is_nested_too_deeply_for_json():
    body = {"a": InlineText(b"ABC")}
    for _ in range(100_000):
        body = {"b": body}
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        HttpRequest(path="/", body=body).split_content()


def test_refuses_what_json_has_no_form_for_beside_an_inline_text():
    with pytest.raises(ConfigurationError, match="Object of type set is not JSON serializable"):
        HttpRequest(path="/", body={"a": InlineText(b"ABC"), "b": set()}).split_content()


def test_pieces_hold_an_inline_text_itself_and_no_copy():
    inline = InlineText(b"ABC" * 1000, "data:,")
    request = HttpRequest(path="/", body={"a": inline, "b": [inline, "x"]})
    found = [piece is inline.json[1] for piece in request.split_content()]
    assert found == [False, False, True, False, False, True, False]


def test_body_without_inline_texts_is_not_copied():
    body = {"a": ["b"]}
    assert HttpRequest(path="/", body=body).body is body


def test_request_can_be_changed_without_its_inline_texts_being_read():
    inline = InlineText(b"ABC")
    request = attrs.evolve(HttpRequest(path="/", body={"a": inline}), path="/other")
    assert request.fields["a"] is inline
    changed = attrs.evolve(request, body={**request.body, "b": 1})
    assert changed.body == {"a": "QUJD", "b": 1}


def test_part_survives_pickling():
    part = InlinePart(Source.from_text("ABC"), b"ABC")
    text = str(part.data_url)
    copied = pickle.loads(pickle.dumps(part))  # noqa: S301 - its own
    assert str(copied.data_url) == text


def test_no_file_shows_in_a_repr():
    inline = InlineText(b"ABC" * 1000)
    assert len(repr([inline, HttpRequest(path="/", body={"a": [inline]})])) < 1000


def test_part_is_encoded_once_for_all_requests():
    part = InlinePart(as_source(b"ABC"), b"ABC")
    assert part.base64 is part.base64
    assert part.data_url is part.data_url
    assert part.base64.json[1] is part.base64.json[1]
    assert (str(part.base64), str(part.data_url)) == ("QUJD", "data:application/x-test;base64,QUJD")


def test_part_is_encoded_once_for_all_threads():
    part = InlinePart(as_source(b"ABC"), bytes(3_000_000))
    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(lambda _: part.data_url.json[1], range(24)))
    assert len(set(map(id, texts))) == 1
