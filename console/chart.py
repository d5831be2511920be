"""Charts as inline SVG. The numbers stand in a table beside them for screen readers (macro `chart`)."""

from collections.abc import Sequence

import msgspec

WIDTH, HEIGHT = 716.0, 170.0
GRID_LINES = 3


class Bar(msgspec.Struct, frozen=True):
    """A rectangle of a bar chart; `series` counts from 0."""

    x: float
    y: float
    width: float
    height: float
    series: int
    index: int


class Tick(msgspec.Struct, frozen=True):
    """A text below the chart."""

    x: float
    text: str
    anchor: str


class BarChart(msgspec.Struct, frozen=True):
    """Everything that the macro draws. `grid` holds the height and the value of each line."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    grid: tuple[tuple[float, float], ...]


def ceiling(value: float) -> float:
    """A number at or above the value, for the top of the scale, whose thirds are round."""
    if value <= 3:
        return 3.0
    size = 10.0 ** (len(str(int(value))) - 1)
    return next(step * size for step in (1.2, 1.5, 1.8, 2.4, 3.0, 4.5, 6.0, 7.5, 9.0, 12.0) if step * size >= value)


def bars(rows: Sequence[tuple[str, Sequence[float]]], ticks: int = 4) -> BarChart:
    """Bars side by side: each row is a label with one value of each series. `ticks` labels are written below."""
    top = ceiling(max((max(values, default=0) for _, values in rows), default=0))
    slot = WIDTH / max(1, len(rows))
    width = slot * 0.82 / max(1, len(rows[0][1]) if rows else 1)
    drawn = []
    for index, (_, values) in enumerate(rows):
        for number, value in enumerate(values):
            height = max(0.0, value) / top * (HEIGHT - 8)
            left = index * slot + slot * 0.09 + number * width
            drawn.append(Bar(round(left, 1), round(HEIGHT - height, 1), round(width * 0.9, 1), round(height, 1), number, index))
    grid = tuple((round(HEIGHT - (HEIGHT - 8) * part / GRID_LINES, 1), top * part / GRID_LINES) for part in range(1, GRID_LINES + 1))
    return BarChart(tuple(drawn), _ticks([label for label, _ in rows], slot, ticks), grid)


def _ticks(labels: Sequence[str], slot: float, wanted: int) -> tuple[Tick, ...]:
    if not labels:
        return ()
    last = len(labels) - 1
    places = sorted({round(last * part / max(1, wanted - 1)) for part in range(wanted)})
    anchors = {0: "start", last: "end"} if last else {0: "start"}
    edge = {"start": 0.0, "middle": slot / 2, "end": slot}
    return tuple(Tick(round(at * slot + edge[anchors.get(at, "middle")], 1), labels[at], anchors.get(at, "middle")) for at in places)


def line(values: Sequence[float]) -> str:
    """The points of a spark line in a box of 100 × 34, highest value on top; empty for fewer than two values."""
    if len(values) < 2:
        return ""
    top = max(1, *values)
    step = 100 / (len(values) - 1)
    return " ".join(f"{index * step:.1f},{32 - value / top * 28:.1f}" for index, value in enumerate(values))
