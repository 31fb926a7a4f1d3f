"""How far look-up tables and noise of a Sentinel-1 product are from what satpy and xarray-sentinel make of the same annotation.

    python benchmarks/agreement.py PRODUCT.SAFE PYTHON

PYTHON has satpy and xarray-sentinel. Compared is each pixel of LINES lines, first and last among them: the calibration factor of sigma,
beta and gamma nought with both, noise power with satpy; the largest difference is told, in dB of backscatter. xarray-sentinel takes off no
noise. satpy takes the zeros at the far end of noise vectors for numbers and goes down to them: pixels beyond the last knot that is none are
left out, and told.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from icegraph.calibrate.safe import read_annotation, read_calibration, read_noise
from icegraph.calibrate.settings import Quantity
from icegraph.grid import Window
from icegraph.ingest.container import open_folder
from icegraph.ingest.sentinel1 import read_product

LINES = 24
PEERS = """
import datetime, sys
import numpy as np
from satpy.readers.sar_c_safe import Calibrator, Denoiser
from xarray_sentinel.sentinel1 import open_calibration_dataset
out, calibration, noise, height, width, *lines = sys.argv[1:]
shape, lines = (int(height), int(width)), np.array(lines, int)
now = datetime.datetime(2020, 1, 1)
about = {"start_time": now, "end_time": now, "polarization": "vv"}
reader = Calibrator(calibration, about, {}, image_shape=shape)
found = {f"satpy {name}": reader.get_calibration(key, chunks=1024).isel(y=lines).values
         for name, key in (("sigma", "sigma_nought"), ("beta", "beta_nought"), ("gamma", "gamma"))}
found["satpy noise"] = Denoiser(noise, about, {}, image_shape=shape).get_noise_correction(chunks=1024).isel(y=lines).values
tables = open_calibration_dataset(calibration)
for name, key in (("sigma", "sigmaNought"), ("beta", "betaNought"), ("gamma", "gamma")):
    found[f"xarray-sentinel {name}"] = tables[key].interp(line=lines, pixel=np.arange(shape[1])).values
np.savez(out, **found)
"""


def main() -> None:
    """Print a line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("product", type=Path)
    parser.add_argument("python", type=Path)
    told = parser.parse_args()
    polarisation = read_product(told.product).polarisations[0]
    container = open_folder(told.product)
    annotation = read_annotation(container, polarisation.annotation)
    lines = np.linspace(0, annotation.shape[0] - 1, LINES).round().astype(int)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "peers.npz"
        files = [str(told.product / name) for name in (polarisation.calibration, polarisation.noise)]
        numbers = map(str, (*annotation.shape, *lines))
        subprocess.run([told.python, "-c", PEERS, out, *files, *numbers], check=True)  # noqa: S603 - a Python that the caller names
        peers = dict(np.load(out))
    rows = [Window(int(line), 0, 1, annotation.shape[1]) for line in lines]
    quantities: tuple[Quantity, ...] = ("sigma", "beta", "gamma")
    for quantity in quantities:
        table = read_calibration(container, polarisation.calibration, quantity)
        ours = np.concatenate([table.at(row) for row in rows])
        for peer in ("satpy", "xarray-sentinel"):
            show(f"{peer}, factor of {quantity} nought", 20 * np.log10(ours / peers[f"{peer} {quantity}"]))
    noise = read_noise(container, polarisation.noise, annotation.shape, annotation.blocks)
    last = min(int(vector.pixels[np.flatnonzero(vector.values)[-1]]) for vector in noise.vectors)
    ours = np.concatenate([noise.power(row) for row in rows])
    show("satpy, noise", 10 * np.log10(ours / peers["satpy noise"])[:, : last + 1])
    print(f"from pixel {last + 1} of {annotation.shape[1]} on, satpy's noise goes down to zero and is not compared")


def show(name: str, difference: np.ndarray) -> None:
    """The largest of what is known."""
    known = difference[np.isfinite(difference)]
    print(f"{name:40}{np.abs(known).max():12.2e} dB at most, of {known.size:,} pixels of {difference.size:,}")


if __name__ == "__main__":
    main()
