"""TAI93 against known granule times."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icegraph.tai93 import from_tai93, to_tai93


def test_leap_seconds_count() -> None:
    assert to_tai93(datetime(1993, 1, 1, tzinfo=UTC)) == 0
    # TAI - UTC was 27 s at the epoch, 35 s from July 2012, 37 s from 2017 (IERS Bulletin C).
    assert to_tai93(datetime(2013, 1, 1, tzinfo=UTC)) == 20 * 365 * 86400 + 5 * 86400 + 8
    assert to_tai93(datetime(2020, 1, 1, tzinfo=UTC)) == 27 * 365 * 86400 + 6 * 86400 + 10


@given(st.datetimes(datetime(1993, 1, 2), datetime(2040, 1, 1)))
def test_times_come_back(time: datetime) -> None:
    utc = time.replace(tzinfo=UTC)
    assert abs(from_tai93(to_tai93(utc)) - utc) < timedelta(milliseconds=1)


@pytest.mark.parametrize("year", [2012, 2015, 2017])
def test_seconds_about_a_leap_second_are_a_second_apart(year: int) -> None:
    after = datetime(year, 1 if year == 2017 else 7, 1, tzinfo=UTC)
    assert to_tai93(after) - to_tai93(after - timedelta(seconds=1)) == 2
    assert from_tai93(to_tai93(after)) == after
