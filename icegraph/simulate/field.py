"""A field of drifting floes with known truth.

Floes are rigid convex shapes, larger than the smallest size that a view can tell apart; their sizes follow a truncated power law
(Rothrock & Thorndike 1984, doi 10.1029/JC089iC04p06477; Stern et al. 2018, doi 10.1525/elementa.305). Between them lie fragments below
that size, which drift with the water and give the brash its cells, and what fills the gaps of those: slush or open water. Floes
drift with the weather and with a large-scale current, its rotation, shear and eddies, spin, wander by themselves, collide, break in two,
and leave and enter the view.

Places are metres east (grid x) and north (grid y) of the field's centre, in EPSG:3413; angles are anticlockwise, in radians.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import chain, pairwise
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from icegraph.errors import InputError
from icegraph.grid import NORTH, Grid, Window
from icegraph.simulate import packing
from icegraph.simulate.noise import Waves
from icegraph.simulate.weather import SIGMA_M_S, STEP_S, Weather

Float = NDArray[np.float64]

WATER, BRASH, FLOE, LAND = 0, 1, 2, 3
NO_ICE, LEVEL, DEFORMED, MULTIYEAR, YOUNG = 0, 1, 2, 3, 4
REGIMES = ("pack", "marginal", "brash", "mixed")
SMALLEST_PX = 40  # floes below are brash: nobody can draw their outline
_DAY_S = 86400.0
_LARGEST_KM = 4000  # the Arctic Ocean from shore to shore
_CELL_PX = 256  # fragments are scattered cell by cell
_CELLS_KEPT = 256
_CELL_SPOTS = 4  # by a side: how finely it is known where a cell's fragments have drifted
_CELL_OFFSET = 1 << 20  # numbers of cells are negative on one side of the centre; those of a seed must not be
_STRAYS = 0.06  # share of fragments
_TRIALS = 4  # places that floes may be put at, for each that the smallest floe would take
_RUBBLE_FILL = 0.9  # least share of slush and rubble in the gaps where there is rubble


@dataclass(frozen=True)
class Snapshot:
    """The field at one instant, on one view's grid.

    Args:
        time: The instant, UTC.
        grid: The view's grid (EPSG:3413).
        identity: Floe identity over all passes, uint32 [H, W]; 0 where there is no floe.
        classes: `WATER`, `BRASH`, `FLOE` or `LAND`, uint8 [H, W].
        ice_type: `NO_ICE`, `LEVEL` (first-year), `DEFORMED` (first-year), `MULTIYEAR` or `YOUNG`, uint8 [H, W]; brash has a type too.
        wind_m_s: Wind speed at 10 m, float32 [H, W].
        cloud: Opacity of cloud, 0..1, float32 [H, W].
        texture: Zero mean, unit variance, fixed to the material of the moving floe, float32 [H, W].
        ice_fraction: Share of the pixel that solid pieces of ice cover, cracks left out, float32 [H, W].
        slush: What fills the rest of the pixel, from open water (0) to bright slush (1), float32 [H, W].
        shade: Each piece of ice its own standard normal number, the same in all passes, float32 [H, W].
        ground: Whether `YOUNG` ice or rubble (`DEFORMED`) fills the gaps between floes, uint8 [H, W]; None where a field does not know.
    """

    time: datetime
    grid: Grid
    identity: NDArray[np.uint32]
    classes: NDArray[np.uint8]
    ice_type: NDArray[np.uint8]
    wind_m_s: NDArray[np.float32]
    cloud: NDArray[np.float32]
    texture: NDArray[np.float32]
    ice_fraction: NDArray[np.float32] | None = None
    slush: NDArray[np.float32] | None = None
    shade: NDArray[np.float32] | None = None
    ground: NDArray[np.uint8] | None = None

    def part(self, window: Window) -> "Snapshot":
        """What a window shows."""
        cut: dict[str, Any] = {name: raster[window.slices] for name, raster in self.rasters.items()}
        return replace(self, grid=self.grid.part(window), **cut)

    @property
    def rasters(self) -> dict[str, NDArray[Any]]:
        """All that are not None, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


class Drawn(Protocol):
    """A view of the field that is had by windows, of any size: a snapshot, or what makes or holds one piece by piece."""

    @property
    def time(self) -> datetime:
        """The instant, UTC."""

    @property
    def grid(self) -> Grid:
        """The view's grid (EPSG:3413)."""

    def part(self, window: Window) -> Snapshot:
        """What a window shows."""


