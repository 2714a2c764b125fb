"""Images, PDFs, addresses, papers and videos as sources: files are uploaded and deleted, the rest goes by address.

To ask a real provider: leave use_mock and plugins out and set GEMINI_API_KEY, whose provider takes all of these.
"""

from pathlib import Path

from pollux_sync import Config, Source, run_many
from pollux_sync.testing import Script

DATA = Path(__file__).parent / "data"

sources = [
    Source.from_file(DATA / "square.png"),
    Source.from_file(DATA / "invoice.pdf"),
    Source.from_uri("https://example.org/chart.png", mime_type="image/png"),
    Source.from_uri("gs://bucket/talk.mp3", mime_type="audio/mpeg"),
    Source.from_arxiv("1706.03762"),
    Source.from_youtube("https://youtu.be/9hE5-98ZeCg").with_gemini_video_settings(end_offset="90s", fps=0.5),
]
model = Script("A square, an invoice, a chart, a talk, a paper and a film.")
config = Config(provider="gemini", model="gemini-2.5-flash", use_mock=True, plugins=[model])
result = run_many("What is all this?", sources=sources, config=config)

print(result["answers"][0])
for source, part in zip(sources, model.requests[0]["parts"], strict=True):
    print(source.mime_type, part)
print(sources[-1].gemini_video_settings_for("gemini"))

# prints:
# A square, an invoice, a chart, a talk, a paper and a film.
# image/png {'asset': 'mock://uploaded/square.png'}
# application/pdf {'asset': 'mock://uploaded/invoice.pdf'}
# image/png {'uri': 'https://example.org/chart.png'}
# audio/mpeg {'uri': 'gs://bucket/talk.mp3'}
# application/pdf {'uri': 'https://arxiv.org/pdf/1706.03762.pdf'}
# video/mp4 {'uri': 'https://youtu.be/9hE5-98ZeCg'}
# {'end_offset': '90s', 'fps': 0.5}
