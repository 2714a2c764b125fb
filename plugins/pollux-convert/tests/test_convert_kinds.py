"""Every kind, through the hook, as two providers would get it."""

from datetime import datetime, time
from io import BytesIO

import attrs
import openpyxl
import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from documents import (
    DRAWING,
    HTML,
    ODS_BODY,
    build_documents,
    build_docx,
    build_docx_picture,
    build_eml,
    build_epub,
    build_odf,
    build_pdf,
    build_source,
    build_xlsx,
    read,
)
from pollux_convert import KINDS, Convert
from pollux_convert.kinds import get_kind
from pollux_sync import SourceError
from pollux_sync.plugin import TEXT_RULE

DOCUMENTS = build_documents()
#: What the model reads of each document, in this order.
EXPECTED = {
    "pdf": ["[Page 1]\n\nThe lighthouse\nBuilt in 1874", "[Page 2]\n\nThe end"],
    "docx": [
        "# The lighthouse\n\nBuilt in 1874, repaired in 1901\n\nWritten by Ada Morrow\n\n## Oil",
        "- whale oil\n  - sperm whale\n- rape oil",
        "1. fill the lamp\n2. light it",
        "| Year | Barrels |\n| --- | --- |\n| 1874 | 3 \\| 4 |\n\nThe end.",
    ],
    "xlsx": [
        "## Sheet: Oil\n\n| Month | Barrels | Paid |\n| --- | --- | --- |",
        "| May 1874 | 3 | TRUE |\n| June 1874 | 4.5 |  |",
        "## Sheet: Notes (hidden)\n\n| a \\| b |",
    ],
    "pptx": [
        "## Slide 1: The lighthouse\n\n- built in 1874\n  - repaired in 1901\n\nNotes: Speak slowly.",
        "## Slide 2\n\n| Year | Barrels |\n| --- | --- |\n| 1874 | 3 |",
        "|  | Oil |\n| --- | --- |\n| 1874 | 3.0 |\n| 1875 | 4.0 |",
    ],
    "html": ["# The lighthouse", "## Oil", "| 1874 | 3 |", "- fill the lamp\n- light it"],
    "rtf": ["The lighthouse café", "Year|Barrels|\n1874|3|", "€"],
    "odt": [
        "# The lighthouse\n\nBuilt  in [note: by Ada Morrow] 1874",
        "- whale oil\n  - sperm whale",
        "| Year | Barrels |\n| --- | --- |\n| 1874 | 3 |",
    ],
    "ods": ["## Sheet: Oil\n\n| Year | x | x |\n| --- | --- | --- |\n| 1874 |  |  |"],
    "epub": ["Title: The lamp\n\nAuthor: Ada Morrow", "# One\n\nfirst", "# Two\n\n1. a\n2. b"],
    "eml": [
        "From: Ada Morrow <ada@example.org>\nTo: keeper@example.org\nSubject: Öl",
        "The oil is on its way.",
        "- bill.pdf (application/pdf)",
    ],
    "ics": [
        "## Event: Light the lamp, at dusk\n\n- Start: 1874-05-01 19:00 Europe/Paris\n- End: 1874-05-02 05:00 UTC",
        "- Place: Cape Verran\n- Organizer: ada@example.org",
        "## Task: Order oil\n\n- Due: 1874-06-01",
    ],
    "csv": ["Year,Barrels\n1874,3"],
}


def list_places(text, pieces):
    return [text.find(piece) for piece in pieces]


def test_there_is_a_document_of_every_kind():
    assert [kind.name for kind in KINDS] == [*EXPECTED] == [*DOCUMENTS]


@pytest.mark.parametrize("kind", EXPECTED)
def test_reader_keeps_the_parts_in_order(kind):
    (text,) = read(DOCUMENTS[kind], kind)
    places = list_places(text, EXPECTED[kind])
    assert [-1, *places] == sorted({-1, *places})


@pytest.mark.parametrize("provider", ["local", "anthropic"])
@pytest.mark.parametrize("kind", [name for name in EXPECTED if name != "pdf"])
def test_provider_gets_text_and_explain_shows_it(show, kind, provider):
    shown = show(DOCUMENTS[kind], kind, provider)
    assert -1 not in list_places(shown.text, EXPECTED[kind])
    row = get_kind(kind)
    assert shown.lines == [f"a.{kind}: converted from {row.mime_types[0]} to {row.becomes}"]


def test_pdf_becomes_text_for_a_provider_that_takes_no_pdf(show):
    assert show(DOCUMENTS["pdf"], "pdf").lines == ["a.pdf: converted from application/pdf to text/markdown"]


def test_pdf_stays_a_pdf_for_a_provider_that_takes_it(show):
    shown = show(DOCUMENTS["pdf"], "pdf", "anthropic")
    assert (shown.types, shown.lines) == (["application/pdf"], [])


def test_pages_without_text_become_pictures_in_their_places(show):
    shown = show(build_pdf("first", DRAWING, DRAWING, "last"), "pdf")
    assert shown.types == ["text/markdown", "image/jpeg", "image/jpeg", "text/markdown"]
    assert shown.pictures == 2
    assert -1 not in list_places(shown.text, ["[Page 1]\n\nfirst", "[Page 4]\n\nlast"])
    assert "a.pdf: converted from application/pdf to 2 x image/jpeg" in shown.lines


def test_pictures_have_the_resolution_that_was_asked_for():
    sizes = {dpi: len(read(build_pdf(DRAWING), "pdf", image_type="image/png", image_dpi=dpi)[0]) for dpi in (72, 300)}
    assert sizes[72] < sizes[300]