@dataclass(frozen=True)
class Settings:
    """What a field is made from.

    Args:
        seed: Every random number follows from it.
        size_km: Side of the square that is seen.
        pixel_m: The finest pixel that it is seen with: sizes of floes and fragments follow from it.
        span_s: Time from the first to the last pass: the field is large enough that floes still enter at its end.
        interval_s: Time between two passes.
        lon: Longitude of the centre, degrees; default: from the seed.
        lat: Latitude of the centre, degrees; default: from the seed, 70 to 84.
        regime: One of `REGIMES`; default: from the seed.
        smallest_px: Diameter of the smallest floe, in pixels.
        gap_px: Least distance between the outlines of floes, in pixels.
        rubble: Share of the area where bright rubble fills the gaps between smooth floes, as dark young ice does between rough and old
            floes elsewhere: what makes floes stand out to a radar. Default: the types of floes and fragments have nothing to do with
            each other.
        largest: Diameter of the largest floe, as a share of `size_km`; default: from the seed, 0.12 to 0.42.
        exponent: Of the power law: the number of floes larger than d falls as d^-exponent; default: from the seed, 1.3 to 2.1.
        cover: Share of the area that floes are meant to cover; default: from the regime.
        drift_m_s: Speed of the current; default: from the seed, and no more than a sixteenth of the view an interval.
        weather_m_s: Standard deviation of each component of the velocity that weather adds; default: from the seed, and no more than an
            eighth of the view an interval.
        rotation_per_day: Rotation of the whole field, radians a day; default: from the seed.
        shear_per_day: Shear of the whole field, 1 a day; default: from the seed.
        spin_per_day: Standard deviation of a small floe's own turning, radians a day.
        wander_px: Standard deviation of a floe's own displacement in a day, pixels.
        breaking: Share of the larger floes that break between two passes.
        land: Whether there is a coast; default: from the seed.
    """

    seed: int
    size_km: float
    pixel_m: float
    span_s: float = 0.0
    interval_s: float = _DAY_S
    lon: float | None = None
    lat: float | None = None
    regime: str | None = None
    smallest_px: float = 7.8
    gap_px: float = 0.7
    rubble: float | None = None
    largest: float | None = None
    exponent: float | None = None
    cover: float | None = None
    drift_m_s: float | None = None
    weather_m_s: float | None = None
    rotation_per_day: float | None = None
    shear_per_day: float | None = None
    spin_per_day: float = 0.12
    wander_px: float = 2.0
    breaking: float = 0.04
    land: bool | None = None

    def __post_init__(self) -> None:
        side = self.size_km * 1000 / self.pixel_m
        if side < 32 or self.size_km > _LARGEST_KM:
            raise InputError(
                f"simulation of {self.size_km:g} km",
                f"{side:.0f} pixels of {self.pixel_m:g} m a side",
                f"make it at least 32 pixels and at most {_LARGEST_KM} km",
            )
        if self.regime is not None and self.regime not in REGIMES:
            raise InputError(f"regime {self.regime}", "not known", f"name one of {', '.join(REGIMES)}")


@dataclass(frozen=True)
class Floe:
    """One rigid piece of ice.

    Args:
        identity: Its number, never used again.
        parent: The floe it broke from, or 0.
        body: The convex shape that keeps others away, [K, 2], metres around the centroid.
        outline: The outline that is seen, inside `body`, [L, 2], metres around the centroid.
        ice_type: `LEVEL`, `DEFORMED` or `MULTIYEAR`.
        shade: Standard normal: how bright it is among its like.
    """

    identity: int
    parent: int
    body: Float
    outline: Float
    ice_type: int
    shade: float

    @cached_property
    def area_m2(self) -> float:
        """Area inside the outline."""
        return packing.area(self.outline)

    @property
    def diameter_m(self) -> float:
        """Of the circle of the same area."""
        return float(np.sqrt(self.area_m2 * 4 / np.pi))


