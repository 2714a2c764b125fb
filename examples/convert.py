"""Pass documents that a provider does not take: pollux-convert makes text of them, which `explain` shows.

It sends nothing, so it works unchanged for a real provider. OpenRouter takes the PDF as it is; a local server does not.
"""

from pathlib import Path

from pollux_sync import Config, Source, explain

DATA = Path("examples/data")
sources = [Source.from_file(DATA / name) for name in ("minutes.docx", "oil.xlsx", "invoice.pdf")]

openrouter = Config(provider="openrouter", model="any/model", api_key="made-up", plugins=["convert"])
local = Config(provider="local", model="any", base_url="http://127.0.0.1:8080/v1", plugins=["convert"])

for config in (openrouter, local):
    explanation = explain("Which offer fits the sum?", sources=sources, config=config)
    print(config.provider)
    for source in explanation.sources:
        print(f"  {source.identifier}: {source.converted_from or 'not converted'} -> {source.mime_type}")

body = explanation.requests[0].body or {}
print(body["messages"][0]["content"][:140])

# prints:
# openrouter
#   examples/data/minutes.docx: application/vnd.openxmlformats-officedocument.wordprocessingml.document -> text/markdown
#   examples/data/oil.xlsx: application/vnd.openxmlformats-officedocument.spreadsheetml.sheet -> text/markdown
#   examples/data/invoice.pdf: not converted -> application/pdf
# local
#   examples/data/minutes.docx: application/vnd.openxmlformats-officedocument.wordprocessingml.document -> text/markdown
#   examples/data/oil.xlsx: application/vnd.openxmlformats-officedocument.spreadsheetml.sheet -> text/markdown
#   examples/data/invoice.pdf: application/pdf -> text/markdown
# <source name="examples/data/minutes.docx">
# # Minutes of the harbour board
#
# Cape Verran, 4 May 1874. Present: Ada Morrow, engineer; Tom Hale,