def test_a_page_is_never_a_picture_of_more_pixels_than_a_model_sees():
    (picture,) = read(build_pdf(DRAWING), "pdf", image_type="image/png", image_dpi=100_000)
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (2000, 4000)


def test_pictures_are_named_where_the_provider_takes_none():
    assert read(build_pdf("first", DRAWING, b""), "pdf") == [
        "[Page 1]\n\nfirst\n\n[Page 2]\n\n(a picture without text)\n\n[Page 3]\n\n(blank)"
    ]


def test_formulas_without_a_stored_value_are_shown_themselves():
    (text,) = read(build_xlsx(formula="=B2*2"), "xlsx")
    assert "| May 1874 | 3 | TRUE | =B2*2 |" in text


def test_page_without_main_content_is_kept_as_a_whole():
    assert read(b"<html><body><p>Closed.</p></body></html>", "html") == ["Closed."]


def test_mail_in_html_becomes_markdown():
    layout = "<table><tr><td><p>Dear keeper,</p><ul><li>oil</li></ul></td></tr></table><script>x</script>"
    (text,) = read(build_eml(html=layout), "eml")
    assert text.endswith("Dear keeper,\noil\n\nAttachments, which are not included:\n\n- bill.pdf (application/pdf)")


def test_markup_of_a_chapter_stays_recognizable():
    table = "<table><tr><td>x<table><tr><td>in</td></tr></table></td><td>y</td></tr>"
    chapter = f"""<ol start="3"><li>three<p>more</p></li></ol><pre>a
      b</pre><img alt="a lamp"/><p>one<br/>two</p>{table}"""
    (text,) = read(build_epub([chapter]), "epub")
    assert "3. three\n  more\n\n```\na\n      b\n```\n\n[picture: a lamp]\n\none\ntwo\n\n| x in | y |" in text


def test_csv_in_utf8_stays_as_it_is(show):
    shown = show(b"Year;Barrels\n", "csv")
    assert (shown.text.startswith("Year;Barrels"), shown.lines) == (True, [])


def test_page_whose_markup_is_asked_about_stays_as_it_is():
    source = attrs.evolve(build_source(HTML, "html"), mime_type="text/plain")
    assert Convert().pollux_convert(source, (TEXT_RULE,)) is None


def test_numbers_of_repeated_rows_are_kept():
    cell = "<table:table-cell><text:p>x</text:p></table:table-cell>"
    row = f'<table:table-row table:number-rows-repeated="3">{cell}</table:table-row>'
    (text,) = read(build_odf("spreadsheet", f"<table:table>{row}</table:table>"), "ods")
    assert text.count("| x |") == 3


def test_document_without_text_is_refused(show):
    with pytest.raises(SourceError, match="has no text"):
        show(build_docx(""), "docx")


def test_sheet_of_empty_rows_has_its_name_alone():
    assert "1048000" in ODS_BODY
    (text,) = read(DOCUMENTS["ods"], "ods")
    assert text.count("\n") == 4


def test_any_document_becomes_text_by_itself():
    converted = Convert().convert_to_text(build_source(DOCUMENTS["pdf"], "pdf"))
    assert (converted.identifier, converted.mime_type) == ("a.pdf", "text/markdown")
    assert converted.load().startswith(b"[Page 1]")


def test_pictures_of_a_word_document_leave_their_descriptions():
    (text,) = read(build_docx(build_docx_picture("a lamp")), "docx")
    assert text == "[picture: a lamp]"


def test_shapes_of_a_slide_are_read_in_their_order():
    talk = pptx.Presentation()
    slide = talk.slides.add_slide(talk.slide_layouts[6])
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "in a group"
    picture = slide.shapes.add_picture(BytesIO(read(build_pdf(DRAWING), "pdf", image_type="image/png")[0]), 0, 0)
    picture._element.nvPicPr.cNvPr.set("descr", "a lamp")
    slide.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "in a box"
    chart = CategoryChartData(number_format="0")
    chart.categories = ["May"]
    chart.add_series("Oil", (3,))
    framed = slide.shapes.add_chart(XL_CHART_TYPE.PIE, 0, 0, 9, 9, chart).chart
    framed.has_title = True
    framed.chart_title.text_frame.text = "Oil by month"
    output = BytesIO()
    talk.save(output)
    (text,) = read(output.getvalue(), "pptx")
    pieces = ["in a group", "[picture: a lamp]", "in a box", "Chart: Oil by month", "| May | 3.0 |"]
    assert text == "## Slide 1\n\n" + "\n\n".join([*pieces[:-1], f"|  | Oil |\n| --- | --- |\n{pieces[-1]}"])


def test_values_of_a_workbook_are_written_as_they_are_stored():
    book = openpyxl.Workbook()
    moments = (
        datetime.fromisoformat("1974-05-01"),
        datetime.fromisoformat("1974-05-01 19:30"),
        time(19, 30),
        0.1 + 0.2,
    )
    for value in moments:
        book.active.append(["x", value])
    output = BytesIO()
    book.save(output)
    (text,) = read(output.getvalue(), "xlsx")
    assert [row.split(" | ")[1][:-2] for row in text.splitlines() if "| x" in row] == [
        "1974-05-01",
        "1974-05-01 19:30:00",
        "19:30:00",
        "0.3",
    ]


def test_breaks_and_comments_of_an_opendocument_text():
    comment = "<office:annotation><text:p>no</text:p></office:annotation>"
    first = f"<text:p>a<text:tab/>b<text:line-break/>c<text:span>d</text:span>{comment}</text:p>"
    (text,) = read(build_odf("text", f"{first}<text:section><text:p>e</text:p></text:section>"), "odt")
    assert text == "a\tb\ncd\n\ne"
