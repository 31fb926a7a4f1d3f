"""NASA's Common Metadata Repository: Sentinel-1 GRD at ASF, and AMSR2 at NSIDC, fetched with an Earthdata login.

cmr.earthdata.nasa.gov/search/site/docs/search/api.html (paging by CMR-Search-After); granules in the Unified Metadata Model (UMM-G). Asked
directly: asf_search and earthaccess ask the same repository, but speak to https hosts alone, so that they cannot be tested against a
server here, and earthaccess brings thirty packages.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from icegraph.ingest.catalogue.area import as_geojson, box_area
from icegraph.ingest.catalogue.copernicus import LICENCE
from icegraph.ingest.catalogue.download import fetch_from_web
from icegraph.ingest.catalogue.login import EarthdataLogin
from icegraph.ingest.catalogue.product import CatalogueError, Product, Query, Tell, file_name, utc
from icegraph.ingest.catalogue.web import get_json, new_session
from icegraph.ingest.stac import parse_time

_PAGE = 200
_SENTINEL1 = [f"SENTINEL-1{unit}_{kind}_GRD_{grade}" for unit in "ABCD" for kind in ("SP", "DP") for grade in ("MEDIUM", "HIGH")]
_OPEN = "NASA Earth science data, open (earthdata.nasa.gov, data use)"
_UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}


class _Repository:
    """What ASF and NSIDC share.

    Args:
        cmr: The repository.
        login: Earthdata Login.
        data: An address whose host may see the token too.
    """

    name: str

    def __init__(self, cmr: str = "https://cmr.earthdata.nasa.gov", login: str = "https://urs.earthdata.nasa.gov", data: str = "") -> None:
        self._granules = f"{cmr.rstrip('/')}/search/granules.umm_json"
        self._session = new_session()
        self._login = EarthdataLogin(login, (data,) if data else ())

    def fetch(self, product: Product, folder: Path, tell: Tell) -> Path:
        """The file of a granule; see `Catalogue`."""
        place = folder / file_name(Path(urlsplit(product.href).path).name)
        return fetch_from_web(lambda same: same, product, place, self._session, self._login, tell)

    def _ask(self, query: Query, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """UMM-G records, page by page."""
        asked |= {"temporal": f"{utc(query.start)},{utc(query.end)}", "page_size": _PAGE, "sort_key[]": ["start_date", "granule_ur"]}
        if query.area is not None:
            asked["bounding_box"] = ",".join(f"{value:.6f}" for value in query.bounds)
        headers: dict[str, str] = {}
        while True:
            answer, response = get_json(self._session, self._granules, params=asked, headers=headers)
            try:
                yield from [entry["umm"] for entry in answer["items"]]
            except (TypeError, KeyError):
                raise CatalogueError(self._granules, "does not answer as CMR does", "check the endpoint, or try again later") from None
            after = response.headers.get("CMR-Search-After")
            if not after or not answer["items"]:
                return
            headers = {"CMR-Search-After": after}


class Asf(_Repository):
    """Sentinel-1 GRD at the Alaska Satellite Facility, as zipped SAFE."""

    name = "asf"

    def search(self, query: Query) -> Iterator[Product]:
        """Sentinel-1 GRD that the query admits; see `Catalogue`."""
        asked: dict[str, Any] = {"provider": "ASF", "short_name[]": _SENTINEL1}
        if query.mode:
            asked["attribute[]"] = f"string,BEAM_MODE,{query.mode.upper()}"
        for granule in self._ask(query, asked):
            product = _product(self.name, granule, "")
            if product and query.admits(product):
                yield product


class Earthdata(_Repository):
    """AMSR2 on daily polar grids, AU_SI12 unless the query's mode names another collection (`AU_SI6`, `AU_SI25`)."""

    name = "earthdata"

    def search(self, query: Query) -> Iterator[Product]:
        """AMSR2 grids that the query admits; see `Catalogue`."""
        collection = query.mode.upper() or "AU_SI12"
        for granule in self._ask(query, {"short_name": collection}):
            product = _product(self.name, granule, collection)
            if product and query.admits(product):
                yield product


def _product(catalogue: str, granule: dict[str, Any], collection: str) -> Product | None:
    """A granule as a product, or None where it names no file or no time, or is none."""
    with suppress(TypeError, ValueError, KeyError, AttributeError, IndexError):
        more = {one["Name"]: one["Values"][0] for one in granule.get("AdditionalAttributes") or []}
        links = [str(one["URL"]) for one in granule["RelatedUrls"] if one["Type"] == "GET DATA"]
        [href, *_] = [link for link in links if link.startswith(("https://", "http://"))]
        span = granule["TemporalExtent"]
        time = parse_time(str(span["RangeDateTime"]["BeginningDateTime"] if "RangeDateTime" in span else span["SingleDateTime"]))
        [distributed, *_] = (granule.get("DataGranule") or {}).get("ArchiveAndDistributionInformation") or [{}]
        return Product(
            catalogue=catalogue,
            id=str(granule["GranuleUR"]) if collection else Path(urlsplit(href).path).stem,
            time=time,
            platform=str(more.get("ASF_PLATFORM") or granule["Platforms"][0]["ShortName"]),
            mode=collection or str(more.get("BEAM_MODE", "")),
            polarisations=tuple(filter(None, str(more.get("POLARIZATION", "")).upper().split("+"))),
            footprint=_footprint(granule),
            size=_size(more, distributed),
            checksum=_checksum(more, distributed),
            href=href,
            licence=_OPEN if collection else LICENCE.format(year=time.year),
        )
    return None


def _footprint(granule: dict[str, Any]) -> dict[str, Any] | None:
    domain = ((granule.get("SpatialExtent") or {}).get("HorizontalSpatialDomain") or {}).get("Geometry") or {}
    with suppress(KeyError, TypeError, IndexError, ValueError):
        if domain.get("GPolygons"):
            points = domain["GPolygons"][0]["Boundary"]["Points"]
            return {"type": "Polygon", "coordinates": [[[float(one["Longitude"]), float(one["Latitude"])] for one in points]]}
        side = domain["BoundingRectangles"][0]
        west, south, east, north = (float(side[f"{name}BoundingCoordinate"]) for name in ("West", "South", "East", "North"))
        return as_geojson(box_area((west, south, east, north)))
    return None


def _size(more: dict[Any, Any], distributed: dict[str, Any]) -> int | None:
    with suppress(KeyError, TypeError, ValueError):
        return int(float(more["BYTES"]))
    with suppress(KeyError, TypeError, ValueError):
        return int(distributed["SizeInBytes"])
    with suppress(KeyError, TypeError, ValueError):
        return int(float(distributed["Size"]) * _UNITS[str(distributed.get("SizeUnit", "B")).upper()])
    return None


def _checksum(more: dict[Any, Any], distributed: dict[str, Any]) -> str | None:
    told = distributed.get("Checksum") or ({"Algorithm": "md5", "Value": more["MD5SUM"]} if more.get("MD5SUM") else {})
    return f"{told['Algorithm']}:{told['Value']}".lower().replace("sha-", "sha") if told.get("Algorithm") and told.get("Value") else None
