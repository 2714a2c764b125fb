"""What mkdocs does beside its plugins: the version, anchors of classes that have a table, links to the repository."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any, is_typeddict

import attrs

from fields import find_class
from pollux_sync import __version__

# mkdocs passes objects of its own, which are Any: the checks run without it.


def on_config(config: Any) -> Any:
    """Show the version beside the name of the site."""
    config.site_name = f"{config.site_name} {__version__}"
    return config


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Write for mkdocs what the pages write for GitHub, and give classes the anchors of their paths."""
    if page.file.src_uri.startswith("reference/"):
        markdown = re.sub(r"^#+ `(\w+)`$", _add_anchors, markdown, flags=re.MULTILINE)
    # GitHub wants a bar inside a cell's code escaped, and mkdocs would show the backslash.
    markdown = re.sub(r"^\|.*$", lambda row: row[0].replace(r"\|", "|"), markdown, flags=re.MULTILINE)
    folder = PurePosixPath("docs", page.file.src_uri).parent
    return re.sub(r"\]\((\.\./[^)]*)\)", lambda link: _lead_outside(link, folder, config.repo_url), markdown)


def _add_anchors(heading: re.Match[str]) -> str:
    """Return the heading of a class below the anchors by which signatures link to it."""
    cls = find_class(heading[1])
    if cls is None or not (attrs.has(cls) or is_typeddict(cls)):
        return heading[0]
    paths = dict.fromkeys((f"pollux_sync.{cls.__name__}", f"{cls.__module__}.{cls.__qualname__}"))
    return "".join(f"[](){{#{path}}}\n" for path in paths) + f"\n{heading[0]}"


def _lead_outside(link: re.Match[str], folder: PurePosixPath, repository: str) -> str:
    target = normpath(folder / link[1])
    return link[0] if target.startswith("docs/") else f"]({repository.rstrip('/')}/blob/main/{target})"
