"""Scenes that a request names: addresses in S3 under the places that the server was started with, and nothing else."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from icegraph.errors import IceGraphError, InputError, StoreError
from icegraph.scene import Scene
from icegraph.serve.refusal import Refused, Why, unusable

_ADDRESS = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=+:@,-]+)+")
_ITEM = "/item.json"


class AllowList:
    """Buckets and prefixes that requests may name scenes in.

    Args:
        places: `s3://BUCKET` or `s3://BUCKET/PREFIX`; a prefix ends at a whole name.

    Raises:
        InputError: One is no such address.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self._places = [place.rstrip("/") for place in places]
        for place in self._places:
            if not _ADDRESS.fullmatch(f"{place}/x") or _leads_elsewhere(place):
                raise InputError(place, "is not a bucket or a prefix of one", "write s3://BUCKET or s3://BUCKET/PREFIX")

    def open(self, address: str) -> Scene:
        """Open a committed scene.

        Args:
            address: `s3://BUCKET/KEY` of the scene, or of its `item.json`.

        Raises:
            Refused: It is no address in a place that is allowed, or what lies there is no scene.
        """
        address = address.removesuffix(_ITEM)
        if not _ADDRESS.fullmatch(address) or _leads_elsewhere(address):
            raise unusable("a reference must be s3://BUCKET/KEY of a scene, without . or .. in it.")
        if not any(address.startswith(f"{place}/") for place in self._places):
            text = f"scenes in {', '.join(self._places)} may be referred to" if self._places else "this server was started without --allow"
            raise Refused(Why.NOT_ALLOWED, f"{address} is not in a place that this server reads: {text}.")
        try:
            scene = Scene.open(address)
            scene.grid, scene.sensor  # noqa: B018 - an item that lacks them is none of ours
        except StoreError:
            raise
        except IceGraphError as error:
            raise Refused(Why.UNKNOWN, str(error)) from error
        except (KeyError, ValueError, TypeError) as error:
            raise unusable(f"{address} is not a scene that calibrate or fuse wrote ({error}).") from error
        # GDAL would follow an item's own addresses to other hosts and files.
        for name, asset in scene.item.assets.items():
            if PurePosixPath(asset.href).name != asset.href or asset.href in (".", ".."):
                raise unusable(f"the asset {name} of {address} does not lie beside its item; commit the scene as a folder.")
        return scene


def _leads_elsewhere(address: str) -> bool:
    return any(part in (".", "..") for part in address.removeprefix("s3://").split("/"))
