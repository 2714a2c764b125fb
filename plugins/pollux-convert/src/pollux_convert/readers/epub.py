"""EPUB books: the chapters in reading order."""

from __future__ import annotations

from pathlib import PurePosixPath
from posixpath import normpath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pollux_convert import archives, markup
from pollux_convert.markdown import squeeze
from pollux_convert.tasks import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element
    from zipfile import ZipFile

    from pollux_convert.tasks import Task

_DC = "{http://purl.org/dc/elements/1.1/}"
_ENCRYPTION = "META-INF/encryption.xml"


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the title and the author, then the chapters."""
    with archives.open_archive(data) as archive:
        path = _find_package(archive)
        package = archives.parse_xml(archive.read(path), path)
        for name, label in (("title", "Title"), ("creator", "Author")):
            yield from (f"{label}: {squeeze(one.text)}" for one in package.iter(f"{_DC}{name}") if one.text)
        chapters = [*_list_chapters(package, PurePosixPath(path).parent)]
        _refuse_encrypted(archive, chapters)
        for chapter in chapters:
            yield from markup.iter_blocks(archive.read(chapter).decode("utf-8-sig", "replace"))


def _find_package(archive: ZipFile) -> str:
    container = "META-INF/container.xml"
    root = archives.parse_xml(archive.read(container), container)
    return next(path for one in root.iter() if (path := one.get("full-path")))


def _list_chapters(package: Element, folder: PurePosixPath) -> Iterator[str]:
    files = {item.get("id"): item.get("href", "") for item in package.iter() if item.tag.endswith("}item")}
    for reference in package.iter():
        if reference.tag.endswith("}itemref"):
            yield normpath(str(folder / unquote(files[reference.get("idref")])))


def _refuse_encrypted(archive: ZipFile, chapters: list[str]) -> None:
    # Most such lists name fonts alone.
    if _ENCRYPTION in archive.namelist():
        listed = {one.get("URI") for one in archives.parse_xml(archive.read(_ENCRYPTION), _ENCRYPTION).iter()}
        if not listed.isdisjoint(chapters):
            raise ReadError("it is encrypted", hint="use a copy without copy protection")
