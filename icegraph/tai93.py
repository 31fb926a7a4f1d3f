"""JAXA's time scale: TAI seconds since 1993-01-01 00:00:00 UTC, which count the leap seconds that UTC hides (AMSR2 Level 1 format)."""

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1993, 1, 1, tzinfo=UTC)
# The days that began after a leap second (IERS Bulletin C).
_LEAPS: Final = [
    datetime(year, month, 1, tzinfo=UTC)
    for year, month in (
        (1993, 7),
        (1994, 7),
        (1996, 1),
        (1997, 7),
        (1999, 1),
        (2006, 1),
        (2009, 1),
        (2012, 7),
        (2015, 7),
        (2017, 1),
    )
]


def to_tai93(time: datetime) -> float:
    """TAI93 seconds of a UTC time."""
    return (time - EPOCH).total_seconds() + sum(leap <= time for leap in _LEAPS)


def from_tai93(seconds: float) -> datetime:
    """UTC time of TAI93 seconds; the leap second itself reads as the second after it."""
    time = EPOCH + timedelta(seconds=seconds)
    passed = sum(leap + timedelta(seconds=number) <= time for number, leap in enumerate(_LEAPS, start=1))
    return time - timedelta(seconds=passed)
