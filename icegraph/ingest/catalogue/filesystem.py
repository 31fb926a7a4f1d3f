"""File systems by address: a folder of this machine, or an S3 prefix."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from pyarrow import fs

from icegraph.errors import InputError


def open_place(place: str) -> tuple[fs.FileSystem, str, str]:
    """The file system of a place, the place's path there, and what stands before such a path in an address (`s3://`, or nothing).

    Server, region and credentials are those of `icegraph.store.s3`; AWS_NO_SIGN_REQUEST asks without any.

    Raises:
        InputError: There is no such folder, or the address is of another kind.
    """
    if place.startswith("s3://"):
        bucket = urlsplit(place)
        if not bucket.netloc:
            raise InputError(place, "names no bucket", "write s3://bucket/prefix")
        path = f"{bucket.netloc}/{bucket.path.strip('/')}".rstrip("/")
        return _s3(), path, "s3://"
    if not Path(place).is_dir():
        raise InputError(place, "is no folder, and no catalogue known here", "name copernicus, asf, earthdata, gibs, a folder or s3://…")
    return fs.LocalFileSystem(), str(Path(place).resolve()), ""


def _s3() -> fs.S3FileSystem:
    from icegraph.store.s3 import endpoint, session

    server, asking = urlsplit(endpoint() or ""), session()
    known = asking.get_credentials() if os.environ.get("ICEGRAPH_S3_SECRET") else None  # all else Arrow finds by itself
    return fs.S3FileSystem(
        access_key=known.access_key if known else None,
        secret_key=known.secret_key if known else None,
        anonymous=os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1"),
        region=asking.region_name,
        scheme=server.scheme or None,
        endpoint_override=server.netloc or None,
        connect_timeout=10,
        request_timeout=60,
    )
