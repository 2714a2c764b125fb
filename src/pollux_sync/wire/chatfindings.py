"""What searches and image models leave in a Chat Completions answer: citations and images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.data.findings import AnswerFile, Citation
from pollux_sync.wire.fields import as_text, list_objects, read_count

if TYPE_CHECKING:
    from collections.abc import Mapping

_URL_CITATION = "url_citation"
#: How an image begins that is inside of its address.
_DATA_SCHEME = "data:"


def read_citations(body: Mapping[str, Any], message: Mapping[str, Any]) -> tuple[Citation, ...] | None:
    """Return the sources of an answer; None without any.

    OpenAI and OpenRouter annotate the message. Perplexity lists what it found beside the choices, xAI its addresses.
    """
    notes = list_objects(message.get("annotations"))
    if notes:
        return tuple(_read_note(note) for note in notes if note.get("type") == _URL_CITATION) or None
    found = list_objects(body.get("search_results"))
    if found:
        return tuple(_read_place(place) for place in found)
    addresses = body.get("citations") or message.get("citations")
    if not isinstance(addresses, list):
        return None
    return tuple(Citation(url=address) for address in addresses if isinstance(address, str)) or None


def _read_note(note: Mapping[str, Any]) -> Citation:
    place = note.get(_URL_CITATION)
    return _read_place(place if isinstance(place, dict) else note)


def _read_place(place: Mapping[str, Any]) -> Citation:
    return Citation(
        url=as_text(place.get("url")),
        title=as_text(place.get("title")),
        text=as_text(place.get("content")) or as_text(place.get("snippet")),
        start=read_count(place, "start_index"),
        end=read_count(place, "end_index"),
    )


def read_images(message: Mapping[str, Any]) -> tuple[AnswerFile, ...] | None:
    """Return the images of a message that are inside of it; None without any. OpenRouter lists them like this."""
    images = list_objects(message.get("images"))
    if not images:
        return None
    places = [image.get("image_url") for image in images]
    addresses = [as_text(place.get("url")) or "" for place in places if isinstance(place, dict)]
    inside = [address for address in addresses if address.startswith(_DATA_SCHEME) and ";base64," in address]
    return tuple(map(_read_image, inside)) or None


def _read_image(address: str) -> AnswerFile:
    head, _, data = address.removeprefix(_DATA_SCHEME).partition(",")
    return AnswerFile(mime_type=head.partition(";")[0] or None, data=data)