@dataclass(frozen=True)
class Fragments:
    """Pieces of ice too small to follow one by one, F of them.

    Args:
        start: Where they were first, [F, 2].
        place: Where they are, [F, 2].
        radius_m: Their radii, [F].
        fill: What fills the gaps around each: 0 open water … 1 bright slush, [F].
        growth: How far each may reach beyond its core: closeness of the mosaic, in radii, [F].
        solid: Frozen together with the neighbours: consolidated ground, [F].
        shade: Standard normal, [F].
        ice_type: [F].
    """

    start: Float
    place: Float
    radius_m: Float
    fill: Float
    growth: Float
    solid: NDArray[np.bool_]
    shade: Float
    ice_type: NDArray[np.uint8]

    @classmethod
    def joined(cls, parts: Sequence["Fragments"]) -> "Fragments":
        """Those of all parts, one after another."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


OPEN_WATER = Fragments(
    start=np.zeros((1, 2)),
    place=np.zeros((1, 2)),
    radius_m=np.ones(1),
    fill=np.zeros(1),
    growth=np.full(1, -1.0),
    solid=np.zeros(1, bool),
    shade=np.zeros(1),
    ice_type=np.full(1, YOUNG, np.uint8),
)
"""One fragment that is none: nothing reaches from it."""


@dataclass(frozen=True)
class Coast:
    """Land on one side of a winding line: `normal` points to it, `offset_m` lies between it and the centre; fast ice `fast_m` wide."""

    normal: Float
    offset_m: float
    bends: Waves
    height_m: float
    fast_m: float

    def inland_m(self, place: Float) -> Float:
        """About how far places [N, 2] lie inland (negative: out at sea), [N]."""
        seaward = place[:, 0] * self.normal[0] + place[:, 1] * self.normal[1]
        return np.asarray(seaward - self.offset_m + self.height_m * self.bends(place))

    def away(self, position: Float, reach: Float) -> Float:
        """The way [N, 2] that shapes with `packing.supports` must go to leave the land."""
        toward = int(np.argmax(packing.NORMALS @ self.normal))
        front = position + packing.NORMALS[toward] * reach[:, toward : toward + 1]
        depth = np.maximum(self.inland_m(front), self.inland_m(position) + reach.min(axis=1))
        return np.asarray(-np.maximum(depth, 0)[:, None] * self.normal)


@dataclass(frozen=True)
class Flow:
    """The water's motion: a mean current with rotation, shear and divergence, eddies, and what weather adds.

    Args:
        mean_m_s: Of the current at the centre, [2].
        gradient_per_s: Velocity gradient, [2, 2]: row: component, column: direction.
        eddies: Their stream function.
        eddy_m_s: Their speed.
        weather: The same everywhere.
    """

    mean_m_s: Float
    gradient_per_s: Float
    eddies: Waves
    eddy_m_s: float
    weather: Weather

    @property
    def rotation_per_s(self) -> float:
        """Anticlockwise turning of the whole field, radians a second."""
        return float(self.gradient_per_s[1, 0] - self.gradient_per_s[0, 1]) / 2

    @property
    def strain_per_s(self) -> float:
        """What the velocities of two places differ by, at most, for each metre between them."""
        lengths = np.linalg.norm(self.eddies.vector, axis=1)
        return float(np.linalg.norm(self.gradient_per_s, 2) + self.eddy_m_s * np.sum(self.eddies.amplitude * lengths))

    def current(self, place: Float) -> Float:
        """Velocity of the current [N, 2] in m/s at places [N, 2]."""
        return np.asarray(self.mean_m_s + place @ self.gradient_per_s.T + self.eddy_m_s * self.eddies.curl(place))

    def carried(self, place: Float, begin_s: float, end_s: float) -> Float:
        """Where what drifts with the water from places [N, 2] at one time is at another, by one step of the midpoint rule."""
        seconds, weather = end_s - begin_s, self.weather.shift(begin_s, end_s)
        halfway = place + (self.current(place) * seconds + weather) / 2
        return np.asarray(place + self.current(halfway) * seconds + weather)

    def path(self, seconds: float) -> Float:
        """Where what is at the centre at the start has drifted with the mean current and the weather, each hour until a time, [K, 2]."""
        weather = self.weather.path(seconds)
        return np.asarray(weather + STEP_S * np.arange(len(weather))[:, None] * self.mean_m_s)


@dataclass(frozen=True)
class Regime:
    """How ice lies over the field at first: each level varies from place to place by its waves."""

    cover: tuple[float, float]
    brash: tuple[float, float]
    fill: tuple[float, float]
    growth: tuple[float, float]
    waves: Waves
    fill_waves: Waves
    growth_waves: Waves
    holes: Waves
    hole_level: float
    open_waves: Waves
    open_level: float
    solid_waves: Waves
    solid_level: float

    def floes(self, place: Float) -> Float:
        """Share of the area that floes are meant to cover at places [N, 2]."""
        cover = _between(self.cover, self.waves(place))
        return np.where((self.open_waves(place) > self.open_level) | (self.solid_waves(place) > self.solid_level), 0.02 * cover, cover)

    def fragments(self, place: Float, holes: Float) -> Float:
        """Share of the rest that fragments cover, where the waves of the holes are such."""
        density = _between(self.brash, self.waves(place) + 0.3 * holes)
        density = np.where(holes > self.hole_level, 0.04, density)
        return np.where(self.open_waves(place) > self.open_level, 0.0, density)

    def slush(self, place: Float, holes: Float) -> Float:
        """What fills the gaps, from water (0) to bright slush (1)."""
        return np.where(holes > self.hole_level, 0.0, _between(self.fill, self.fill_waves(place)))

    def closeness(self, place: Float) -> Float:
        """How far fragments reach beyond their cores, in radii."""
        return _between(self.growth, self.growth_waves(place))

    def solid(self, place: Float) -> NDArray[np.bool_]:
        """Where the ground is consolidated."""
        return np.asarray(self.solid_waves(place) > self.solid_level)


class Field:
    """Floes, fragments and coast at one instant; `step` moves them on.

    Floes are all in memory. Fragments, a thousand for each, are scattered where they are asked for, cell by cell of a grid at the start:
    each cell's follow from the seed and the cell alone, and drift with the water from there.

    Attributes:
        settings: What it was made from.
        centre_m: x and y of the centre, EPSG:3413, [2].
        floes: The floes.
        position: Their centroids, [N, 2].
        angle: How far each has turned, [N].
        coast: The coast, or None.
        flow: The water's motion.
        crack_level: Where noise of unit variance stays below, cracks between fragments are wide.
        solid_is_slush: Whether consolidated ground is smooth grey slush rather than pieces frozen together.
        rim_level: Where that noise stays below, there is hardly a crack around floes.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        rng = np.random.default_rng([settings.seed, 1])
        self.regime_name = settings.regime or str(rng.choice(REGIMES, p=[0.35, 0.2, 0.2, 0.25]))
        self.centre_m = _centre(settings, rng)
        self.flow = _flow(settings, rng)
        self.coast = _coast(settings, rng)
        self.regime = _regime(self.regime_name, settings, rng)
        self.crack_level, self.rim_level = float(rng.uniform(-2.0, 1.0)), float(rng.uniform(-0.3, 1.8))
        self.solid_is_slush = bool(rng.random() < 0.5)
        self.steps = 0
        self.floes: list[Floe] = []
        self.position, self.angle = np.empty((0, 2)), np.empty(0)
        self._next_identity = 1
        self._place_floes(rng)
        self._grains = _grains(self._extent()[1], rng)
        self._times_s = [0.0]
        self._cell = lru_cache(_CELLS_KEPT)(self._scatter)
        self._locate_cells()

    @property
    def smallest_m(self) -> float:
        """Diameter of the smallest floe."""
        return self.settings.smallest_px * self.settings.pixel_m

    @property
    def gap_m(self) -> float:
        """Least distance between the outlines of floes."""
        return self.settings.gap_px * self.settings.pixel_m

    def outlines(self) -> Iterator[Float]:
        """The outline of each floe, in its order, [L, 2] in metres from the centre."""
        for index in range(len(self.floes)):
            yield self.outline(index)

    def outline(self, index: int) -> Float:
        """The outline of one floe, [L, 2] in metres from the centre."""
        return np.asarray(packing.rotated(self.floes[index].outline, self.angle[index]) + self.position[index])

    def fragments_in(self, left: float, bottom: float, right: float, top: float) -> Fragments:
        """The fragments in a rectangle, metres from the centre, some around it, and `OPEN_WATER`: in one order, whatever the rectangle."""
        low, high = self._cell_bounds
        near = (low <= (right, top)).all(axis=1) & (high >= (left, bottom)).all(axis=1)
        return Fragments.joined([*(self._cell(i, j) for i, j in self._cells[near].tolist()), OPEN_WATER])

    def step(self, seconds: float) -> dict[int, Float]:
        """Let time pass. Gives the mean velocity [2] in m/s of each floe there was; of one that broke, that of its centroid."""
        self.steps += 1
        rng = np.random.default_rng([self.settings.seed, 2, self.steps])
        before = {floe.identity: (position, floe.area_m2) for floe, position in zip(self.floes, self.position, strict=True)}
        self._break(rng)
        days = seconds / _DAY_S
        scale = np.sqrt(self.smallest_m / np.array([floe.diameter_m for floe in self.floes])) if self.floes else np.empty(0)
        wander = self.settings.wander_px * self.settings.pixel_m * np.sqrt(days) * scale
        self._times_s.append(self._times_s[-1] + seconds)
        moved = self.flow.carried(self.position, *self._times_s[-2:]) + rng.normal(0, 1, self.position.shape) * wander[:, None]
        spin = self.settings.spin_per_day * np.sqrt(days) * scale * rng.normal(0, 1, len(self.floes))
        self.angle = self.angle + self.flow.rotation_per_s * seconds + spin
        self.position = moved
        self._separate(40)
        self._cell.cache_clear()
        self._locate_cells()
        return self._velocities(before, seconds)

    def _drifted(self, start: Float) -> Float:
        """Where what drifts with the water from places [N, 2] of the start is now."""
        for begin_s, end_s in pairwise(self._times_s):
            start = self.flow.carried(start, begin_s, end_s)
        return start

    def _velocities(self, before: dict[int, tuple[Float, float]], seconds: float) -> dict[int, Float]:
        pieces: dict[int, list[tuple[Float, float]]] = {}
        for floe, position in zip(self.floes, self.position, strict=True):
            owner = floe.identity if floe.identity in before else floe.parent
            pieces.setdefault(owner, []).append((position, floe.area_m2))
        out = {}
        for identity, (start, _) in before.items():
            now = pieces.get(identity)
            if now is None:  # crushed: it went with the water until then
                out[identity] = (self.flow.carried(start[None], *self._times_s[-2:])[0] - start) / seconds
            else:
                out[identity] = (sum(p * a for p, a in now) / sum(a for _, a in now) - start) / seconds
        return out

    def _break(self, rng: np.random.Generator) -> None:
        large = np.array([floe.diameter_m > 2.0 * self.smallest_m for floe in self.floes], bool)
        broken = large & (rng.random(len(self.floes)) < self.settings.breaking)
        for index in np.flatnonzero(broken):
            self._split(int(index), rng, descends=True)
        self._keep(~np.pad(broken, (0, len(self.floes) - len(broken))))

    def _split(self, index: int, rng: np.random.Generator, *, descends: bool) -> None:
        """Add the two halves of a floe; the floe itself is for the caller to remove."""
        floe, position, angle = self.floes[index], self.position[index], self.angle[index]
        normal = packing.NORMALS[rng.integers(packing.DIRECTIONS)]
        offset = float(rng.normal(0, 0.1)) * floe.diameter_m
        crack = self.gap_m / 2
        for sign in (1.0, -1.0):
            body = packing.clip(floe.body, sign * normal, sign * offset)
            outline = packing.clip(floe.outline, sign * normal, sign * offset - crack)
            if len(outline) < 3 or packing.area(outline) < 0.8 * np.pi / 4 * self.smallest_m**2:
                continue
            middle = packing.centroid(outline)
            shade = floe.shade + float(rng.normal(0, 0.15))
            self._add(body - middle, outline - middle, floe.ice_type, shade, floe.identity if descends else 0)
            self.position = np.vstack([self.position, position + packing.rotated(middle[None], angle)])
            self.angle = np.append(self.angle, angle)

    def _add(self, body: Float, outline: Float, ice_type: int, shade: float, parent: int = 0) -> None:
        self.floes.append(Floe(self._next_identity, parent, body, outline, ice_type, shade))
        self._next_identity += 1

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        self.floes = [floe for floe, keep in zip(self.floes, kept, strict=True) if keep]
        self.position, self.angle = self.position[kept], self.angle[kept]

    def _separate(self, rounds: int) -> None:
        """Push overlapping floes apart; of two that stay in each other's way the smaller is crushed to brash."""
        if not self.floes:
            return
        reach = packing.supports([floe.body for floe in self.floes], self.angle)
        weight = np.array([floe.area_m2 for floe in self.floes])
        wall = self.coast.away if self.coast else None
        tolerance = 0.4 * self.gap_m
        self.position = packing.push_apart(self.position, reach, weight, rounds=rounds, tolerance=tolerance, wall=wall)
        crushed = packing.overlapping(self.position, reach, weight, tolerance)
        if self.coast is not None:
            crushed |= self.coast.inland_m(self.position) > -0.3 * reach.min(axis=1)
        self._keep(~crushed)

    def _extent(self) -> tuple[Float, float]:
        """Middle and half side of the square that holds all that is ever seen."""
        path = self.flow.path(self.settings.span_s)
        low, high = path.min(axis=0), path.max(axis=0)
        return -(low + high) / 2, self.settings.size_km * 500 * 1.12 + float((high - low).max()) / 2

    def _place_floes(self, rng: np.random.Generator) -> None:
        middle, half = self._extent()
        number = max(20000, int(_TRIALS * (2 * half / self.smallest_m) ** 2))
        trial = middle + rng.uniform(-half, half, (number, 2))
        wanted = self.regime.floes(trial)
        if self.coast is not None:
            wanted[self.coast.inland_m(trial) > -self.smallest_m - self.coast.fast_m] = 0
        sizes = _sizes(self.settings, float(wanted.mean()) * (2 * half) ** 2, rng)
        if wanted.sum() == 0 or len(sizes) == 0:
            return
        roughness = float(rng.uniform(0.15, 0.8)) * self.settings.pixel_m
        round_share = float(rng.random())
        self.position = _arranged(sizes, trial, wanted / wanted.sum(), rng)
        types = _types(self.position, self.settings, rng)
        for size, ice_type in zip(sizes, types, strict=True):
            body = packing.random_polygon(size, int(rng.binomial(2, round_share)), rng)
            self._add(body, self._worn(body, roughness, rng), int(ice_type), float(rng.normal()))
        self.angle = np.zeros(len(self.floes))
        self._crack(float(rng.choice([0.0, 0.0, 0.1, 0.25])), roughness, rng)
        self._separate(120)
        self._recentre()

    def _recentre(self) -> None:
        """Make the position of each floe the centroid of its outline."""
        for index, floe in enumerate(self.floes):
            middle = packing.centroid(floe.outline)
            self.floes[index] = replace(floe, body=floe.body - middle, outline=floe.outline - middle)
            self.position[index] += packing.rotated(middle[None], self.angle[index])[0]

    def _worn(self, body: Float, roughness: float, rng: np.random.Generator) -> Float:
        size = np.sqrt(packing.area(body))
        rough = min(roughness * float(np.sqrt(size / self.smallest_m)), 0.06 * size)
        return packing.weathered(body, self.gap_m / 2, rough, rng)

    def _crack(self, share: float, roughness: float, rng: np.random.Generator) -> None:
        """Break some of the large floes before the first pass: pieces that fit each other lie close together, a little out of place."""
        for _ in range(2):
            large = np.array([floe.diameter_m > 2.0 * self.smallest_m for floe in self.floes], bool)
            cut = large & (rng.random(len(self.floes)) < share)
            whole = len(self.floes)
            for index in np.flatnonzero(cut):
                self._split(int(index), rng, descends=False)
            for piece in range(whole, len(self.floes)):
                floe = self.floes[piece]
                self.floes[piece] = replace(floe, outline=self._worn(floe.body, roughness, rng))
                self.angle[piece] += rng.normal(0, 0.05)
                self.position[piece] += rng.normal(0, 0.7, 2) * self.settings.pixel_m
            self._keep(~np.pad(cut, (0, len(self.floes) - len(cut))))

    def _locate_cells(self) -> None:
        """Find the cells that the field starts with, and the rectangle in which the fragments of each lie now."""
        middle, half = self._extent()
        cell_m = _CELL_PX * self.settings.pixel_m
        first, last = np.floor((middle - half) / cell_m).astype(int), np.floor((middle + half) / cell_m).astype(int)
        self._cells = np.argwhere(np.ones(last - first + 1)) + first
        spots = (np.argwhere(np.ones((_CELL_SPOTS, _CELL_SPOTS))) + 0.5) / _CELL_SPOTS
        start = (self._cells[:, None] + spots) * cell_m
        now = self._drifted(start.reshape(-1, 2)).reshape(start.shape)
        # No fragment was farther from a spot than half a diagonal of a spot's share; the flow cannot have parted them more than this.
        away = cell_m / _CELL_SPOTS / np.sqrt(2) * np.exp(self.flow.strain_per_s * self._times_s[-1])
        self._cell_bounds = now.min(axis=1) - away, now.max(axis=1) + away

    def _scatter(self, i: int, j: int) -> Fragments:
        """The fragments that were in a cell at the start."""
        rng = np.random.default_rng([self.settings.seed, 13, i + _CELL_OFFSET, j + _CELL_OFFSET])
        pixel, grains, regime = self.settings.pixel_m, self._grains, self.regime
        tail = rng.random(int(1.3 * _CELL_PX**2 / (np.pi / 4 * grains.small_px**1.3 * grains.large_px**0.7)))
        place = (np.array([i, j]) + rng.random((len(tail), 2))) * _CELL_PX * pixel
        diameter = _power_law(tail, grains.small_px, grains.large_px, grains.power) * np.exp(0.25 * grains.finer(place))
        diameter = np.clip(diameter, 1.2, grains.large_px) * pixel
        holes, solid = regime.holes(place), regime.solid(place)
        kept = solid | (rng.random(len(place)) < regime.fragments(place, holes))
        if self.coast is not None:
            inland_m = self.coast.inland_m(place)
            kept &= inland_m < 2 * pixel
            solid |= inland_m > -self.coast.fast_m
        place, diameter, holes, solid = place[kept], diameter[kept], holes[kept], solid[kept]
        fill = np.clip(regime.slush(place, holes) + rng.normal(0, 0.08, len(place)), 0, 1)
        if self.settings.rubble is None:
            types = _types(place, self.settings, rng)
        else:
            rough = _rubble(place, self.settings)
            strays = rng.random(len(place)) < _STRAYS  # of thick ice among young ice
            types = np.where(rough | strays, DEFORMED, YOUNG).astype(np.uint8)
            fill = np.where(rough, np.maximum(fill, _RUBBLE_FILL), fill)
        shade = rng.normal(0, 1, len(place))
        return Fragments(place, self._drifted(place), diameter / 2, fill, regime.closeness(place), solid, shade, types)


