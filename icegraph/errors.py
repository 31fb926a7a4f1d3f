"""The errors a user can meet: each one sentence that names the thing, what is wrong with it, and the mend."""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class IceGraphError(Exception):
    """An error whose text is meant for the user.

    Args:
        subject: The thing concerned, usually a path.
        problem: What was found, and what was expected.
        mend: What the user can do about it.
    """

    def __init__(self, subject: str | Path, problem: str, mend: str) -> None:
        super().__init__(f"{subject}: {problem}; {mend}.")
        self.subject = str(subject)
        self.problem = problem
        self.mend = mend


class PassError(IceGraphError):
    """A pass that cannot be used: truncated, incomplete, hostile, empty or of an unknown kind."""


class ModelError(IceGraphError):
    """A model that is missing, damaged or does not fit the scene."""


class InputError(IceGraphError):
    """Arguments or inputs that leave nothing useful to do."""


class StoreError(IceGraphError):
    """An object store that does not answer, refuses, or holds something else than was committed to it."""


class StoreAwayError(StoreError):
    """An object store that does not answer now, and may later."""


class RegistryError(IceGraphError):
    """A registry that does not answer, holds something else than was registered, or refuses a step."""


class WorseModelError(RegistryError):
    """A model that fails the gate, or is worse than the one in use, and that nobody gave a reason to promote."""


@contextmanager
def told() -> Iterator[None]:
    """End the process with one sentence, and no traceback, for what a user can meet: our errors, a full disk, an interruption."""
    try:
        yield
    except IceGraphError as error:
        _end(str(error), 1)
    except KeyboardInterrupt:
        _end("interrupted: nothing half-written is left; run the same command again.", 130)
    except MemoryError:
        _end("out of memory; close other programs, or give fewer or smaller passes.", 1)
    except Exception as error:
        if disk_is_full(error):
            place = f" {_shown(error)}" if isinstance(error, OSError) and error.filename else ""
            _end(f"disk full while writing{place}; free some space and run the same command again.", 1)
        if not isinstance(error, OSError):
            raise
        _end(_of_the_system(error), 1)


def disk_is_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that the disk is full; GDAL says so in words alone."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = error.__cause__ or error.__context__
    return full or "No space left" in str(error) or (cause is not None and disk_is_full(cause))


def _of_the_system(error: OSError) -> str:
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split()).rstrip(".")
    told_of = f"{_shown(error)}: {reason[:1].lower()}{reason[1:]}" if error.filename else reason
    return f"{told_of}; check that the place is there and may be read and written."


def _shown(error: OSError) -> str:
    """The place, without the hidden folders that files are first written to."""
    return re.sub(r"/\.([^/]+)\.icegraph-.*$", r"/\1", str(error.filename))


def _end(text: str, status: int) -> None:
    print(f"icegraph: {text}", file=sys.stderr, flush=True)
    raise SystemExit(status)
