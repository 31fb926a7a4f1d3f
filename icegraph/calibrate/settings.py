"""What to make of a Sentinel-1 product: one set of settings, for the library, the command line and the pipelines."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from icegraph.bounds import Bounds
from icegraph.errors import InputError

Quantity = Literal["sigma", "beta", "gamma"]
Filter = Literal["lee", "refined-lee", "gamma-map", "non-local", "boxcar", "none"]
Surface = Literal["none", "first-year", "multi-year", "water"]
Radar = Mapping[str, Any]
"""Settings by name, as text or as what they are."""

REFERENCE_DEG = 35.0
# Slopes in dB per degree, co- and cross-polarised. Ice in winter: deformed first-year ice of the Kara Sea (M. Mäkynen, J. Karvonen 2017,
# doi:10.1109/TGRS.2017.2721981: HH -0.24, level ice -0.25; HV -0.16); multi-year ice (doi:10.1109/TGRS.2023.3315056: HH -0.167; across it
# is flatter still). Water roughened by wind falls two to three times as steeply, by more in light winds than in strong: the middle.
SLOPES: Mapping[Surface, tuple[float, float]] = {"first-year": (-0.24, -0.16), "multi-year": (-0.167, -0.10), "water": (-0.60, -0.30)}


class RadarSettings(BaseModel):
    """What to make of a Sentinel-1 product; the stages after calibrate, and the models that are shipped, expect the defaults.

    Args:
        quantity: `sigma`, `beta` or `gamma` nought; the bands of the last two are named `<pol>_beta_db` and `<pol>_gamma_db`.
        speckle: The filter: `lee`, `refined-lee`, `gamma-map`, `non-local`, `boxcar` or `none`.
        nesz: Whether to add `<pol>_nesz_db`, the noise-equivalent sigma nought that was taken off.
        balance: Whether to rescale noise in each sub-swath, so that no steps are left between them (`icegraph.calibrate.balance`).
        area: West, south, east, north in degrees: only the part of the pass about it; west > east across 180 degrees.
        pixel_m: Pixel size, metres; default the product's own. Passes that come already on a map keep theirs.
        normalise: Whether to take the incidence angle out of sigma nought: as it would be at 35 degrees, if all of it were
            `first-year` ice, `multi-year` ice or `water`. The item says so in `icegraph:normalised`. The shipped models take the angle out
            themselves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantity: Quantity = "sigma"
    speckle: Filter = "lee"
    nesz: bool = False
    balance: bool = False
    area: Bounds | None = None
    pixel_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    normalise: Surface = "none"

    @field_validator("area", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("area")
    @classmethod
    def _on_earth(cls, value: Bounds | None) -> Bounds | None:
        if value is not None:
            west, south, east, north = value
            if not (-90 <= south < north <= 90 and -180 <= west <= 180 and -180 <= east <= 180 and west != east):
                raise ValueError("not west,south,east,north in degrees")
        return value

    @model_validator(mode="after")
    def _slopes_are_of_sigma(self) -> Self:
        if self.normalise != "none" and self.quantity != "sigma":
            raise ValueError(f"normalise is for sigma nought, whose slopes are known, and not for {self.quantity}")
        return self

    @classmethod
    def parse(cls, radar: Radar) -> Self:
        """Settings from names and values.

        Raises:
            InputError: A name or value that there is not.
        """
        try:
            return cls.model_validate(dict(radar))
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "radar"
            given = f"{name}={radar[name]}" if name in radar else name
            known = ", ".join(cls.model_fields)
            if first["type"] == "extra_forbidden":
                raise InputError(given, "there is no such setting of the radar", f"choose of {known}") from error
            problem = first["msg"].removeprefix("Value error, ")
            raise InputError(given, f"cannot be set ({problem[:1].lower()}{problem[1:]})", "give it another value") from error