@dataclass(frozen=True)
class _Grains:
    """Sizes of fragments: a power law from `small_px` to `large_px`, finer and coarser from place to place."""

    small_px: float
    large_px: float
    power: float
    finer: Waves


def _grains(half: float, rng: np.random.Generator) -> _Grains:
    small, large, power = float(rng.uniform(1.5, 3.0)), float(rng.uniform(5.0, 6.8)), float(rng.uniform(0.8, 2.2))
    return _Grains(small, large, power, Waves.random(0.1 * 2 * half, 0.6 * 2 * half, rng))


def _between(level: tuple[float, float], wave: Float) -> Float:
    low, high = level
    return np.asarray(low + (high - low) / (1 + np.exp(-2.5 * wave)))


def _centre(settings: Settings, rng: np.random.Generator) -> Float:
    lon, lat = float(rng.uniform(-180, 180)), float(rng.uniform(70, 84))
    lon = lon if settings.lon is None else settings.lon
    lat = lat if settings.lat is None else settings.lat
    x, y = Transformer.from_crs("EPSG:4326", NORTH, always_xy=True).transform(lon, lat)
    return np.array([x, y])


def _flow(settings: Settings, rng: np.random.Generator) -> Flow:
    size = settings.size_km * 1000
    most = size / 16 / max(settings.interval_s, 1.0)
    speed = min(float(rng.uniform(0.02, 0.1)), most * float(rng.uniform(0.4, 1.0)))
    speed = speed if settings.drift_m_s is None else settings.drift_m_s
    direction = rng.uniform(0, 2 * np.pi)
    rotation, shear = rng.choice([-1, 1], 2) * rng.uniform([0.015, 0.005], [0.06, 0.02])
    rotation = rotation if settings.rotation_per_day is None else settings.rotation_per_day
    shear = shear if settings.shear_per_day is None else settings.shear_per_day
    opening = float(rng.uniform(0, 0.012))
    gradient = np.array([[opening, shear / 2 - rotation], [shear / 2 + rotation, opening]]) / _DAY_S
    eddies = Waves.random(0.4 * size, 1.2 * size, rng)
    sigma = min(float(np.random.default_rng([settings.seed, 14]).uniform(*SIGMA_M_S)), 2 * most)
    sigma = sigma if settings.weather_m_s is None else settings.weather_m_s
    mean = speed * np.array([np.cos(direction), np.sin(direction)])
    return Flow(mean, gradient, eddies, 0.002 * size / _DAY_S, Weather(settings.seed, sigma))


