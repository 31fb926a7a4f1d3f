import numpy as np
import pytest
import rasterio
from affine import Affine
from ice_fields import write_scene
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.feature import match_template

from icegraph.calibrate import calibrate
from icegraph.graph.pattern import NO_PATTERN, PatternDrift, _correlate, _evened, pattern_drift
from icegraph.grid import Grid
from icegraph.ingest import ingest

PIXEL = 100.0
GRID = Grid("EPSG:3413", Affine(PIXEL, 0.0, 300_000.0, 0.0, -PIXEL, -1_200_000.0), 400, 400)
FAR = 1e6


def texture(seed, size=900):
    noise = np.random.default_rng(seed).standard_normal((size, size))
    return 5 * (gaussian_filter(noise, 1.5) * 4 + gaussian_filter(noise, 6) * 12) - 12


def moved_pair(folder, motion, *, noise=0.5, band="hh_db", valid=None):
    """Two scenes of one texture; `motion` gives where a place (row, col) of the earlier one comes from in terms of the later one."""
    rng, ice = np.random.default_rng(5), texture(1)
    row, col = np.mgrid[:400, :400].astype(float)
    one = map_coordinates(ice, [row + 250, col + 250], order=3)
    back = motion(row, col)
    other = map_coordinates(ice, [back[0] + 250, back[1] + 250], order=3)
    pictures = [picture + noise * rng.standard_normal(picture.shape) for picture in (one, other)]
    nobody = np.zeros((400, 400), np.uint32)
    return [
        write_scene(folder / name, nobody, {band: picture}, valid=valid, grid=GRID, pass_id=name)[1]
        for name, picture in zip("ab", pictures, strict=True)
    ]


def test_a_shear_and_a_turn_are_found_to_a_twentieth_of_a_pixel(tmp_path):
    turn = np.radians(2.0)

    def motion(row, col):  # the later picture at (row, col) shows what was at this place before
        r, c = row - 200, col - 200
        return 200 + np.cos(turn) * r - np.sin(turn) * c - 12, 200 + np.sin(turn) * r + np.cos(turn) * c + 5 + 0.01 * r

    found = pattern_drift(*moved_pair(tmp_path, motion), FAR)
    row, col = GRID.rowcol(*found.xy.T)
    landed = GRID.rowcol(*(found.xy + found.shift).T)
    error = np.hypot(*(np.array(motion(*landed)) - (row, col)))
    assert len(found) > 400
    assert np.sqrt((error**2).mean()) < 0.05


@pytest.mark.parametrize("way", [(130.0, -90.0), (-3.4, 0.7)])
def test_ice_that_went_far_is_found_and_not_beyond_reach(tmp_path, way):
    pair = moved_pair(tmp_path, lambda row, col: (row - way[0], col - way[1]))
    found = pattern_drift(*pair, FAR)
    expected = np.array([way[1], -way[0]]) * PIXEL
    assert len(found) > 100
    np.testing.assert_allclose(np.median(found.shift, axis=0), expected, atol=0.2 * PIXEL)
    near = pattern_drift(*pair, 20 * PIXEL)
    assert (np.hypot(*near.shift.T) <= 22 * PIXEL).all()


def test_pictures_that_have_nothing_in_common_tell_nothing(tmp_path):
    strange = texture(2)[:400, :400]
    a = write_scene(tmp_path / "a", np.zeros((400, 400)), {"hh_db": texture(1)[:400, :400]}, grid=GRID)[1]
    b = write_scene(tmp_path / "b", np.zeros((400, 400)), {"hh_db": strange}, grid=GRID)[1]
    assert len(pattern_drift(a, b, FAR)) < 5  # of 576 patches
    optical = write_scene(tmp_path / "c", np.zeros((400, 400)), {"nir": strange}, grid=GRID)[1]
    assert len(pattern_drift(a, optical, FAR)) == 0
    blind = write_scene(tmp_path / "d", np.zeros((400, 400)), {"hh_db": strange}, grid=GRID, valid=np.zeros((400, 400), bool))[1]
    assert len(pattern_drift(a, blind, FAR)) == len(pattern_drift(blind, a, FAR)) == 0


def test_what_is_hidden_is_not_told(tmp_path):
    valid = np.ones((400, 400), bool)
    valid[:, 200:] = False
    found = pattern_drift(*moved_pair(tmp_path, lambda row, col: (row - 4, col), valid=valid), FAR)
    assert len(found) > 200
    assert (GRID.rowcol(*found.xy.T)[1] < 200).all()


