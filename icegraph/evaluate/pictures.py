"""Pictures of passes: a small WebP of the scene, and floes, tracks, arrows and ellipses drawn over it as SVG.

Every map is 1000 units wide, whatever the scene's size. Rasters are read at the picture's resolution, through the overviews of their
files, so that a scene larger than memory costs no more than a small one. A picture is embedded once; other maps refer to it.
"""

import base64
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from markupsafe import Markup
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from icegraph.grid import Grid
from icegraph.scene import Scene
from icegraph.track.forecast import radius

WIDTH = 1000.0
_ICE_RAMP = np.array([[6, 20, 38], [22, 62, 94], [74, 123, 155], [158, 193, 210], [240, 247, 250]], float)  # dark water to bright ice
_RADIUS_68, _RADIUS_95 = radius(0.68), radius(0.95)


@dataclass(frozen=True)
class Map:
    """A scene as a map of 1000 units' width.

    Args:
        key: Id of its embedded picture in the page.
        grid: The scene's grid.
        height: Units.
        uri: The picture as a `data:` address.
        alt: What the picture shows, in words.
    """

    key: str
    grid: Grid
    height: float
    uri: str
    alt: str

    @property
    def unit_m(self) -> float:
        """Metres a unit."""
        return self.grid.pixel_m * self.grid.width / WIDTH

    def place(self, x: NDArray[np.float64], y: NDArray[np.float64], crs: str = "") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Units right and down of points in metres of `crs` (default: the grid's own)."""
        if crs and crs != self.grid.crs:
            x, y = Transformer.from_crs(crs, self.grid.crs, always_xy=True).transform(x, y)
        row, col = self.grid.rowcol(x, y)
        return (col + 0.5) * WIDTH / self.grid.width, (row + 0.5) * WIDTH / self.grid.width

    def north(self) -> tuple[float, float]:
        """Direction of true north at the middle, as a unit vector right and down."""
        x, y = self.grid.xy(np.array([self.grid.height / 2]), np.array([self.grid.width / 2]))
        lon, lat = self.grid.lonlat(x, y)
        back = Transformer.from_crs("EPSG:4326", self.grid.crs, always_xy=True)
        x2, y2 = back.transform(lon, np.clip(lat + 0.05, -89.99, 89.99))
        (r1, r2), (d1, d2) = (np.concatenate(pair) for pair in zip(self.place(x, y), self.place(x2, y2), strict=True))
        length = math.hypot(r2 - r1, d2 - d1) or 1.0
        return (r2 - r1) / length, (d2 - d1) / length


def picture_map(scene: Scene, key: str, longest: int) -> Map:
    """Read a scene at most `longest` pixels wide or high, and make its map."""
    grid = scene.grid
    shrink = min(1.0, longest / max(grid.shape))
    shape = (max(1, round(grid.height * shrink)), max(1, round(grid.width * shrink)))
    bands = set(scene.bands)
    if {"red", "green", "blue"} <= bands:
        colour, what = _true_colour(*(_read(scene, b, shape) for b in ("red", "green", "blue"))), "true colour"
    else:
        names = [b for b in ("hh_db", "vv_db", "hv_db", "vh_db") if b in bands] or scene.bands[:1]
        name = names[0]
        colour, what = _ice_colour(_stretch(_read(scene, name, shape))), f"{name.removesuffix('_db').upper()} backscatter in decibels"
        cross = next((b for b in names[1:] if b in ("hv_db", "vh_db")), None)
        if cross:
            colour, what = (
                _two_polarisations(_stretch(_read(scene, name, shape)), _stretch(_read(scene, cross, shape))),
                f"{what}, with {cross[:2].upper()}",
            )
    valid = _read(scene, "valid", shape, Resampling.nearest) > 0
    image = np.dstack([colour, np.where(valid, 255, 0).astype(np.uint8)])
    alt = f"Pass {scene.id}, {scene.time:%d %B %Y %H:%M} UTC, {what}"
    return Map(key, grid, WIDTH * grid.height / grid.width, _webp(image), alt)


def outlines(labels: Path, view: Map, most: int) -> tuple[dict[int, str], int]:
    """Outlines of the `most` largest floes of a label raster, and how many are left out.

    The outlines are SVG paths by floe id, in units of the map, the largest first.
    """
    import shapely
    from rasterio.features import shapes
    from shapely.geometry import shape as to_shape

    across = min(1200, view.grid.width)
    size = (max(1, round(across * view.grid.height / view.grid.width)), across)
    with rasterio.open(labels, driver="GTiff") as dataset:
        block = dataset.read(1, out_shape=size, resampling=Resampling.nearest).astype(np.int32)
    pieces: dict[int, list[Any]] = {}
    for geometry, value in shapes(block, mask=block > 0, connectivity=8):
        pieces.setdefault(int(value), []).append(to_shape(geometry))
    whole = {floe: shapely.union_all(parts) if len(parts) > 1 else parts[0] for floe, parts in pieces.items()}
    order = sorted(whole, key=lambda floe: (-whole[floe].area, floe))
    factor = WIDTH / across
    paths = {floe: _path(shapely.simplify(whole[floe], 0.7), factor) for floe in order[:most]}
    return paths, max(len(order) - most, 0)


def track_colour(track: int) -> str:
    """A colour for a track, of even lightness; consecutive ids are far apart in hue. 0, which is no track, is white."""
    if not track:
        return "#ffffff"
    hue = math.radians(track * 137.508 % 360)
    return _oklch_hex(0.80, 0.135, hue)


def draw_map(view: Map, layers: Iterable[Markup], *, embed: bool, label: str, text: float = 15, dim: float = 0.0) -> Markup:
    """Put layers over a map's picture, with scale bar and north arrow.

    Args:
        view: The map.
        layers: SVG groups, bottom first.
        embed: Whether the picture is put in here; else the one embedded elsewhere in the page is shown.
        label: What the figure shows, for those who cannot see it.
        text: Size of letters, units.
        dim: How far the picture is darkened, 0..1.
    """
    box = Markup('width="1000" height="{:.1f}"').format(view.height)
    picture = Markup('<image id="{}" {} href="{}" preserveAspectRatio="none"/>').format(view.key, box, view.uri)
    if not embed:
        picture = Markup('<use href="#{}"/>').format(view.key)
    shade = Markup('<rect {} fill="#04121c" opacity="{:.2f}"/>').format(box, dim) if dim else Markup()
    return Markup('<svg class="map" viewBox="0 0 1000 {:.1f}" role="img" aria-label="{}">{}{}{}{}</svg>').format(
        view.height, label, picture, shade, Markup().join(layers), _furniture(view, text)
    )


def outline_layer(paths: Mapping[int, str], track_of: Mapping[int, int], names: Mapping[int, str]) -> Markup:
    """Outlines, filled faintly in the colour of their track; floes without a track are white."""
    parts = []
    for floe, path in paths.items():
        track = track_of.get(floe)
        style = Markup('class="alone"') if track is None else Markup('class="floe" style="--c:{}"').format(track_colour(track))
        parts.append(Markup('<path {} d="{}"><title>{}</title></path>').format(style, path, names.get(floe, f"floe {floe}")))
    return Markup('<g class="outlines">{}</g>').format(Markup().join(parts))


def track_layer(view: Map, sightings: pd.DataFrame, crs: str) -> Markup:
    """A line with dots through the places of each track; the less sure its matches, the fainter."""
    right, down = view.place(sightings["x"].to_numpy(float), sightings["y"].to_numpy(float), crs)
    confidence = sightings["confidence"].to_numpy(float)
    parts = []
    for track, rows in sightings.reset_index(drop=True).groupby("track_id").groups.items():
        points = " ".join(f"{right[i]:.1f},{down[i]:.1f}" for i in rows)
        dots = Markup().join(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.4"/>').format(right[i], down[i]) for i in rows)
        parts.append(
            Markup('<g style="--c:{};opacity:{:.2f}"><polyline points="{}"/>{}</g>').format(
                track_colour(int(track)), 0.15 + 0.85 * float(confidence[rows].min()), points, dots
            )
        )
    return Markup('<g class="tracks">{}</g>').format(Markup().join(parts))


def arrow_layer(view: Map, drift: pd.DataFrame, crs: str, text: float = 15) -> Markup:
    """Arrows of velocity (x, y, u, v, track_id, confidence), with a key arrow; a middling one is 45 units long. Track 0 is white."""
    speed = np.hypot(drift["u"].to_numpy(float), drift["v"].to_numpy(float))
    usual = float(np.median(speed)) if len(speed) else 0.0
    if usual <= 0:
        return Markup()
    x, y = drift["x"].to_numpy(float), drift["y"].to_numpy(float)
    length = 45 / usual
    step_m = 1000.0  # a short way along the velocity gives its direction on the map, whatever the projection
    right, down = view.place(x, y, crs)
    ahead, below = view.place(x + step_m * drift["u"] / np.maximum(speed, 1e-9), y + step_m * drift["v"] / np.maximum(speed, 1e-9), crs)
    way = np.column_stack([ahead - right, below - down])
    way = way / np.maximum(np.hypot(*way.T), 1e-9)[:, None] * np.minimum(speed * length, 110)[:, None]
    arrows = [
        _arrow(r, d, float(dr), float(dd), Markup('style="--c:{};opacity:{:.2f}"').format(track_colour(int(track)), 0.3 + 0.7 * sure))
        for r, d, (dr, dd), track, sure in zip(right, down, way, drift["track_id"], drift["confidence"].astype(float), strict=True)
        if math.hypot(dr, dd) > 1
    ]
    nice = nice_below(1.8 * usual)
    box = Markup('<rect class="plate" x="14" y="14" width="{:.0f}" height="{:.0f}" rx="6"/>').format(nice * length + 30, 2.9 * text)
    words = Markup('<text x="29" y="{:.1f}" font-size="{}">{:g} m/s</text>').format(14 + 2.4 * text, text, nice)
    key = Markup('<g class="key">{}{}{}</g>').format(
        box, _arrow(29, 14 + 0.9 * text, nice * length, 0.0, Markup('style="--c:#fff"')), words
    )
    return Markup('<g class="arrows">{}</g>{}').format(Markup().join(arrows), key)


def forecast_layer(view: Map, forecast: pd.DataFrame, start: pd.DataFrame, crs: str) -> Markup:
    """Forecast places with their 68 % and 95 % ellipses, joined to the last sighting of their track (`start`: track_id, x, y)."""
    right, down = view.place(forecast["x"].to_numpy(float), forecast["y"].to_numpy(float), crs)
    from_right, from_down = view.place(start["x"].to_numpy(float), start["y"].to_numpy(float), crs)
    begin = {int(t): (r, d) for t, r, d in zip(start["track_id"], from_right, from_down, strict=True)}
    turn = _turn(view, forecast, crs)
    parts = []
    for number, row in enumerate(forecast.itertuples(index=False)):
        a, b = float(row.sigma_major_m) / view.unit_m, float(row.sigma_minor_m) / view.unit_m
        place = f'cx="{right[number]:.1f}" cy="{down[number]:.1f}"'
        rotate = f'transform="rotate({-float(row.angle_deg) + turn:.1f} {right[number]:.1f} {down[number]:.1f})"'
        ellipses = "".join(
            f'<ellipse class="{name}" {place} rx="{k * a:.1f}" ry="{k * b:.1f}" {rotate}/>'
            for name, k in (("p95", _RADIUS_95), ("p68", _RADIUS_68))
        )
        line = ""
        if int(row.track_id) in begin:
            r, d = begin[int(row.track_id)]
            line = f'<line x1="{r:.1f}" y1="{d:.1f}" x2="{right[number]:.1f}" y2="{down[number]:.1f}"/>'
            line += f'<circle class="last" cx="{r:.1f}" cy="{d:.1f}" r="3"/>'
        parts.append(f'<g style="--c:{track_colour(int(row.track_id))}">{ellipses}{line}<circle {place} r="3"/></g>')
    return Markup('<g class="forecast">{}</g>').format(Markup("".join(parts)))  # noqa: S704 - numbers only


def thinned(right: NDArray[np.float64], down: NDArray[np.float64], cell: float) -> NDArray[np.int64]:
    """Index of the first point in each square of `cell` units: arrows and ellipses that do not cover each other."""
    keys = np.column_stack([np.floor(right / cell), np.floor(down / cell)])
    _, first = np.unique(keys, axis=0, return_index=True)
    return np.sort(first)


def apart(view: Map, forecast: pd.DataFrame, crs: str, most: int) -> list[int]:
    """Rows of a forecast, the first ones first, whose places are on the map and whose inner ellipses do not cover each other."""
    right, down = view.place(forecast["x"].to_numpy(float), forecast["y"].to_numpy(float), crs)
    reach = _RADIUS_68 * forecast["sigma_major_m"].to_numpy(float) / view.unit_m
    chosen: list[int] = []
    for row in np.flatnonzero((right > 0) & (right < WIDTH) & (down > 0) & (down < view.height)).tolist():
        gaps = np.hypot(right[chosen] - right[row], down[chosen] - down[row]) - reach[chosen]
        if len(chosen) < most and (gaps > max(reach[row], 8)).all():
            chosen.append(row)
    return chosen


def nice_below(value: float) -> float:
    """The largest of 1, 2, 5 × 10ⁿ that is not above a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    return float(f"{max(m for m in (1, 2, 5) if m * power <= value * 1.0001) * power:.6g}")


def _turn(view: Map, points: pd.DataFrame, crs: str) -> float:
    """Degrees by which the x axis of `crs` is turned clockwise on the map, at the middle of the points."""
    if not crs or crs == view.grid.crs or not len(points):
        return 0.0
    x, y = float(points["x"].mean()), float(points["y"].mean())
    right, down = view.place(np.array([x, x + 1000]), np.array([y, y]), crs)
    return math.degrees(math.atan2(down[1] - down[0], right[1] - right[0]))


def _arrow(right: float, down: float, dr: float, dd: float, style: Markup) -> Markup:
    length = math.hypot(dr, dd)
    ux, uy, head = dr / length, dd / length, min(9.0, 0.45 * length)
    tip = (right + dr, down + dd)
    neck = (tip[0] - ux * head * 0.8, tip[1] - uy * head * 0.8)
    back = (tip[0] - ux * head, tip[1] - uy * head)
    wing = (-uy * head * 0.42, ux * head * 0.42)
    corners = (*tip, back[0] + wing[0], back[1] + wing[1], back[0] - wing[0], back[1] - wing[1])
    return Markup(
        '<g {}><line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/><path d="M{:.1f} {:.1f}L{:.1f} {:.1f} {:.1f} {:.1f}z"/></g>'
    ).format(style, right, down, *neck, *corners)


def _furniture(view: Map, text: float) -> Markup:
    """Scale bar at the lower left, north arrow at the upper right."""
    length_m = nice_below(0.24 * WIDTH * view.unit_m)
    bar = length_m / view.unit_m
    words = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    bottom = view.height - 14
    scale = Markup(
        '<g class="scale"><rect class="plate" x="14" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="6"/>'
        '<path d="M28 {:.1f}v6h{:.1f}v-6"/><text x="28" y="{:.1f}" font-size="{}">{}</text></g>'
    ).format(bottom - 2.7 * text, bar + 28, 2.7 * text, bottom - 0.95 * text, bar, bottom - 1.3 * text, text, words)
    r, d = view.north()
    angle = math.degrees(math.atan2(r, -d))
    size = 1.4 * text
    middle, height = WIDTH - 14 - 2 * size, 14 + 2 * size  # the letter goes round the plate
    north = Markup(
        '<g class="north" transform="translate({:.1f} {:.1f})"><circle class="plate" r="{:.1f}"/>'
        '<g transform="rotate({:.1f})"><path d="M0 {:.1f}L{:.1f} {:.1f}L0 {:.1f}L{:.1f} {:.1f}z"/></g>'
        '<text x="{:.1f}" y="{:.1f}" font-size="{}" text-anchor="middle">N</text></g>'
    ).format(middle, height, size, angle, -0.85 * size, 0.42 * size, 0.6 * size, 0.3 * size, -0.42 * size, 0.6 * size,
             r * 1.62 * size, d * 1.62 * size + 0.36 * text, text)  # fmt: skip
    return scale + north


def _read(scene: Scene, name: str, shape: tuple[int, int], resampling: Resampling = Resampling.average) -> NDArray[np.float32]:
    with rasterio.open(scene.path(name), driver="GTiff") as dataset:
        return np.asarray(dataset.read(1, out_shape=shape, resampling=resampling), np.float32)


def _stretch(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Percentile stretch to 0..1; NaN becomes 0."""
    known = pixels[np.isfinite(pixels)]
    if not known.size:
        return np.zeros_like(pixels)
    low, high = np.percentile(known, [1, 99.3])
    return np.asarray(np.nan_to_num(np.clip((pixels - low) / max(float(high - low), 1e-6), 0, 1)), np.float32)


def _ice_colour(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    steps = np.linspace(0, 1, len(_ICE_RAMP))
    return np.asarray(np.dstack([np.interp(grey, steps, _ICE_RAMP[:, channel]) for channel in range(3)]), np.uint8)


def _two_polarisations(co: NDArray[np.float32], cross: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Brightness from the co-polarised band along the ice ramp, a little warmth where the cross-polarised one is strong."""
    base = _ice_colour(0.62 * co + 0.38 * cross).astype(float)
    warm = (cross - co)[..., None] * np.array([34.0, 6.0, -30.0])
    return np.asarray(np.clip(base + warm, 0, 255), np.uint8)


def _true_colour(red: NDArray[np.float32], green: NDArray[np.float32], blue: NDArray[np.float32]) -> NDArray[np.uint8]:
    pixels = np.dstack([red, green, blue])
    known = pixels[np.isfinite(pixels)]
    low, high = np.percentile(known, [0.5, 99.7]) if known.size else (0.0, 1.0)
    shown = np.nan_to_num(np.clip((pixels - low) / max(float(high - low), 1e-6), 0, 1))
    middle = float(np.median(shown))
    gamma = min(1.0, max(0.5, math.log(0.42) / math.log(middle))) if 0 < middle < 1 else 1.0
    return np.asarray(255 * shown**gamma, np.uint8)


def _webp(image: NDArray[np.uint8]) -> str:
    height, width, count = image.shape
    with MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture needs no place
        with memory.open(driver="WEBP", height=height, width=width, count=count, dtype="uint8", QUALITY=82) as dataset:
            dataset.write(np.moveaxis(image, -1, 0))
        return "data:image/webp;base64," + base64.b64encode(memory.read()).decode()


def _path(geometry: Any, factor: float) -> str:
    """SVG path of a polygon or of several, holes included."""
    parts = []
    for polygon in getattr(geometry, "geoms", [geometry]):
        for ring in [polygon.exterior, *polygon.interiors]:
            points = np.round(np.asarray(ring.coords)[:-1] * factor, 1)
            parts.append("M" + " ".join(f"{x:g} {y:g}" for x, y in points) + "z")
    return "".join(parts)


def _oklch_hex(lightness: float, chroma: float, hue: float) -> str:
    """Hexadecimal sRGB of a colour in OKLCH (Ottosson 2020, bottosson.github.io/posts/oklab)."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    l_, m_, s_ = (
        (lightness + x * a + y * b) ** 3
        for x, y in ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480))
    )
    linear = (
        4.0767416621 * l_ - 3.3077115913 * m_ + 0.2309699292 * s_,
        -1.2684380046 * l_ + 2.6097574011 * m_ - 0.3413193965 * s_,
        -0.0041960863 * l_ - 0.7034186147 * m_ + 1.7076147010 * s_,
    )
    shown = [12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in (min(max(v, 0.0), 1.0) for v in linear)]
    return "#" + "".join(f"{round(255 * c):02x}" for c in shown)