def _coast(settings: Settings, rng: np.random.Generator) -> Coast | None:
    size = settings.size_km * 1000
    wanted, angle, offset = rng.random() < 0.25, rng.uniform(0, 2 * np.pi), rng.uniform(0.28, 0.55) * size
    bends = Waves.random(0.02 * size, 0.8 * size, rng, 24, slope=0.8)
    if not (wanted if settings.land is None else settings.land):
        return None
    if settings.land:
        offset = min(offset, 0.42 * size)
    fast = max(0.0, float(rng.uniform(-0.1, 0.1))) * size
    return Coast(np.array([np.cos(angle), np.sin(angle)]), float(offset), bends, 0.05 * size, fast)


def _regime(name: str, settings: Settings, rng: np.random.Generator) -> Regime:
    size, pixel = settings.size_km * 1000, settings.pixel_m
    cover, brash, fill, growth = {
        "pack": ((0.5, float(rng.uniform(0.7, 0.95))), (0.8, 1.0), (0.1, 1.0), (0.8, 2.5)),
        "marginal": ((0.08, 0.45), (0.05, 0.8), (0.0, 0.35), (0.4, 1.2)),
        "brash": ((0.08, 0.4), (0.9, 1.0), (0.3, 1.0), (0.6, 2.5)),
        "mixed": ((0.05, 0.75), (0.2, 1.0), (0.0, 1.0), (0.4, 2.5)),
    }[name]
    if settings.cover is not None:
        cover = (settings.cover, settings.cover)
    shift = float(rng.uniform(-0.45, 0.1))
    fill = (float(np.clip(fill[0] + shift, 0, 1)), float(np.clip(fill[1] + shift, 0, 1)))
    return Regime(
        cover=cover,
        brash=brash,
        fill=fill,
        growth=growth,
        waves=Waves.random(0.2 * size, 1.0 * size, rng),
        fill_waves=Waves.random(0.1 * size, 0.8 * size, rng),
        growth_waves=Waves.random(0.1 * size, 0.8 * size, rng),
        holes=Waves.random(6 * pixel, 40 * pixel, rng, 40),
        hole_level=float(rng.uniform(0.9, 2.4)),
        open_waves=Waves.random(0.4 * size, 1.2 * size, rng),
        open_level=float(rng.choice([1.3, 1.8, 9.0])) if settings.cover is None else 9.0,
        solid_waves=Waves.random(0.4 * size, 1.2 * size, rng),
        solid_level=float(rng.choice([1.0, 1.4, 1.8, 9.0])) if settings.cover is None and name != "marginal" else 9.0,
    )


