"""Small documents of every kind that pollux-convert reads, each with the same things in it."""

import zipfile
from email.message import EmailMessage
from functools import cache
from io import BytesIO

from pollux_convert.kinds import get_kind
from pollux_convert.reading import read_document
from pollux_convert.tasks import Task
from pollux_sync import Source
from pollux_sync.data.source import BytesLoader

_ODF = "urn:oasis:names:tc:opendocument:xmlns"
_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_OFFICE_TYPES = "application/vnd.openxmlformats-officedocument"


def build_source(data, kind, name=None):
    """Return a file of a kind, by the first of its types."""
    return Source("file", name or f"a.{kind}", get_kind(kind).mime_types[0], len(data), BytesLoader(data))


def read(data, kind, **limits):
    """Return what becomes of a document, read in this process."""
    task = Task(kind, "", 150, 500, 1_000_000, 2_000_000_000)._replace(**limits)
    return read_document(data, task)


def build_zip(members, **options):
    """Return a zip archive of these files."""
    output = BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return output.getvalue()


def build_pdf(*pages):
    """Return a PDF with a page for each item: text, or the commands that draw a page without text, as bytes."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for page in pages:
        commands = page
        if isinstance(page, str):
            lines = "".join(f"({line}) Tj 0 -20 Td " for line in page.splitlines())
            commands = f"BT /F1 14 Tf 50 700 Td {lines}ET".encode()
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(commands), commands))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 800] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    return _join_objects(objects)


def _join_objects(objects):
    content, places = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, text)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


#: What draws a black square.
DRAWING = b"0 0 0 rg 100 300 200 200 re f"


def build_docx(body=None, **members):
    """Return a Word document with a heading, lists and a table, or with another body."""
    document = _DOCX_BODY if body is None else body
    types = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="png" ContentType="image/png"/>'
        f'<Override PartName="/word/document.xml" ContentType="{_OFFICE_TYPES}.wordprocessingml.document.main+xml"/>'
        "</Types>"
    )
    files = {
        "[Content_Types].xml": types,
        "_rels/.rels": _build_links(officeDocument="word/document.xml"),
        "word/_rels/document.xml.rels": _build_links(numbering="numbering.xml", image="media/lamp.png"),
        "word/numbering.xml": _DOCX_NUMBERING,
        "word/styles.xml": _DOCX_STYLES,
        "word/media/lamp.png": b"\x89PNG",
        "word/document.xml": f"<w:document {_WORD}><w:body>{document}</w:body></w:document>",
    }
    return build_zip(files | members)


def _build_links(**targets):
    """Return the relationships of a part; the id of each is its type."""
    links = "".join(
        f'<Relationship Id="{name}" Type="{_LINKS}/{name}" Target="{path}"/>' for name, path in targets.items()
    )
    namespace = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{namespace}">{links}</Relationships>'


_DOCX_STYLES = f"""<w:styles {_WORD}>
<w:style w:type="paragraph" w:styleId="Title"><w:name w:val="Title"/></w:style>
<w:style w:type="paragraph" w:styleId="Heading2"><w:name w:val="heading 2"/></w:style>
</w:styles>"""

_DOCX_NUMBERING = f"""<w:numbering {_WORD}>
<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl>
<w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>
</w:numbering>"""


def _paragraph(text, style="", number=None, level=0):
    marks = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>' if number else ""
    style = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{style}{marks}</w:pPr>{text if text.startswith('<') else _run(text)}</w:p>"


def _run(text):
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def _row(*cells):
    return f"<w:tr>{''.join(f'<w:tc>{_paragraph(cell)}</w:tc>' for cell in cells)}</w:tr>"


_CHANGES = f"<w:ins>{_run(', repaired in 1901')}</w:ins><w:del><w:r><w:delText>!</w:delText></w:r></w:del>"
_DOCX_BODY = "".join(
    [
        _paragraph("The lighthouse", "Title"),
        _paragraph(_run("Built in 1874") + _CHANGES),
        f"<w:sdt><w:sdtContent>{_paragraph('Written by Ada Morrow')}</w:sdtContent></w:sdt>",
        _paragraph("Oil", "Heading2"),
        _paragraph("whale oil", number=1),
        _paragraph("sperm whale", number=1, level=1),
        _paragraph("rape oil", number=1),
        _paragraph("fill the lamp", number=2),
        _paragraph("light it", number=2),
        f"<w:tbl>{_row('Year', 'Barrels')}{_row('1874', '3 | 4')}</w:tbl>",
        _paragraph("The end."),
    ]
)


def build_docx_picture(description):
    """Return the body of a Word document with one picture."""
    drawing = "http://schemas.openxmlformats.org/drawingml/2006"
    spaces = f'xmlns:wp="{drawing}/wordprocessingDrawing" xmlns:a="{drawing}/main" xmlns:pic="{drawing}/picture"'
    picture = '<pic:pic><pic:blipFill><a:blip r:embed="image"/></pic:blipFill></pic:pic>'
    return (
        f'<w:p><w:r><w:drawing {spaces} xmlns:r="{_LINKS}"><wp:inline><wp:docPr id="1" descr="{description}"/>'
        f"<a:graphic><a:graphicData>{picture}</a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>"
    )


def build_xlsx(*, formula=None):
    """Return a workbook with a visible and a hidden sheet; openpyxl stores no values of formulas."""
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Oil"
    sheet.append(["Month", "Barrels", "Paid"])
    sheet.append(["May 1874", 3, True])
    sheet.append(["June 1874", 4.5, None])
    sheet["D2"] = formula
    hidden = book.create_sheet("Notes")
    hidden.sheet_state = "hidden"
    hidden.append(["a | b"])
    output = BytesIO()
    book.save(output)
    return output.getvalue()


def build_pptx():
    """Return a presentation with a list, notes, a table and a chart."""
    import pptx
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    talk = pptx.Presentation()
    first = talk.slides.add_slide(talk.slide_layouts[1])
    first.shapes.title.text = "The lighthouse"
    first.placeholders[1].text = "built in 1874\nrepaired in 1901"
    first.placeholders[1].text_frame.paragraphs[1].level = 1
    first.notes_slide.notes_text_frame.text = "Speak slowly."
    second = talk.slides.add_slide(talk.slide_layouts[6])
    table = second.shapes.add_table(2, 2, 0, 0, 100, 100).table
    for index, text in enumerate(["Year", "Barrels", "1874", "3"]):
        table.cell(index // 2, index % 2).text = text
    figures = CategoryChartData()
    figures.categories = ["1874", "1875"]
    figures.add_series("Oil", (3, 4))
    second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 100, 100, figures)
    output = BytesIO()
    talk.save(output)
    return output.getvalue()


HTML = b"""<!DOCTYPE html><html><head><title>Oil</title><style>p{color:red}</style></head><body>
<nav><a href="/">Home</a></nav><article><h1>The lighthouse</h1>
<p>It was built in 1874 by the engineer Ada Morrow, and it burned oil of whales for thirty years.</p>
<h2>Oil</h2><table><tr><th>Year</th><th>Barrels</th></tr><tr><td>1874</td><td>3</td></tr></table>
<p>The keeper did this every evening:</p><ul><li>fill the lamp</li><li>light it</li></ul></article>
<script>track()</script><footer>All rights reserved</footer></body></html>"""

RTF = rb"""{\rtf1\ansi\ansicpg1252 {\fonttbl\f0 Times;}{\*\generator x;}The lighthouse caf\'e9\par
\trowd\cellx1000\cellx2000 Year\cell Barrels\cell\row\trowd\cellx1000\cellx2000 1874\cell 3\cell\row \u8364?}"""

ICS = b"""BEGIN:VCALENDAR\r
BEGIN:VTIMEZONE\r
TZID:Europe/Paris\r
END:VTIMEZONE\r
BEGIN:VEVENT\r
SUMMARY:Light the lamp\\, at dusk\r
DTSTART;TZID=Europe/Paris:18740501T190000\r
DTEND:18740502T050000Z\r
LOCATION:Cape\r
  Verran\r
