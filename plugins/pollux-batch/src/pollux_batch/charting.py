"""Counts -> a chart of bars, as SVG inside a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_batch.markup import Html, build_element

if TYPE_CHECKING:
    from collections.abc import Sequence

#: In units of the drawing, which is scaled to the width of the page.
_HEIGHT = 150
_MAX_BAR = 40
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 10, 22


def draw_bars(title: str, values: Sequence[float], labels: Sequence[str], ends: tuple[str, str], *, width: int) -> Html:
    """Return a chart with a bar for each value. ``labels`` are shown under the pointer, ``ends`` below the axis."""
    top = max(values)
    step = (width - _LEFT - _RIGHT) / len(values)
    bars = [
        _draw_bar(_LEFT + index * step, step, value / top, f"{label}: {value:,.10g}")
        for index, (value, label) in enumerate(zip(values, labels, strict=True))
        if value
    ]
    floor = _HEIGHT - _BOTTOM
    lines = [_draw_line(y, width - _RIGHT) for y in (_TOP, (_TOP + floor) / 2, floor)]
    words = [
        _write(_LEFT - 6, _TOP + 4, "end", f"{top:,.4g}" if top < 1 else f"{top:,.0f}"),
        _write(_LEFT - 6, floor + 4, "end", "0"),
        _write(_LEFT, _HEIGHT - 5, "start", ends[0]),
        _write(width - _RIGHT, _HEIGHT - 5, "end", ends[1]),
    ]
    box = f"0 0 {width} {_HEIGHT}"
    return build_element("svg", *lines, *bars, *words, viewBox=box, role="img", aria_label=title)


def _draw_bar(x: float, width: float, share: float, label: str) -> Html:
    # A value that is not zero can be seen.
    height = max(share * (_HEIGHT - _TOP - _BOTTOM), 1.0)
    place = {"x": f"{x:.1f}", "y": f"{_HEIGHT - _BOTTOM - height:.1f}"}
    size = {"width": f"{min(max(width - 1, 0.5), _MAX_BAR):.1f}", "height": f"{height:.1f}"}
    return build_element("rect", build_element("title", label), **place, **size)


def _draw_line(y: float, end: float) -> Html:
    return build_element("line", x1=_LEFT, x2=end, y1=f"{y:.1f}", y2=f"{y:.1f}")


def _write(x: float, y: float, anchor: str, text: str) -> Html:
    return build_element("text", text, x=x, y=y, text_anchor=anchor)
