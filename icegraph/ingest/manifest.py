"""The manifest: which passes came in, from which files, and which were refused and why.

Written as `manifest.json` by `icegraph.ingest.ingest` and read by every later stage that starts from raw files.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from icegraph.errors import InputError
from icegraph.store import Refusal, atomic_path

Kind = Literal["sentinel1", "amsr2", "optical", "sar-geotiff"]


class File(BaseModel):
    """One raw file.

    Args:
        path: Absolute path. A member of a zip is not listed: the zip is the file.
        sha256: 64 hexadecimal digits.
        bytes: Its size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Pass(BaseModel):
    """One pass, told from its headers, and where they leave a band or a unit open, from a sample of its pixels.

    Args:
        id: SAFE folder name without `.SAFE`, STAC item id, or file stem.
        kind: Which reader it needs; `amsr2` passes are partners for fuse, not passes to segment.
        href: Absolute path of the SAFE folder, zip, AMSR2 file, STAC item or GeoTIFF.
        files: The raw files behind it.
        time: Time of the pass, UTC: the middle of the acquisition where a SAFE product tells both ends.
        platform: For instance `Sentinel-1B`, `GCOM-W`, `Terra`.
        bounds: West, south, east, north in degrees; west > east where the pass crosses 180 degrees.
        licence: Terms of use of the data, in words or as an SPDX id.
        source: Address it was downloaded from, where that is known.
        bands: Names of its bands; those that calibrate uses as it will name them.
        notes: What was guessed or put right, in plain sentences.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")  # ids become folder names
    kind: Kind
    href: Path
    files: list[File] = Field(min_length=1)
    time: AwareDatetime
    platform: str
    bounds: tuple[float, float, float, float]
    licence: str
    source: str | None = None
    bands: list[str]
    notes: list[str] = Field(default_factory=list)


class Manifest(BaseModel):
    """What came in.

    Args:
        passes: Those accepted, sorted by time.
        refused: Those refused, by name.
        expectations: The outcome of each table that was held against expectations (`icegraph.expectations`).
        notes: What was done to the list as a whole (sorting, duplicates).
        created_by: Version of the code.
    """

    model_config = ConfigDict(extra="forbid")

    passes: list[Pass]
    refused: list[Refusal] = Field(default_factory=list)
    expectations: list[dict[str, Any]] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    created_by: str

    @property
    def scenes(self) -> list[Pass]:
        """The passes to calibrate and segment: all but AMSR2."""
        return [entry for entry in self.passes if entry.kind != "amsr2"]

    def require_scenes(self) -> list[Pass]:
        """The same, where there is at least one.

        Raises:
            InputError: There is none; it tells every refusal.
        """
        if not self.scenes:
            only_amsr2 = "there is only AMSR2 data; name the radar pass that they belong to."
            reasons = " ".join(refusal.reason for refusal in self.refused) or only_amsr2
            problem, _, mend = reasons.rstrip(".").rpartition("; ")
            raise InputError("no pass could be used", problem, mend)
        return self.scenes

    @property
    def partners(self) -> list[Pass]:
        """The AMSR2 swaths and daily maps, for fuse."""
        return [entry for entry in self.passes if entry.kind == "amsr2"]

    def refusing(self, more: Iterable[Refusal]) -> Self:
        """The same manifest with what later stages refused."""
        return self.model_copy(update={"refused": [*self.refused, *more]})

    def write(self, path: Path) -> None:
        """Write the manifest as JSON, whole or not at all."""
        with atomic_path(path) as beside:
            beside.write_text(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest.

        Raises:
            InputError: There is none, or it does not follow this form.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise InputError(path, f"not a readable manifest ({first})", "name the manifest.json that ingest wrote") from error