def _sizes(settings: Settings, area_m2: float, rng: np.random.Generator) -> Float:
    """Diameters that follow the truncated power law, largest first, as many as fill the area."""
    small = settings.smallest_px * settings.pixel_m
    largest = float(rng.uniform(0.12, 0.42)) if settings.largest is None else settings.largest
    power = float(rng.uniform(1.3, 2.1)) if settings.exponent is None else settings.exponent
    large = max(largest * settings.size_km * 1000, 1.5 * small)
    tail = rng.random(int(area_m2 / (np.pi / 4 * small**2)) + 1)
    sizes = _power_law(tail, small, large, power)
    enough = int(np.searchsorted(np.cumsum(np.pi / 4 * sizes**2), area_m2))
    return np.asarray(np.sort(sizes[:enough])[::-1])


def _power_law(tail: Float, small: float, large: float, power: float) -> Float:
    """Sizes of a truncated power law for shares `tail`, uniform in 0..1."""
    return np.asarray((small**-power - tail * (small**-power - large**-power)) ** (-1 / power))


def _arranged(sizes: Float, trial: Float, chance: Float, rng: np.random.Generator) -> Float:
    """A first place [N, 2] for each size (largest first): of a few tries the first free one, else the freest.

    Each floe is entered in all cells of a grid where it could be in a later one's way, so that a try looks into one cell only.
    """
    place = np.empty((len(sizes), 2))
    tries = 16
    draws = rng.choice(len(trial), (len(sizes), tries), p=chance)
    jitter = rng.normal(0, 0.3, (len(sizes), tries, 2)) * sizes[-1]
    cell_m = 2 * sizes[-1]
    entered: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for k, size in enumerate(sizes):
        options = trial[draws[k]] + jitter[k]
        near = [entered.get((x, y), ()) for x, y in np.floor(options / cell_m).astype(int).tolist()]
        number = [len(those) for those in near]
        others, mine = np.fromiter(chain.from_iterable(near), int, sum(number)), np.repeat(np.arange(tries), number)
        free = np.full(tries, np.inf)
        apart = np.hypot(*(options[mine] - place[others]).T)
        np.minimum.at(free, mine, apart - 0.48 * (size + sizes[others]))
        place[k] = options[np.argmax(free > 0) if (free > 0).any() else free.argmax()]
        for cell in _cells_within(place[k], 0.96 * size, cell_m):
            entered[cell].append(k)
    return place


