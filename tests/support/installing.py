"""Installed distributions for tests: the metadata that `pip install` writes."""

from pathlib import Path


def install(
    folder: Path, name: str, version: str = "1.0", *, group: str = "pollux_sync.providers", **entries: str
) -> None:
    """Write ``NAME-VERSION.dist-info`` with one entry point for each ``entry="module:attribute"``."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{entry} = {value}" for entry, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