def test_a_scene_smaller_than_a_patch_tells_nothing(tmp_path):
    grid = Grid(GRID.crs, GRID.transform, 20, 20)
    scene = write_scene(tmp_path, np.zeros((20, 20)), {"hh_db": texture(1)[:20, :20]}, grid=grid)[1]
    assert len(pattern_drift(scene, scene, FAR)) == 0


def test_the_correlation_is_that_of_scikit_image():
    picture = texture(3)[:60, :70].astype(np.float32)
    patch = picture[9:41, 20:52] + np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    found = _correlate(patch[None], picture[None], np.ones((1, 60, 70), bool))[0]
    np.testing.assert_allclose(found, match_template(picture, patch), atol=1e-4)


def test_real_pack_ice_moved_as_plain_correlation_of_the_two_pictures_says(shared_data, tmp_path):
    """The oracle is scikit-image's correlation of patches of the unfiltered pictures, in all that lies within a kilometre."""
    folder = shared_data / "sentinel1_ew_pair"
    manifest = ingest(sorted(folder.glob("*.json")), tmp_path)
    scenes = [calibrate(entry, tmp_path / entry.id) for entry in manifest.require_scenes()]
    found = pattern_drift(*scenes, 20_000)
    assert len(found) > 300
    assert (found.correlation > 0.4).all()
    one, other = (_on_grid(scene, scenes[0].grid) for scene in scenes)
    pixel, reach, off = scenes[0].grid.pixel_m, 25, []
    for (x, y), shift in list(zip(found.xy, found.shift, strict=True))[:: len(found) // 60]:
        row, col = (round(float(k)) for k in scenes[0].grid.rowcol(x, y))
        patch = one[row - 16 : row + 17, col - 16 : col + 17]
        around = other[row - 16 - reach : row + 17 + reach, col - 16 - reach : col + 17 + reach]
        if patch.shape == (33, 33) and around.shape == (33 + 2 * reach,) * 2 and np.isfinite(patch).all() and np.isfinite(around).all():
            peak = match_template(around, patch)
            down, right = np.array(np.unravel_index(peak.argmax(), peak.shape)) - reach
            off.append(np.hypot(right - shift[0] / pixel, down + shift[1] / pixel))
    assert len(off) > 30
    assert np.median(off) < 1


def _on_grid(scene, grid):
    """The first band on another scene's grid."""
    place = {"crs": grid.crs, "transform": grid.transform, "width": grid.width, "height": grid.height}
    with (
        rasterio.open(scene.path("hv_db")) as file,
        WarpedVRT(file, resampling=Resampling.bilinear, nodata=np.nan, **place) as picture,
    ):
        return picture.read(1)


def test_what_one_patch_errs_by_is_evened_out_and_a_break_is_not():
    rng, (row, col) = np.random.default_rng(0), np.mgrid[:30, :30].astype(float)
    known = np.stack([5 + 0.2 * row, -3 + 0.1 * row - 0.2 * col], axis=-1)
    known[:, 15:] += (4.0, -3.0)  # beyond a lead
    measured = known + rng.normal(0, 0.4, known.shape)
    votes = rng.uniform(0.2, 1, row.shape)
    votes[rng.random(row.shape) < 0.2] = 0  # not told: whatever they say is not heard
    measured[votes == 0] = 1e6
    off = np.hypot(*np.moveaxis(_evened(measured, votes) - known, -1, 0))[votes > 0]
    assert np.sqrt((off**2).mean()) < 0.33  # of 0.57
    assert off.max() < 2  # the lead opened by 5


def test_a_patch_without_neighbours_keeps_its_displacement():
    shift, votes = np.zeros((3, 9, 2)), np.zeros((3, 9))
    shift[1, 1], votes[1, 1] = (7.0, -2.0), 0.2
    np.testing.assert_allclose(_evened(shift, votes)[1, 1], (7.0, -2.0), atol=1e-6)


def test_a_place_moves_as_the_patches_around_it():
    xy = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]])
    drift = PatternDrift(xy, np.column_stack([xy[:, 0], np.full(4, 7.0)]), np.ones(4), patch_m=200.0)
    at = drift.at(np.array([[50.0, 50.0], [0.0, 0.0], [900.0, 0.0]]))
    np.testing.assert_allclose(at[0], [50.0, 7.0])
    assert abs(at[1, 0]) < 5
    assert np.isnan(at[2]).all()
    assert np.isnan(NO_PATTERN.at(xy)).all()
