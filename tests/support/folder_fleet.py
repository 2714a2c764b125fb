"""A fleet whose queue is a folder: each chunk is a file, each worker a process that takes the next one.

`python folder_fleet.py FOLDER` is a worker. It ends when nothing is left to do.
"""

import json
import sys
from pathlib import Path

from pollux_batch import FleetAnswer, FleetChunk, Limits, carry_out_chunk


class FolderFleet:
    """Chunks go from ``MARK.json`` over ``MARK.taken`` to ``MARK.answers``."""

    name = "folder"

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)

    def submit(self, chunk):
        if chunk.mark not in self.inspect([chunk.mark]):
            self.write(chunk.mark, "json", chunk.to_dict())

    def inspect(self, marks):
        states = {"json": "waiting", "taken": "running", "answers": "ended"}
        return {
            mark: state
            for mark in marks
            for suffix, state in states.items()
            if (self.folder / f"{mark}.{suffix}").exists()
        }

    def collect(self, mark):
        for row in json.loads((self.folder / f"{mark}.answers").read_text()):
            yield FleetAnswer.from_dict(row)

    def release(self, mark):
        (self.folder / f"{mark}.answers").unlink(missing_ok=True)

    def write(self, mark, suffix, content):
        draft = self.folder / f"{mark}.draft"
        draft.write_text(json.dumps(content))
        draft.rename(self.folder / f"{mark}.{suffix}")

    # In a worker

    def take(self):
        """Return the mark of the next chunk: one that waits, or one whose worker has died."""
        for path in sorted(self.folder.glob("*.json")):
            path.rename(path.with_suffix(".taken"))
            return path.stem
        return next((path.stem for path in sorted(self.folder.glob("*.taken"))), None)

    def work(self, config=None):
        """Carry out all chunks."""
        while (mark := self.take()) is not None:
            taken = self.folder / f"{mark}.taken"
            chunk = FleetChunk.from_dict(json.loads(taken.read_text()))
            answers = carry_out_chunk(
                chunk, journal=self.folder / f"{mark}.db", config=config, workers=8, limits=Limits(adaptive=False)
            )
            self.write(mark, "answers", [answer.to_dict() for answer in answers])
            taken.unlink()


if __name__ == "__main__":
    FolderFleet(sys.argv[1]).work()