ORGANIZER;CN="Morrow: A":mailto:ada@example.org\r
BEGIN:VALARM\r
DESCRIPTION:ring\r
END:VALARM\r
END:VEVENT\r
BEGIN:VTODO\r
SUMMARY:Order oil\r
DUE;VALUE=DATE:18740601\r
END:VTODO\r
END:VCALENDAR\r
"""


def build_eml(*, html=None):
    """Return a mail with an attachment; its text is plain unless ``html`` is given."""
    mail = EmailMessage()
    mail["From"] = "Ada Morrow <ada@example.org>"
    mail["To"] = "keeper@example.org"
    mail["Subject"] = "Öl"
    mail.set_content(html or "The oil is on its way.", subtype="html" if html else "plain")
    mail.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="bill.pdf")
    return mail.as_bytes()


def build_odf(kind, body, **members):
    """Return an OpenDocument file of a kind, "text" or "spreadsheet"."""
    spaces = " ".join(f'xmlns:{name}="{_ODF}:{name}:1.0"' for name in ("office", "text", "table"))
    content = (
        f"<office:document-content {spaces}><office:body><office:{kind}>{body}</office:{kind}></office:body>"
        "</office:document-content>"
    )
    files = {
        "mimetype": f"application/vnd.oasis.opendocument.{kind}",
        "META-INF/manifest.xml": "<manifest/>",
        "content.xml": content,
    }
    return build_zip(files | members)


_CELL = "<table:table-cell><text:p>{}</text:p></table:table-cell>"
ODT_BODY = f"""<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>
<text:h text:outline-level="1">The lighthouse</text:h>
<text:p>Built<text:s text:c="2"/>in<text:note><text:note-citation>1</text:note-citation><text:note-body>
<text:p>by Ada Morrow</text:p></text:note-body></text:note> 1874</text:p>
<text:list><text:list-item><text:p>whale oil</text:p><text:list><text:list-item><text:p>sperm whale</text:p>
</text:list-item></text:list></text:list-item></text:list>
<table:table><table:table-row>{_CELL.format("Year")}{_CELL.format("Barrels")}</table:table-row>
<table:table-row>{_CELL.format("1874")}{_CELL.format("3")}</table:table-row></table:table>"""
ODS_BODY = f"""<table:table table:name="Oil"><table:table-row>{_CELL.format("Year")}
<table:table-cell table:number-columns-repeated="2"><text:p>x</text:p></table:table-cell>
<table:table-cell table:number-columns-repeated="16000"/></table:table-row>
<table:table-row>{_CELL.format("1874")}</table:table-row>
<table:table-row table:number-rows-repeated="1048000"><table:table-cell/></table:table-row></table:table>"""


def build_epub(chapters=("<h1>One</h1><p>first</p>", "<h1>Two</h1><ol><li>a</li><li>b</li></ol>"), **members):
    """Return a book whose spine has the chapters in order, and whose archive has them in the other."""
    items = "".join(f'<item id="c{number}" href="c%20{number}.xhtml"/>' for number, _ in enumerate(chapters))
    spine = "".join(f'<itemref idref="c{number}"/>' for number, _ in enumerate(chapters))
    files = {
        f"OPS/c {number}.xhtml": f"<html><head><title>x</title></head><body>{text}</body></html>"
        for number, text in reversed([*enumerate(chapters)])
    }
    container = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>The lamp</dc:title><dc:creator>Ada Morrow</dc:creator></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    head = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "OPS/book.opf": package}
    return build_zip(head | files | members)


@cache
def build_documents():
    """Return a small document of each kind by the name of the kind."""
    return {
        "pdf": build_pdf("The lighthouse\nBuilt in 1874", "The end"),
        "docx": build_docx(),
        "xlsx": build_xlsx(),
        "pptx": build_pptx(),
        "html": HTML,
        "rtf": RTF,
        "odt": build_odf("text", ODT_BODY),
        "ods": build_odf("spreadsheet", ODS_BODY),
        "epub": build_epub(),
        "eml": build_eml(),
        "ics": ICS,
        "csv": "Year,Barrels\n1874,3\n".encode("utf-16"),
    }
