"""Write a planned product and its pixels as a SAFE folder.

Element names, their order and the number formats follow ESA S1-RS-MDA-52-7441 (release 3/9) and a real product read beside it.
What a simulation has nothing to say about (downlink, replica, Doppler, antenna patterns) is an empty list of the same name.

    <pass id>.SAFE/
      manifest.safe
      annotation/s1b-ew-grd-hh-….xml                    geolocation, sub-swath bounds, orbit
      annotation/calibration/{calibration,noise}-….xml  vectors
      measurement/s1b-ew-grd-hh-….tiff                  uint16, ground control points = geolocation grid
"""

import binascii
import hashlib
import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.control import GroundControlPoint

from icegraph.grid import Window
from icegraph.simulate.ew_geometry import (
    ALTITUDE_M,
    elevation_deg,
    ground_range_m,
    heading_deg,
    slant_range_m,
)
from icegraph.simulate.ew_vectors import Product
from icegraph.simulate.kind import Kind, Mode
from icegraph.store import folder_beside

_NSSDC: Final = {"S1A": "2014-016A", "S1B": "2016-025A", "S1C": "2024-233A"}
# A real ascending node of Sentinel-1B, to count orbits from; those of the others are counted alike.
_NODE_TIME: Final = datetime.fromisoformat("2021-12-23T04:33:35.556206+00:00")
_NODE_ORBIT: Final = 30148
_NODE_DATATAKE: Final = 0x39993
_NODE_CYCLE: Final = 179
_ORBITS_A_CYCLE: Final = 175
_CYCLE_DAYS: Final = 12
_LIGHT_M_S: Final = 299_792_458.0
_NAMESPACES: Final = {
    "xfdu": "urn:ccsds:schema:xfdu:1",
    "gml": "http://www.opengis.net/gml",
    "safe": "http://www.esa.int/safe/sentinel-1.0",
    "s1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1",
    "s1sarl1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1",
}
_Element = ElementTree.Element


Strip = tuple[slice, Mapping[str, NDArray[np.uint16]]]
"""Some lines, and the digital numbers of each polarisation there, [lines, samples]."""


def write_product(product: Product, strips: Iterable[Strip], folder: Path) -> str:
    """Write the SAFE folder of a product into `folder`; it appears whole.

    Args:
        product: What the product says of itself.
        strips: The whole image, from its first line to its last.
        folder: Where `<pass id>.SAFE` is to lie.

    Returns:
        The pass id.
    """
    with folder_beside(folder / _stem(product)) as beside:
        content = beside / "new"
        _write_content(product, strips, content)
        # The name ends with a checksum of the content, so the content comes first.
        pass_id = f"{_stem(product)}_{binascii.crc_hqx((content / 'manifest.safe').read_bytes(), 0xFFFF):04X}"
        target = folder / f"{pass_id}.SAFE"
        if target.exists():
            target.replace(beside / "old")
        content.replace(target)
    return pass_id


def _write_content(product: Product, strips: Iterable[Strip], folder: Path) -> None:
    for place in ("annotation/calibration", "measurement"):
        (folder / place).mkdir(parents=True)
    names = {
        polarisation: _file_stem(product, polarisation, number) for number, polarisation in enumerate(product.kind.polarisations, start=1)
    }
    statistics = _write_tiffs(product, strips, {polarisation: folder / f"measurement/{name}.tiff" for polarisation, name in names.items()})
    for number, (polarisation, name) in enumerate(names.items(), start=1):
        header = _header(product, polarisation, number)
        _write_xml(_annotation(product, header, statistics[polarisation]), folder / f"annotation/{name}.xml")
        _write_xml(_calibration(product, header), folder / f"annotation/calibration/calibration-{name}.xml")
        _write_xml(_noise(product, header, polarisation), folder / f"annotation/calibration/noise-{name}.xml")
    _write_xml(_manifest(product, folder), folder / "manifest.safe")