def _cells_within(middle: Float, reach: float, cell_m: float) -> list[tuple[int, int]]:
    """Cells of a square grid that a disc touches."""
    low, high = np.floor((middle - reach) / cell_m).astype(int), np.floor((middle + reach) / cell_m).astype(int)
    x, y = (np.arange(low[axis], high[axis] + 1) for axis in (0, 1))
    away = [np.maximum(np.abs((along + 0.5) * cell_m - at) - cell_m / 2, 0) for along, at in ((x, middle[0]), (y, middle[1]))]
    i, j = np.nonzero(away[0][:, None] ** 2 + away[1] ** 2 <= reach**2)
    return list(zip(x[i].tolist(), y[j].tolist(), strict=True))


def _types(place: Float, settings: Settings, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Ice types [N]: level and deformed first-year ice mixed, multiyear ice in one part of the field."""
    waves = Waves.random(0.3 * settings.size_km * 1000, 1.2 * settings.size_km * 1000, np.random.default_rng([settings.seed, 3]))
    old = waves(place) + rng.normal(0, 0.7, len(place)) > 0.9
    if settings.rubble is None:
        return np.where(old, MULTIYEAR, np.where(rng.random(len(place)) < 0.35, DEFORMED, LEVEL)).astype(np.uint8)
    thick = np.where(old, MULTIYEAR, np.where(rng.random(len(place)) < 0.75, DEFORMED, LEVEL))
    return np.where(_rubble(place, settings), LEVEL, thick).astype(np.uint8)


def _rubble(place: Float, settings: Settings) -> NDArray[np.bool_]:
    """Where rubble fills the gaps [N]: in parts of the field, by waves of unit variance."""
    rng = np.random.default_rng([settings.seed, 12])
    waves = Waves.random(0.5 * settings.size_km * 1000, 1.5 * settings.size_km * 1000, rng)
    ragged = waves(place) + 0.08 * Waves.random(20 * settings.pixel_m, 100 * settings.pixel_m, rng)(place)
    share = 0.0 if settings.rubble is None else settings.rubble
    return np.asarray(ragged > NormalDist().inv_cdf(float(np.clip(1 - share, 1e-6, 1 - 1e-6))))


def snapped_grid(field: Field, pixel_m: float) -> Grid:
    """The grid of a view: square, its edges on multiples of the pixel, so that grids of one pixel size share pixels."""
    half = field.settings.size_km * 500
    x, y = field.centre_m
    left, top = np.floor((x - half) / pixel_m) * pixel_m, np.ceil((y + half) / pixel_m) * pixel_m
    side = round(2 * half / pixel_m)
    return Grid.covering(
        NORTH,
        np.array([left + 0.5 * pixel_m, left + (side - 0.5) * pixel_m]),
        np.array([top - (side - 0.5) * pixel_m, top - 0.5 * pixel_m]),
        pixel_m,
    )
