"""A scene whose pixels are in memory: an image that a request holds, or the part of a scene that a request asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pystac
from affine import Affine
from numpy.typing import NDArray

from icegraph.grid import NORTH, Grid, Window
from icegraph.scene import MASKS, Scene, band_statistics, save_item, thinning, write_tiles

_BLOCK = 256


@dataclass(frozen=True)
class Place:
    """Where and when an image was taken.

    Args:
        id: Pass id.
        time: UTC.
        crs: Projection.
        transform: From (column, row) of a pixel's upper left corner to (x, y) in metres.
    """

    id: str = "request"
    time: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    crs: str = NORTH
    transform: Affine = field(default_factory=lambda: Affine(1.0, 0.0, 0.0, 0.0, -1.0, 0.0))


@dataclass(frozen=True)
class ArrayScene(Scene):
    """A scene of which a part is held in memory; reading anything else is a KeyError or an empty array.

    Args:
        rasters: Name of each band and mask → pixels [H, W] of `held`.
        held: The part that is in memory, in the scene's pixels.
    """

    rasters: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    held: Window = field(default_factory=lambda: Window(0, 0, 0, 0))

    @classmethod
    def of_image(
        cls,
        values: NDArray[np.float32],
        bands: Sequence[str],
        valid: NDArray[np.bool_] | None,
        statistics: Mapping[str, Mapping[str, float]] | None,
        place: Place,
    ) -> Self:
        """A scene of an image.

        Args:
            values: [C, H, W], in each band's unit; NaN where there is nothing.
            bands: Their names.
            valid: Sea surface seen [H, W]; by default, where any band has a value.
            statistics: Band → `p02` and `p98`, of the scene that the image is cut from; by default the image's own.
            place: Where it lies.
        """
        shape = (values.shape[1], values.shape[2])
        seen: NDArray[np.bool_] = np.asarray(np.isfinite(values).any(0)) if valid is None else valid
        grid = Grid(place.crs, place.transform, *shape)
        properties = {"icegraph:sensor": sensor_of(bands), "proj:code": grid.crs, "proj:shape": list(shape)}
        item = pystac.Item(place.id, None, None, place.time, properties | {"proj:transform": list(grid.transform)[:6]})
        step = thinning(grid)
        sample = seen[::step, ::step]
        for band, pixels in zip(bands, values, strict=True):
            known = band_statistics(pixels[::step, ::step][sample]) if statistics is None else dict(statistics[band])
            item.add_asset(band, pystac.Asset(f"{band}.tif", extra_fields={"icegraph:statistics": known}))
        item.add_asset("valid", pystac.Asset("valid.tif"))
        rasters = {**dict(zip(bands, values, strict=True)), "valid": seen}
        return cls(Path(), item, rasters=rasters, held=Window(0, 0, *shape))

    @classmethod
    def of_part(cls, scene: Scene, part: Window, bands: Sequence[str]) -> Self:
        """The part of another scene, read now: those of its bands that are named, and its masks."""
        rasters: dict[str, NDArray[Any]] = {band: scene.read([band], part)[0] for band in bands}
        rasters |= {mask: scene.mask(mask, part) for mask in scene.masks}
        item = scene.item.clone()
        for name in scene.bands:
            if name not in bands:
                del item.assets[name]
        return cls(scene.folder, item, rasters=rasters, held=part)

    def read(self, bands: Sequence[str], window: Window | None = None) -> NDArray[np.float32]:  # noqa: D102
        part = self._within(window)
        return np.stack([np.asarray(self.rasters[band][part], np.float32) for band in bands])

    def mask(self, name: str = "valid", window: Window | None = None) -> NDArray[np.bool_]:  # noqa: D102
        part = self._within(window)
        return np.asarray(self.rasters[name][part], bool) if name in self.rasters else np.zeros((window or self.held).shape, bool)

    def save(self, folder: Path, part: Window) -> Scene:
        """Write a part as a scene of its own, with plain GeoTIFFs, for what reads files; its statistics stay the whole scene's."""
        grid = self.grid.part(part)
        item = self.item.clone()
        item.properties |= {"proj:shape": list(grid.shape), "proj:transform": list(grid.transform)[:6]}
        for name, asset in item.assets.items():
            asset.href = f"{name}.tif"
            pixels = self.rasters[name][part.within(self.held).slices]
            dtype = "uint8" if name in MASKS else "float32"
            profile: dict[str, Any] = {
                "height": grid.height,
                "width": grid.width,
                "count": 1,
                "dtype": dtype,
                "crs": grid.crs,
                "transform": grid.transform,
            }
            with write_tiles(folder / f"{name}.tif", _BLOCK, **profile) as writer:
                writer.write(Window(0, 0, *grid.shape), np.ascontiguousarray(pixels, dtype))
        scene = Scene(folder, item)
        save_item(scene)
        return scene

    def _within(self, window: Window | None) -> tuple[slice, slice]:
        return (window or self.held).within(self.held).slices


def sensor_of(bands: Sequence[str]) -> str:
    """`sar` or `optical`: radar is told by its decibels."""
    return "sar" if any(band.endswith("_db") for band in bands) else "optical"
