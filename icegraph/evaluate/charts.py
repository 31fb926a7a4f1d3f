"""The report's charts, as SVG that takes its colours and letters from the page: crisp on paper, right in light and dark.

Every chart carries its own description for those who cannot see it.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from pyproj import Transformer

from icegraph.grid import NORTH, SOUTH

Points = Sequence[tuple[float, float]]
_WIDE, _HIGH = 460.0, 270.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 14.0, 16.0, 44.0


def line_chart(series: Mapping[str, Points], *, x_name: str, label: str) -> Markup:
    """Lines over a common x axis, each told by name at its end colour."""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    frame = _Frame((min(xs), max(xs)), (min(0.0, *ys) if min(ys) < 0.5 * max(ys) else min(ys), max(ys)))
    parts = [frame.axes(x_name, "", whole_x=True)]
    for number, (name, points) in enumerate(series.items()):
        path = " ".join(f"{frame.right(x):.1f},{frame.down(y):.1f}" for x, y in points)
        parts.append(Markup('<polyline class="line s{}" points="{}"><title>{}</title></polyline>').format(number % 4, path, name))
    legend = Markup().join(
        Markup('<tspan class="s{}" dx="{}">●</tspan><tspan dx="4">{}</tspan>').format(n % 4, 0 if n == 0 else 12, name)
        for n, name in enumerate(series)
    )
    parts.append(Markup('<text class="legend" x="{}" y="11">{}</text>').format(_LEFT, legend))
    return _svg(label, parts)


def step_chart(steps: Mapping[str, Mapping[str, Sequence[float]]], *, label: str) -> Markup:
    """Steps in dB by the seam they are at: seam → kind of step → one value a pass; a dot each, kinds side by side."""
    kinds = list(dict.fromkeys(kind for values in steps.values() for kind in values))
    every = [value for values in steps.values() for some in values.values() for value in some]
    frame = _Frame((-0.5, len(steps) - 0.5), (min(-0.2, *every), max(0.2, *every)))
    parts = [frame.axes("", "step, dB", x_names=list(steps))]
    parts.append(Markup('<line class="axis" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, _WIDE - _RIGHT, *2 * [frame.down(0)]))
    for place, (seam, values) in enumerate(steps.items()):
        for number, kind in enumerate(kinds):
            x = frame.right(place + 0.3 * (number - (len(kinds) - 1) / 2))
            for value in values.get(kind, ()):
                dot = Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="3.4"><title>{}, {}: {:+.2f} dB</title></circle>')
                parts.append(dot.format((number + 1) % 2, x, frame.down(value), seam, kind, value))
    legend = Markup().join(
        Markup('<tspan class="s{}" dx="{}">●</tspan><tspan dx="4">{}</tspan>').format((n + 1) % 2, 0 if n == 0 else 12, kind)
        for n, kind in enumerate(kinds)
    )
    parts.append(Markup('<text class="legend" x="{}" y="11">{}</text>').format(_LEFT, legend))
    return _svg(label, parts)


def bar_chart(edges: NDArray[np.float64], counts: NDArray[np.int64], *, x_name: str, y_name: str, label: str) -> Markup:
    """A histogram: bars between `edges` [N + 1] with heights `counts` [N]."""
    frame = _Frame((float(edges[0]), float(edges[-1])), (0.0, float(max(counts.max(), 1))))
    bars = [
        Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{:.3g} to {:.3g}: {}</title></rect>').format(
            frame.right(a) + 0.5, frame.down(n), max(frame.right(b) - frame.right(a) - 1, 0.5), frame.down(0) - frame.down(n), a, b, int(n)
        )
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return _svg(label, [frame.axes(x_name, y_name), *bars])


def size_chart(diameter_km: NDArray[np.float64], least_km: float, exponent: float | None, *, label: str) -> Markup:
    """How many floes are larger than a diameter, both axes logarithmic; a power law is a straight line (Rothrock & Thorndike 1984)."""
    d = np.sort(diameter_km)
    number = np.arange(len(d), 0, -1)
    frame = _Frame((math.log10(d[0]), math.log10(d[-1])), (0.0, math.log10(len(d))), logarithmic=True)
    step = np.unique(np.linspace(0, len(d) - 1, 160).astype(int))
    dots = [
        Markup('<circle class="dot s0" cx="{:.1f}" cy="{:.1f}" r="2.6"/>').format(
            frame.right(math.log10(d[i])), frame.down(math.log10(number[i]))
        )
        for i in step
    ]
    law = []
    if exponent is not None:
        above = int((d >= least_km).sum())
        ends = [(math.log10(least_km), math.log10(above)), (math.log10(d[-1]), math.log10(above) - exponent * math.log10(d[-1] / least_km))]
        points = " ".join(f"{frame.right(x):.1f},{frame.down(max(y, 0.0) if i else y):.1f}" for i, (x, y) in enumerate(_clip_low(ends)))
        law = [Markup('<polyline class="line s1 dashed" points="{}"/>').format(points)]
    return _svg(label, [frame.axes("diameter of a floe, km", "floes that are larger"), *dots, *law])


def power_law(diameter: NDArray[np.float64], least: float) -> float | None:
    """Exponent a of N(larger than d) ∝ d⁻ᵃ above `least`; None for fewer than 20 floes.

    Maximum likelihood: Clauset et al. 2009, doi:10.1137/070710111, equation 3.1, less one for the cumulative number.
    """
    large = diameter[diameter >= least]
    total = float(np.log(large / least).sum())
    return len(large) / total if len(large) >= 20 and total > 0 else None


def rose(direction_deg: NDArray[np.float64], *, label: str) -> Markup:
    """How often drift goes where: sectors of 22.5 degrees; directions are clockwise from true north, towards which the ice goes."""
    counts = np.bincount((np.round(direction_deg / 22.5).astype(int)) % 16, minlength=16)
    most = max(int(counts.max()), 1)
    radius = 105.0
    parts = [Markup('<circle class="grid" r="{:.1f}"/>').format(radius * f) for f in (1 / 3, 2 / 3, 1)]
    for sector, count in enumerate(counts.tolist()):
        r = radius * math.sqrt(count / most)  # area, not length, is what the eye reads
        a, b = (math.radians(22.5 * sector + s * 10.2) for s in (-1, 1))
        corners = f"M0 0L{r * math.sin(a):.1f} {-r * math.cos(a):.1f}A{r:.1f} {r:.1f} 0 0 1 {r * math.sin(b):.1f} {-r * math.cos(b):.1f}z"
        if count:
            parts.append(Markup('<path class="bar" d="{}"><title>{}: {}</title></path>').format(corners, compass(22.5 * sector), count))
    for name, x, y in (("N", 0, -113), ("E", 117, 4), ("S", 0, 122), ("W", -117, 4)):
        parts.append(Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(x, y, name))
    return Markup('<svg class="chart" viewBox="-230 -130 460 262" role="img" aria-label="{}">{}</svg>').format(label, Markup().join(parts))


def compass(degrees: float) -> str:
    """The name of a direction, clockwise from north."""
    names = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
    return names[round(degrees / 22.5) % 16]


def polar_sketch(footprints: Sequence[Sequence[tuple[float, float]]], *, label: str) -> Markup:
    """Where the passes lie: outlines (longitude, latitude) on a polar graticule of the hemisphere that they are in."""
    lats = np.array([lat for outline in footprints for _, lat in outline])
    south = float(lats.mean()) < 0
    project = Transformer.from_crs("EPSG:4326", SOUTH if south else NORTH, always_xy=True)
    rim = max(30, math.floor(float(np.abs(lats).min()) / 10) * 10 - 10)
    sign = -1 if south else 1
    edge = math.hypot(*project.transform(0.0, sign * float(rim)))
    scale = 118.0 / edge
    parts = [Markup('<circle class="sea" r="118"/>')]
    for lat in range(rim, 90, 10):
        radius = math.hypot(*project.transform(0.0, sign * float(lat))) * scale
        parts.append(Markup('<circle class="grid" r="{:.1f}"/>').format(radius))
        if lat > rim:
            parts.append(Markup('<text class="tiny" x="3" y="{:.1f}">{}°</text>').format(-radius - 2, lat))
    for lon in range(-180, 180, 30):
        x, y = project.transform(float(lon), sign * float(rim))
        u, v = x / edge, -y / edge
        parts.append(Markup('<line class="grid" x2="{:.1f}" y2="{:.1f}"/>').format(118 * u, 118 * v))
        name = "0°" if lon == 0 else "180°" if lon == -180 else f"{abs(lon)}°{'E' if lon > 0 else 'W'}"
        parts.append(Markup('<text class="tiny" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(130 * u, 128 * v + 3, name))
    for outline in footprints:
        x, y = project.transform(*np.array(outline).T)
        points = " ".join(f"{a * scale:.2f},{-b * scale:.2f}" for a, b in zip(x, y, strict=True))
        parts.append(Markup('<polygon class="footprint" points="{}"/>').format(points))
    cx, cy = np.mean([project.transform(*p) for outline in footprints for p in outline], axis=0) * scale
    parts.append(Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="9"/>').format(cx, -cy))
    return Markup('<svg class="chart" viewBox="-150 -142 300 284" role="img" aria-label="{}">{}</svg>').format(label, Markup().join(parts))


def timeline(passes: Sequence[tuple[str, datetime, str]], *, label: str) -> Markup:
    """When the passes were: (id, time, sensor) on one axis of time."""
    times = [time for _, time, _ in passes]
    several = len({sensor for _, _, sensor in passes}) > 1
    first, last = min(times), max(times)
    span = max((last - first).total_seconds(), 3600.0)
    right = [40 + 680 * (time - first).total_seconds() / span if last > first else 380.0 for time in times]
    parts = [Markup('<line class="axis" x1="24" x2="736" y1="34" y2="34"/>')]
    for (name, time, sensor), x in zip(passes, right, strict=True):
        shape = Markup('<circle class="dot {}" cx="{:.1f}" cy="{}" r="5.5"><title>{} · {:%d %b %Y %H:%M} UTC</title></circle>')
        down = 34 if not several else 28 if sensor == "sar" else 40
        parts.append(shape.format("s0" if sensor == "sar" else "s1", x, down, name, time))
    if last > first:
        days = span / 86400
        step = timedelta(days=max(1, math.ceil(days / 7))) if days > 2 else timedelta(hours=max(1, math.ceil(days * 24 / 7)))
        ticks, floor = [], first.replace(hour=0, minute=0, second=0, microsecond=0)
        while floor <= last:
            ticks += [floor] if floor >= first else []
            floor += step
    else:
        ticks = [first]
    for time in ticks:
        x = 40 + 680 * (time - first).total_seconds() / span if last > first else 380.0
        text = f"{time:%d %b}" if time.hour == 0 else f"{time:%d %b %H:%M}"
        parts.append(
            Markup('<path class="axis" d="M{:.1f} 46v5"/><text x="{:.1f}" y="64" text-anchor="middle">{}</text>').format(x, x, text)
        )
    return Markup('<svg class="chart timeline" viewBox="0 14 760 58" role="img" aria-label="{}">{}</svg>').format(
        label, Markup().join(parts)
    )


class _Frame:
    """The plot's rectangle: values to units, axes with ticks."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], *, logarithmic: bool = False) -> None:
        self.x = x if x[1] > x[0] else (x[0] - 0.5, x[0] + 0.5)
        self.y = y if y[1] > y[0] else (y[0] - 0.5, y[0] + 0.5)
        self.logarithmic = logarithmic

    def right(self, x: float) -> float:
        return _LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (_WIDE - _LEFT - _RIGHT)

    def down(self, y: float) -> float:
        return _HIGH - _BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (_HIGH - _TOP - _BOTTOM - 6)

    def axes(self, x_name: str, y_name: str, *, whole_x: bool = False, x_names: Sequence[str] = ()) -> Markup:
        parts = []
        for value, text in self._ticks(self.y):
            parts.append(
                Markup(
                    '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
                ).format(_LEFT, _WIDE - _RIGHT, self.down(value), self.down(value), _LEFT - 7, self.down(value) + 4, text)
            )
        for value, text in enumerate(x_names) if x_names else self._ticks(self.x):
            if whole_x and value != round(value):
                continue
            x = self.right(value)
            parts.append(
                Markup('<path class="axis" d="M{:.1f} {}v5"/><text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                    x, _HIGH - _BOTTOM, x, _HIGH - _BOTTOM + 18, text
                )
            )
        base = _HIGH - _BOTTOM
        parts.append(Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _WIDE - _RIGHT, base, base))
        middle = (_LEFT + _WIDE - _RIGHT) / 2
        parts.append(Markup('<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>').format(middle, _HIGH - 6, x_name))
        if y_name:
            at = (_TOP + base) / 2
            parts.append(
                Markup('<text class="name" transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>').format(at, y_name)
            )
        return Markup().join(parts)

    def _ticks(self, ends: tuple[float, float]) -> list[tuple[float, str]]:
        if self.logarithmic:
            values = [(math.log10(m) + n, m * 10.0**n) for n in range(math.floor(ends[0]), math.ceil(ends[1]) + 1) for m in (1, 2, 5)]
            inside = [(at, value) for at, value in values if ends[0] - 1e-9 <= at <= ends[1] + 1e-9]
            if len(inside) > 6:
                inside = [(at, value) for at, value in inside if f"{value:e}"[0] == "1"]
            return [(at, f"{value:g}") for at, value in inside]
        raw = (ends[1] - ends[0]) / 4.5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
        return [(n * step, f"{n * step:g}") for n in range(math.ceil(ends[0] / step - 1e-9), math.floor(ends[1] / step + 1e-9) + 1)]


def _svg(label: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDE, _HIGH, label, Markup().join(parts)
    )


def _clip_low(ends: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The part of a falling line above zero."""
    (x0, y0), (x1, y1) = ends
    if y1 < 0 < y0:
        x1, y1 = x0 + (x1 - x0) * y0 / (y0 - y1), 0.0
    return [(x0, y0), (x1, y1)]
