"""Sentinel-1 GRD from the Copernicus Data Space: found by STAC, fetched as zipped SAFE.

documentation.dataspace.copernicus.eu, "STAC product catalogue" (collection `sentinel-1-grd`: every product with its pixels as COG, in the
layout and with the annotation of the SAFE format) and "OData" (download, checksums).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from pystac import Asset, Item
from pystac_client import Client, ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from icegraph.ingest.catalogue.download import fetch_from_web
from icegraph.ingest.catalogue.login import CopernicusLogin
from icegraph.ingest.catalogue.product import CatalogueError, Product, Query, Tell, file_name, utc
from icegraph.ingest.catalogue.web import get_json, new_session, patience

LICENCE = "Copernicus Sentinel data, free, full and open: contains modified Copernicus Sentinel data {year}"
_COLLECTION = "sentinel-1-grd"
_PAGE = 100
_MULTIHASH = {"d50110": "md5", "1114": "sha1", "1220": "sha256", "1340": "sha512", "1e20": "blake3"}  # code and length → algorithm


class Copernicus:
    """The Copernicus Data Space.

    Args:
        stac: STAC API.
        odata: OData API of the catalogue, which tells checksums.
        download: OData API that serves the products.
        identity: Where tokens are had.
    """

    name = "copernicus"

    def __init__(
        self,
        stac: str = "https://stac.dataspace.copernicus.eu/v1",
        odata: str = "https://catalogue.dataspace.copernicus.eu/odata/v1",
        download: str = "https://download.dataspace.copernicus.eu/odata/v1",
        identity: str = "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",
    ) -> None:
        self._stac, self._odata, self._download = stac, odata.rstrip("/"), download.rstrip("/")
        self._session = new_session()
        self._login = CopernicusLogin(identity, (download,))

    def search(self, query: Query) -> Iterator[Product]:
        """Sentinel-1 GRD that the query admits; see `Catalogue`."""
        reader = StacApiIO(max_retries=patience(), timeout=60)
        reader.session.auth = self._session.auth
        asked: dict[str, Any] = {"collections": [_COLLECTION], "datetime": f"{utc(query.start)}/{utc(query.end)}", "limit": _PAGE}
        if query.area is not None:
            asked["bbox"] = query.bounds
        try:
            client = Client.open(self._stac, stac_io=reader)
            if query.mode and client.conforms_to(ConformanceClasses.FILTER):
                asked["filter"] = {"op": "=", "args": [{"property": "sar:instrument_mode"}, query.mode.upper()]}
            for item in client.search(**asked).items():
                product = _product(item)
                if query.admits(product):
                    yield product
        except (APIError, requests.RequestException, KeyError, TypeError, ValueError, NotImplementedError) as error:
            told = getattr(error, "status_code", None) or type(error).__name__
            raise CatalogueError(self._stac, f"does not answer as a STAC API ({told})", "check the endpoint, or try again later") from None

    def fetch(self, product: Product, folder: Path, tell: Tell) -> Path:
        """The zip of a product; see `Catalogue`."""
        place = folder / f"{file_name(product.id)}.SAFE.zip"
        return fetch_from_web(self._complete, product, place, self._session, self._login, tell)

    def _complete(self, product: Product) -> Product:
        """The product with what its STAC item did not tell: its address, its checksum."""
        if product.checksum and product.href:
            return product
        answer, _ = get_json(self._session, f"{self._odata}/Products", params={"$filter": f"Name eq '{product.id}.SAFE'"})
        try:
            [entry] = answer["value"]
            sums = {str(one["Algorithm"]).lower(): str(one["Value"]).lower() for one in entry.get("Checksum") or [] if one.get("Value")}
            told = next((f"{name}:{sums[name]}" for name in ("md5", "blake3") if name in sums), None)
            return Product(
                **product.model_dump(exclude={"checksum", "href", "size"}),
                href=product.href or f"{self._download}/Products({entry['Id']})/$value",
                checksum=product.checksum or told,
                size=product.size or entry.get("ContentLength") or None,
            )
        except (TypeError, KeyError, ValueError, AttributeError):
            raise CatalogueError(product.id, "is not in the OData catalogue", "search again: it may have been replaced") from None


def _product(item: Item) -> Product:
    told = item.properties
    archive = item.assets.get("Product") or item.assets.get("product") or Asset("")
    start = item.common_metadata.start_datetime or item.datetime
    if start is None:
        raise ValueError("an item without a time")
    return Product(
        catalogue=Copernicus.name,
        id=item.id.removesuffix(".SAFE"),
        time=start,
        platform=str(told.get("platform", "")).title(),
        mode=str(told.get("sar:instrument_mode", "")),
        polarisations=tuple(str(one).upper() for one in told.get("sar:polarizations") or ()),
        footprint=item.geometry,
        size=archive.extra_fields.get("file:size") or None,
        checksum=_checksum(str(archive.extra_fields.get("file:checksum", ""))),
        href=archive.href,
        licence=LICENCE.format(year=start.year),
    )


def _checksum(multihash: str) -> str | None:
    """`md5:…` of a multihash in hexadecimal digits (STAC file extension 2.1; multiformats.io/multihash)."""
    found = next(((name, multihash[len(code) :]) for code, name in _MULTIHASH.items() if multihash.lower().startswith(code)), None)
    return f"{found[0]}:{found[1].lower()}" if found else None
