"""What mkdocs does beside its plugins: the version, anchors of classes that have a table, links to the repository."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from posixpath import normpath
from typing import TYPE_CHECKING

import attrs

from fields import find_class
from pollux_sync import __version__

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show the version beside the name of the site."""
    config.site_name = f"{config.site_name} {__version__}"
    return config


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Give classes of the reference the anchors of their paths; lead links out of the docs to the repository."""
    del files
    if page.file.src_uri.startswith("reference/"):
        markdown = re.sub(r"^#+ `(\w+)`$", _add_anchors, markdown, flags=re.MULTILINE)
    folder = PurePosixPath("docs", page.file.src_uri).parent
    return re.sub(r"\]\((\.\./[^)]*)\)", lambda link: _lead_outside(link, folder, str(config.repo_url)), markdown)


def _lead_outside(link: re.Match[str], folder: PurePosixPath, repository: str) -> str:
    target = normpath(folder / link[1])
    return link[0] if target.startswith("docs/") else f"]({repository.rstrip('/')}/blob/main/{target})"


def _add_anchors(heading: re.Match[str]) -> str:
    cls = find_class(heading[1])
    if cls is None or not (attrs.has(cls) or hasattr(cls, "__total__")):
        return heading[0]
    paths = dict.fromkeys((f"pollux_sync.{cls.__name__}", f"{cls.__module__}.{cls.__qualname__}"))
    return "".join(f"[](){{#{path}}}\n" for path in paths) + f"\n{heading[0]}"
