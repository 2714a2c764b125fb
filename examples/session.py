"""A session: one client for many calls, and a file that is uploaded once and deleted at the end.

To ask a real provider: leave use_mock and plugins out and set OPENAI_API_KEY.
"""

from pathlib import Path

from pollux_sync import Config, Options, Session, Source, hookimpl
from pollux_sync.plugin import Event, FileUploaded, UploadDeleted


class FilePrinter:
    """An observer that prints uploads and deletions."""

    @hookimpl
    def pollux_event(self, event: Event) -> None:
        if isinstance(event, FileUploaded):
            print(f"uploaded {Path(event.identifier).name}")
        if isinstance(event, UploadDeleted):
            print("deleted")


config = Config(provider="openai", model="gpt-5-mini", use_mock=True, plugins=[FilePrinter()])
square = Source.from_file(Path(__file__).parent / "data" / "square.png")

with Session(config, options=Options(temperature=0)) as session:
    print(session.run("What is in the picture?", source=square)["answers"][0])
    print(session.run_many(["Which colour?", "How large?"], sources=[square])["answers"])
    for text in session.stream("Describe it.", source=square).text_chunks:
        print(text, end="")
    print()

# prints:
# uploaded square.png
# echo: What is in the picture?
# ['echo: Which colour?', 'echo: How large?']
# echo: Describe it.
# deleted
