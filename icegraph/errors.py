"""The errors a user can meet: each one sentence that names the thing, what is wrong with it, and the mend."""

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
