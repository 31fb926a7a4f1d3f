"""AMSR2 data among what is ingested: recognised in every form, or refused by name."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from ice_maps import FORMS, write_bremen, write_nsidc

from icegraph.ingest import ingest

NOON = datetime(2020, 3, 1, 12, tzinfo=UTC)


def test_daily_maps_in_a_folder_are_partners(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for form in FORMS:
        (folder / form).mkdir(parents=True)
        write_bremen(folder / form, form, cell_km={"hdf": 25.0, "tif": 12.5, "nc": 50.0}[form])
    write_nsidc(folder)
    manifest = ingest([folder], tmp_path)
    assert manifest.passes == manifest.partners
    assert {entry.href.suffix for entry in manifest.partners} == {".hdf", ".tif", ".nc", ".he5"}
    assert {(entry.kind, entry.platform, entry.time) for entry in manifest.partners} == {("amsr2", "GCOM-W1", NOON)}
    assert all("cite" in entry.licence for entry in manifest.partners)


@pytest.mark.parametrize(
    "name", ["asi-AMSR2-n6250-20200301-v5.4.hdf", "asi-AMSR2-n6250-20200301-v5.4.tif", "AMSR_U2_L3_SeaIce12km_B04_20200301.he5", "x.nc"]
)
def test_what_is_no_map_is_refused_by_name_and_the_rest_goes_on(tmp_path: Path, name: str) -> None:
    good = write_bremen(tmp_path, "tif", cell_km=50.0)
    bad = tmp_path / name
    bad.write_bytes(b"<html>login first</html>")
    manifest = ingest([good, bad], tmp_path / "out")
    assert [entry.href for entry in manifest.partners] == [good.resolve()]
    (refusal,) = manifest.refused
    assert refusal.path == str(bad)
    assert name in refusal.reason and "download it again" in refusal.reason


def test_netcdf_and_hdf4_of_other_things_are_passed_over_in_a_folder(tmp_path: Path) -> None:
    write_bremen(tmp_path, "nc", cell_km=50.0)
    (tmp_path / "drift.nc").write_bytes(b"CDF\x01")
    (tmp_path / "MOD09CMG.A2020061.hdf").write_bytes(b"\x0e\x03\x13\x01")
    manifest = ingest([tmp_path], tmp_path / "out")
    assert len(manifest.partners) == 1
    assert manifest.refused == []