@dataclass
class _Statistics:
    """Of the pixels with data: sums of whole numbers, so that their order does not matter."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, numbers: NDArray[np.uint16]) -> None:
        self.count += int(np.count_nonzero(numbers))
        self.total += int(numbers.sum(dtype=np.uint64))
        self.squares += int(np.square(numbers, dtype=np.uint64).sum())

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def deviation(self) -> float:
        return math.sqrt(self.squares * self.count - self.total**2) / self.count


def _orbit(product: Product) -> int:
    return _NODE_ORBIT + math.floor((product.start - _NODE_TIME) / _period())


def _period() -> timedelta:
    return timedelta(days=_CYCLE_DAYS) / _ORBITS_A_CYCLE


def _datatake(product: Product) -> int:
    return _NODE_DATATAKE + 8 * (_orbit(product) - _NODE_ORBIT)


def _stop(product: Product) -> datetime:
    return product.time(product.geometry.lines - 1)


def _stem(product: Product) -> str:
    times = f"{product.start:%Y%m%dT%H%M%S}_{_stop(product):%Y%m%dT%H%M%S}"
    kind = product.kind
    return f"{kind.platform}_{kind.mode.name}_{kind.mode.resolution}_1S{kind.code}_{times}_{_orbit(product):06d}_{_datatake(product):06X}"


def _file_stem(product: Product, polarisation: str, number: int) -> str:
    times = f"{product.start:%Y%m%dt%H%M%S}-{_stop(product):%Y%m%dt%H%M%S}"
    kind = f"{product.kind.platform}-{product.kind.mode.name}-grd-{polarisation}".lower()
    return f"{kind}-{times}-{_orbit(product):06d}-{_datatake(product):06x}-{number:03d}"


def _header(product: Product, polarisation: str, number: int) -> dict[str, str]:
    return {
        "missionId": product.kind.platform,
        "productType": "GRD",
        "polarisation": polarisation,
        "mode": product.kind.mode.name,
        "swath": product.kind.mode.name,
        "startTime": _time(product.start),
        "stopTime": _time(_stop(product)),
        "absoluteOrbitNumber": str(_orbit(product)),
        "missionDataTakeId": str(_datatake(product)),
        "imageNumber": f"{number:03d}",
    }


def _annotation(product: Product, header: Mapping[str, str], statistics: _Statistics) -> _Element:
    root = _Element("product")
    _fields(root, "adsHeader", header)
    quality = _fields(root, "qualityInformation", {"productQualityIndex": f"{0:.15e}"})
    _list(quality, "qualityDataList", 0)
    general = _add(root, "generalAnnotation")
    _fields(general, "productInformation", _product_information(product))
    _list(general, "downlinkInformationList", 0)
    _orbit_list(product, general)
    for name in ("attitude", "rawDataAnalysis", "replicaInformation", "noise", "terrainHeight", "azimuthFmRate"):
        _list(general, f"{name}List", 0)
    image = _add(root, "imageAnnotation")
    _image_information(product, image, statistics)
    _processing_information(product.kind.mode, image)
    _list(_add(root, "dopplerCentroid"), "dcEstimateList", 0)
    _list(_add(root, "antennaPattern"), "antennaPatternList", 0)
    timing = _fields(root, "swathTiming", {"linesPerBurst": "0", "samplesPerBurst": "0"})
    _list(timing, "burstList", 0)
    _geolocation_grid(product, root)
    _coordinate_conversion(product, root)
    _swath_merging(product, root)
    return root


def _product_information(product: Product) -> dict[str, str]:
    return {
        "pass": product.direction.capitalize(),
        "timelinessCategory": "NRT-3h",
        "platformHeading": f"{heading_deg(product.geometry):.15e}",
        "projection": "Ground Range",
        "rangeSamplingRate": f"{2.144841270523810e07:.15e}",
        "radarFrequency": f"{5.405000454334350e09:.15e}",
        "azimuthSteeringRate": f"{2.390895448e00:.15e}",
    }


def _image_information(product: Product, image: _Element, statistics: _Statistics) -> None:
    geometry = product.geometry
    node = _NODE_TIME + (_orbit(product) - _NODE_ORBIT) * _period()
    middle = geometry.incidence_deg(np.array((geometry.samples - 1) / 2))
    information = _fields(
        image,
        "imageInformation",
        {
            "productFirstLineUtcTime": _time(product.start),
            "productLastLineUtcTime": _time(_stop(product)),
            "ascendingNodeTime": _time(node),
            "anchorTime": _time(product.start),
            "productComposition": "Individual",
            "sliceNumber": "0",
        },
    )
    _list(information, "sliceList", 0)
    for name, text in {
        "slantRangeTime": f"{_slant_time(product.geometry.mode.seams_deg[0]):.15e}",
        "pixelValue": "Detected",
        "outputPixels": "16 bit Unsigned Integer",
        "rangePixelSpacing": f"{geometry.pixel_m:.6e}",
        "azimuthPixelSpacing": f"{geometry.pixel_m:.6e}",
        "azimuthTimeInterval": f"{geometry.line_time_s:.15e}",
        "azimuthFrequency": f"{1 / geometry.line_time_s:.15e}",
        "numberOfSamples": str(geometry.samples),
        "numberOfLines": str(geometry.lines),
        "zeroDopMinusAcqTime": f"{0:.15e}",
        "incidenceAngleMidSwath": f"{float(middle):.15e}",
    }.items():
        _add(information, name, text)
    image_statistics = _add(information, "imageStatistics")
    for name, value in (("outputDataMean", statistics.mean), ("outputDataStdDev", statistics.deviation)):
        _fields(image_statistics, name, {"re": f"{value:.6e}", "im": f"{0:.6e}"})


def _processing_information(mode: Mode, image: _Element) -> None:
    yes, no = "true", "false"
    information = _fields(
        image,
        "processingInformation",
        {
            "rawDataAnalysisUsed": yes,
            "orbitDataFileUsed": yes,
            "attitudeDataFileUsed": no,
            "rxVariationCorrectionApplied": yes,
            "antennaElevationPatternApplied": yes,
            "antennaAzimuthPatternApplied": yes,
            "antennaAzimuthElementPatternApplied": yes,
            "dcMethod": "Data Analysis",
            "dcInputData": "Range Compressed",
            "rangeSpreadingLossCompensationApplied": yes,
            "srgrConversionApplied": yes,
            "detectionPerformed": yes,
            "thermalNoiseCorrectionPerformed": no,
            "chirpSource": "Nominal",
            "pgSource": "Extracted",
            "rrfSpectrum": "Extended Tapered",
            "applicationLutId": f"{mode.name}_Default",
        },
    )
    parameters = _list(information, "swathProcParamsList", len(mode.swaths))
    for swath in mode.swaths:
        one = _fields(parameters, "swathProcParams", {"swath": swath})
        _fields(one, "rangeProcessing", {"windowType": "Hamming", "windowCoefficient": f"{0.75:.15e}", "numberOfLooks": str(mode.looks[0])})
        _fields(
            one, "azimuthProcessing", {"windowType": "Hamming", "windowCoefficient": f"{0.75:.15e}", "numberOfLooks": str(mode.looks[1])}
        )
    _list(information, "inputDimensionsList", 0)
    for name, text in {
        "referenceRange": f"{8e5:.15e}",
        "ellipsoidName": "WGS84",
        "ellipsoidSemiMajorAxis": f"{6378137.0:.15e}",
        "ellipsoidSemiMinorAxis": f"{6356752.314245:.15e}",
        "bistaticDelayCorrectionApplied": yes,
        "topsFilterConvention": "Only Echo Lines",
        "orbitSource": "Auxiliary",
        "attitudeSource": "Downlink",
    }.items():
        _add(information, name, text)


def _grid_points(product: Product) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Line and pixel of the geolocation grid, [lines, 21] each: even steps, the last one short."""
    geometry = product.geometry

    def knots(size: int, steps: int) -> NDArray[np.int64]:
        return np.minimum(np.arange(steps + 1) * math.ceil((size - 1) / steps), size - 1)

    line, pixel = np.meshgrid(knots(geometry.lines, max(9, geometry.lines // 1000)), knots(geometry.samples, 20), indexing="ij")
    return line, pixel


def _geolocation_grid(product: Product, root: _Element) -> None:
    line, pixel = (knots.ravel() for knots in _grid_points(product))
    lon, lat = product.geometry.lonlat(line.astype(float), pixel.astype(float))
    incidence = product.geometry.incidence_deg(pixel.astype(float))
    elevation = elevation_deg(incidence)
    points = _list(_add(root, "geolocationGrid"), "geolocationGridPointList", len(line))
    for i in range(len(line)):
        _fields(
            points,
            "geolocationGridPoint",
            {
                "azimuthTime": _time(product.time(line[i])),
                "slantRangeTime": f"{_slant_time(incidence[i]):.15e}",
                "line": str(line[i]),
                "pixel": str(pixel[i]),
                "latitude": f"{lat[i]:.15e}",
                "longitude": f"{lon[i]:.15e}",
                "height": f"{0:.15e}",
                "incidenceAngle": f"{incidence[i]:.15e}",
                "elevationAngle": f"{elevation[i]:.15e}",
            },
        )


def _coordinate_conversion(product: Product, root: _Element) -> None:
    geometry = product.geometry
    pixel = np.linspace(0, geometry.samples - 1, 64)
    ground, slant = pixel * geometry.pixel_m, slant_range_m(geometry.incidence_deg(pixel))
    to_slant = np.asarray(np.polynomial.Polynomial.fit(ground, slant, 5).convert().coef, np.float64)
    to_ground = np.asarray(np.polynomial.Polynomial.fit(slant - slant[0], ground, 5).convert().coef, np.float64)
    conversions = _list(_add(root, "coordinateConversion"), "coordinateConversionList", 1)
    one = _fields(
        conversions,
        "coordinateConversion",
        {
            "azimuthTime": _time(product.start),
            "slantRangeTime": f"{_slant_time(product.geometry.mode.seams_deg[0]):.15e}",
            "sr0": f"{slant[0]:.15e}",
        },
    )
    _vector(one, "srgrCoefficients", to_ground, ".15e")
    _add(one, "gr0", f"{0:.15e}")
    _vector(one, "grsrCoefficients", to_slant, ".15e")


def _swath_merging(product: Product, root: _Element) -> None:
    geometry = product.geometry
    merges = _list(_add(root, "swathMerging"), "swathMergeList", len(geometry.mode.swaths))
    for swath, first, end in zip(geometry.mode.swaths, geometry.swath_first, geometry.swath_first[1:], strict=False):
        merge = _fields(merges, "swathMerge", {"swath": swath})
        bounds = _list(merge, "swathBoundsList", 1)
        _fields(
            bounds,
            "swathBounds",
            {
                "azimuthTime": _time(product.start),
                "firstAzimuthLine": "0",
                "firstRangeSample": str(first),
                "lastAzimuthLine": str(geometry.lines - 1),
                "lastRangeSample": str(end - 1),
            },
        )


def _orbit_list(product: Product, general: _Element) -> None:
    """Positions every 10 s, from 60 s before to 60 s after: above the ground track, at the side that the geometry asks for."""
    geometry = product.geometry
    away_px = -ground_range_m(np.array([product.geometry.mode.seams_deg[0]]))[0] / geometry.pixel_m
    seconds = np.arange(-60.0, float(geometry.seconds(np.array(geometry.lines))) + 60.0, 10.0)
    to_ecef = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)

    def position(at: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = geometry.lonlat(at / geometry.line_time_s, np.full(at.shape, away_px))
        return np.stack(to_ecef.transform(lon, lat, np.full(at.shape, ALTITUDE_M)), axis=1)

    places, speeds = position(seconds), position(seconds + 0.5) - position(seconds - 0.5)
    orbits = _list(general, "orbitList", len(seconds))
    for second, place, speed in zip(seconds, places, speeds, strict=True):
        time = product.start + timedelta(seconds=float(second))
        orbit = _fields(orbits, "orbit", {"time": _time(time), "frame": "Earth Fixed"})
        for name, values in (("position", place), ("velocity", speed)):
            _fields(orbit, name, {axis: f"{value:.15e}" for axis, value in zip("xyz", values, strict=True)})


def _calibration(product: Product, header: Mapping[str, str]) -> _Element:
    calibration = product.calibration
    root = _Element("calibration")
    _fields(root, "adsHeader", header)
    _fields(root, "calibrationInformation", {"absoluteCalibrationConstant": f"{1:.6e}"})
    vectors = _list(root, "calibrationVectorList", len(calibration.lines))
    flat = np.full(len(calibration.pixels), calibration.beta_nought)
    for line in calibration.lines:
        vector = _fields(vectors, "calibrationVector", {"azimuthTime": _time(product.time(line)), "line": str(line)})
        _vector(vector, "pixel", calibration.pixels, "d")
        _vector(vector, "sigmaNought", calibration.sigma_nought, ".6e")
        _vector(vector, "betaNought", flat, ".6e")
        _vector(vector, "gamma", calibration.gamma, ".6e")
        _vector(vector, "dn", flat, ".6e")
    return root


def _noise(product: Product, header: Mapping[str, str], polarisation: str) -> _Element:
    noise, geometry = product.noise[polarisation], product.geometry
    root = _Element("noise")
    _fields(root, "adsHeader", header)
    told = "Range" if product.kind.has_azimuth_noise else ""
    vectors = _list(root, f"noise{told}VectorList", len(noise.range_lines))
    for line, lut in zip(noise.range_lines, noise.range_lut, strict=True):
        vector = _fields(vectors, f"noise{told}Vector", {"azimuthTime": _time(product.time(line)), "line": str(line)})
        _vector(vector, "pixel", noise.range_pixels, "d")
        _vector(vector, f"noise{told}Lut", lut, ".6e")
    if not told:
        return root
    vectors = _list(root, "noiseAzimuthVectorList", len(geometry.mode.swaths))
    for i, swath in enumerate(geometry.mode.swaths):
        vector = _fields(
            vectors,
            "noiseAzimuthVector",
            {
                "swath": swath,
                "firstAzimuthLine": "0",
                "firstRangeSample": str(geometry.swath_first[i]),
                "lastAzimuthLine": str(geometry.lines - 1),
                "lastRangeSample": str(geometry.swath_first[i + 1] - 1),
            },
        )
        _vector(vector, "line", noise.azimuth_lines[i], "d")
        _vector(vector, "noiseAzimuthLut", noise.azimuth_lut[i], ".6e")
    return root


def _write_tiffs(product: Product, strips: Iterable[Strip], paths: Mapping[str, Path]) -> dict[str, _Statistics]:
    geometry = product.geometry
    line, pixel = (knots.ravel() for knots in _grid_points(product))
    lon, lat = geometry.lonlat(line.astype(float), pixel.astype(float))
    points = [
        GroundControlPoint(row=float(row), col=float(col), x=float(x), y=float(y), z=0.0, id=str(number))
        for number, (row, col, x, y) in enumerate(zip(line, pixel, lon, lat, strict=True), start=1)
    ]
    profile = {"driver": "GTiff", "height": geometry.lines, "width": geometry.samples, "count": 1, "dtype": "uint16", "blockysize": 1}
    statistics = {polarisation: _Statistics() for polarisation in paths}
    with ExitStack() as stack:
        images = {
            polarisation: stack.enter_context(rasterio.open(path, "w", gcps=points, crs="EPSG:4326", **profile))
            for polarisation, path in paths.items()
        }
        for lines, numbers in strips:
            window = Window(lines.start, 0, lines.stop - lines.start, geometry.samples).rasterio()
            for polarisation, image in images.items():
                image.write(numbers[polarisation], 1, window=window)
                statistics[polarisation].add(numbers[polarisation])
    return statistics


def _manifest(product: Product, folder: Path) -> _Element:
    for prefix, uri in _NAMESPACES.items():
        ElementTree.register_namespace(prefix, uri)
    root = _Element(
        _q("xfdu:XFDU"), {"version": f"esa/safe/sentinel-1.0/sentinel-1/sar/level-1/grd/standard/{product.kind.mode.name.lower()}dp"}
    )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    unit = _add(
        _add(root, "informationPackageMap"),
        _q("xfdu:contentUnit"),
        unitType="SAFE Archive Information Package",
        textInfo=f"Sentinel-1 {product.kind.mode.name} Level-1 GRD Product",
        dmdID="acquisitionPeriod platform generalProductInformation measurementOrbitReference measurementFrameSet",
        pdiID="processing",
    )
    for file in files:
        kind = "Measurement Data Unit" if file.suffix == ".tiff" else "Metadata Unit"
        _add(_add(unit, _q("xfdu:contentUnit"), unitType=kind, repID=_schema(file)), "dataObjectPointer", dataObjectID=_object_id(file))
    metadata = _add(root, "metadataSection")
    _processing(product, metadata)
    _platform(product.kind, metadata)
    _orbit_reference(product, metadata)
    _general_information(product, metadata)
    _acquisition_period(product, metadata)
    _frame_set(product, metadata)
    _data_objects(files, folder, _add(root, "dataObjectSection"))
    return root


def _wrap(metadata: _Element, name: str, category: str, text: str) -> _Element:
    kind = "PROVENANCE" if category == "PDI" else "DESCRIPTION"
    one = _add(metadata, "metadataObject", ID=name, classification=kind, category=category)
    return _add(_add(one, "metadataWrap", mimeType="text/xml", vocabularyName="SAFE", textInfo=text), "xmlData")


def _processing(product: Product, metadata: _Element) -> None:
    data = _wrap(metadata, "processing", "PDI", "Processing")
    begin, end = (_time(_stop(product) + timedelta(minutes=minutes)) for minutes in (40, 50))
    processing = _add(data, _q("safe:processing"), name="GRD Post Processing", start=begin, stop=end)
    facility = _add(processing, _q("safe:facility"), country="none", name="IceGraph simulator", organisation="IceGraph", site="simulated")
    _add(facility, _q("safe:software"), name="Sentinel-1 IPF", version=product.kind.ipf)
    for name, role in (
        (f"{product.kind.platform}_AUX_CAL_V20190514T090000_G20210104T140612.SAFE", "AUX_CAL"),
        ("Sentinel-1 Product Definition (S1-RS-MDA-52-7440) release 2/7", "product definition"),
        ("Sentinel-1 Product Specification (S1-RS-MDA-52-7441) release 3/9", "product specification"),
    ):
        _add(processing, _q("safe:resource"), name=name, role=role)


def _platform(kind: Kind, metadata: _Element) -> None:
    platform = _add(_wrap(metadata, "platform", "DMD", "Platform Description"), _q("safe:platform"))
    for name, text in (("nssdcIdentifier", _NSSDC[kind.platform]), ("familyName", "SENTINEL-1"), ("number", kind.platform[-1])):
        _add(platform, _q(f"safe:{name}"), text)
    instrument = _add(platform, _q("safe:instrument"))
    _add(instrument, _q("safe:familyName"), "Synthetic Aperture Radar", abbreviation="SAR")
    mode = _add(_add(instrument, _q("safe:extension")), _q("s1sarl1:instrumentMode"))
    _add(mode, _q("s1sarl1:mode"), kind.mode.name)
    _add(mode, _q("s1sarl1:swath"), kind.mode.name)


def _orbit_reference(product: Product, metadata: _Element) -> None:
    orbit = _orbit(product)
    cycle, relative = divmod(orbit - 27, _ORBITS_A_CYCLE)
    reference = _add(_wrap(metadata, "measurementOrbitReference", "DMD", "Orbit Reference"), _q("safe:orbitReference"))
    for name, number in (("orbitNumber", orbit), ("relativeOrbitNumber", relative + 1)):
        for when in ("start", "stop"):
            _add(reference, _q(f"safe:{name}"), str(number), type=when)
    _add(reference, _q("safe:cycleNumber"), str(_NODE_CYCLE + cycle - (_NODE_ORBIT - 27) // _ORBITS_A_CYCLE))
    _add(reference, _q("safe:phaseIdentifier"), "1")
    properties = _add(_add(reference, _q("safe:extension")), _q("s1:orbitProperties"))
    _add(properties, _q("s1:pass"), product.direction)
    _add(properties, _q("s1:ascendingNodeTime"), _time(_NODE_TIME + (orbit - _NODE_ORBIT) * _period()))


def _general_information(product: Product, metadata: _Element) -> None:
    wrap = _wrap(metadata, "generalProductInformation", "DMD", "General Product Information")
    information = _add(wrap, _q("s1sarl1:standAloneProductInformation"))
    _add(information, _q("s1sarl1:instrumentConfigurationID"), "2")
    _add(information, _q("s1sarl1:missionDataTakeID"), str(_datatake(product)))
    for polarisation in product.kind.polarisations:
        _add(information, _q("s1sarl1:transmitterReceiverPolarisation"), polarisation)
    for name, text in (
        ("productClass", "S"),
        ("productClassDescription", "SAR Standard L1 Product"),
        ("productComposition", "Individual"),
        ("productType", "GRD"),
        ("productTimelinessCategory", "NRT-3h"),
        ("sliceProductFlag", "false"),
    ):
        _add(information, _q(f"s1sarl1:{name}"), text)


def _acquisition_period(product: Product, metadata: _Element) -> None:
    period = _add(_wrap(metadata, "acquisitionPeriod", "DMD", "Acquisition Period"), _q("safe:acquisitionPeriod"))
    _add(period, _q("safe:startTime"), _time(product.start))
    _add(period, _q("safe:stopTime"), _time(_stop(product)))


def _frame_set(product: Product, metadata: _Element) -> None:
    last_line, last_pixel = product.geometry.lines - 1.0, product.geometry.samples - 1.0
    lon, lat = product.geometry.lonlat(np.array([last_line, last_line, 0, 0]), np.array([0, last_pixel, last_pixel, 0]))
    frame = _add(_add(_wrap(metadata, "measurementFrameSet", "DMD", "Frame Set"), _q("safe:frameSet")), _q("safe:frame"))
    outline = _add(frame, _q("safe:footPrint"), srsName="http://www.opengis.net/gml/srs/epsg.xml#4326")
    _add(outline, _q("gml:coordinates"), " ".join(f"{y:.6f},{x:.6f}" for x, y in zip(lon, lat, strict=True)))


def _data_objects(files: list[Path], folder: Path, section: _Element) -> None:
    for file in files:
        one = _add(section, "dataObject", ID=_object_id(file), repID=_schema(file))
        mime = "application/octet-stream" if file.suffix == ".tiff" else "text/xml"
        stream = _add(one, "byteStream", mimeType=mime, size=str(file.stat().st_size))
        _add(stream, "fileLocation", locatorType="URL", href=f"./{file.relative_to(folder).as_posix()}")
        with file.open("rb") as opened:
            # The manifest's format asks for MD5: against broken transfers, not against an attacker.
            digest = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        _add(stream, "checksum", digest, checksumName="MD5")


def _schema(file: Path) -> str:
    if file.suffix == ".tiff":
        return "s1Level1MeasurementSchema"
    part = {"calibration": "Calibration", "noise": "Noise"}.get(file.name.split("-")[0], "Product")
    return f"s1Level1{part}Schema"


def _object_id(file: Path) -> str:
    kind = "product" if _schema(file) == "s1Level1ProductSchema" else ""
    return kind + file.stem.replace("-", "")


def _q(name: str) -> str:
    prefix, local = name.split(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"


def _add(parent: _Element, tag: str, text: str | None = None, **attributes: str) -> _Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    child.text = text
    return child


def _fields(parent: _Element, tag: str, values: Mapping[str, str]) -> _Element:
    child = _add(parent, tag)
    for name, text in values.items():
        _add(child, name, text)
    return child


def _list(parent: _Element, tag: str, count: int) -> _Element:
    return _add(parent, tag, count=str(count))


def _vector(parent: _Element, tag: str, values: NDArray[np.float64] | NDArray[np.int64], form: str) -> None:
    _add(parent, tag, " ".join(format(value, form) for value in values.tolist()), count=str(len(values)))


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}"


def _slant_time(incidence_deg: float) -> float:
    return float(2 * slant_range_m(np.array(incidence_deg)) / _LIGHT_M_S)


def _write_xml(root: _Element, path: Path) -> None:
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)
