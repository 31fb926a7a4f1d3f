import errno

import pytest

from icegraph.errors import PassError, told
from icegraph.progress import parse_progress, print_progress


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (PassError("a.tif", "it is truncated", "download it again"), 1, "icegraph: a.tif: it is truncated; download it again.\n"),
        (KeyboardInterrupt(), 130, "icegraph: interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "icegraph: disk full while writing"),
    ],
)
def test_what_a_user_can_meet_becomes_one_sentence_and_a_status(
    error: BaseException, status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, told():
        raise error
    assert ended.value.code == status
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("/home/u/.cache/in/a.tif", "/home/u/.cache/in/a.tif"),
        ("/home/u/.data/.scene.icegraph-a1b2/new/.hh.tif", "/home/u/.data/scene"),
        ("./.out.icegraph-a1b2/new", "./out"),
    ],
)
def test_the_place_told_is_the_one_that_the_user_knows(place: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), told():
        raise OSError(errno.EACCES, "Permission denied", place)
    assert capsys.readouterr().err.startswith(f"icegraph: {shown}: permission denied; ")


def test_a_defect_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), told():
        raise ZeroDivisionError


def test_progress_survives_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    print_progress("epoch 3 of 9: loss 0.5", 0.25)
    assert parse_progress("      " + capsys.readouterr().out) == ("epoch 3 of 9: loss 0.5", 0.25)
    assert parse_progress("anything else") is None
