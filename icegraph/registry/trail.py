"""The audit trail of a name: its steps in the order they were taken, each bound to the one before by SHA-256.

Of two steps taken at once on the same state the first counts: the second names a step before it that is not the last any more. Everybody
who reads the trail sees the same, so that no lock is needed. What a name's aliases should be follows from the steps that count.
"""

import getpass
import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from icegraph.errors import RegistryError
from icegraph.store import code_version

CANDIDATE, CHALLENGER, CHAMPION = ALIASES = ("candidate", "challenger", "champion")
REGISTER, PROMOTE, ROLL_BACK, PIN = "register", "promote", "rollback", "pin"


def whoami() -> str:
    """Who takes a step here: user@machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a numeric user without a name, as in a container
        user = "user"
    return f"{user}@{platform.node()}"


@dataclass(frozen=True)
class Step:
    """One step in the life of a name.

    Args:
        kind: `register`, `promote`, `rollback` or `pin`.
        name: Of the models, or of what is pinned.
        version: Number of the version, 0 where there is none.
        sha256: What it is, by content.
        alias: What it became, where it became something.
        before: Number of the version that was the champion, 0 for none.
        because: Why, where somebody told.
        figures: What it was judged by.
        by: Who took the step.
        at: When, UTC.
        code_version: With which code.
    """

    kind: str
    name: str
    version: int
    sha256: str
    alias: str = ""
    before: int = 0
    because: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    by: str = field(default_factory=whoami)
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    code_version: str = field(default_factory=code_version)

    def bound(self, previous: str) -> str:
        """The text of the entry that follows the one with the SHA-256 `previous`."""
        return json.dumps({"previous": previous, **asdict(self)}, sort_keys=True, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class Trail:
    """The steps of a name that count, first to last.

    Args:
        steps: The steps.
        head: SHA-256 of the last one's entry; empty for none.
        lost: How many steps were taken on a state that was not the last any more.
    """

    steps: tuple[Step, ...] = ()
    head: str = ""
    lost: int = 0

    @property
    def champions(self) -> list[int]:
        """Numbers of the champions one after the other, without those that were rolled back: the last is in use."""
        found: list[int] = []
        for step in self.steps:
            if step.kind == ROLL_BACK:
                found.pop()
            elif step.kind == PROMOTE and step.alias == CHAMPION:
                found.append(step.version)
        return found

    @property
    def aliases(self) -> dict[str, int]:
        """Alias → number of the version that has it."""
        found: dict[str, int] = {}
        for step in self.steps:
            if step.alias in (CANDIDATE, CHALLENGER):
                found[step.alias] = step.version
            elif step.alias == CHAMPION and found.get(CHALLENGER) == step.version:
                del found[CHALLENGER]
        return found | ({CHAMPION: self.champions[-1]} if self.champions else {})


def entry_sha256(text: str) -> str:
    """By what the next entry names an entry."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_trail(name: str, entries: Iterable[str]) -> Trail:
    """The trail that entries, in the order they were taken, make.

    Raises:
        RegistryError: An entry names none before it: the trail was altered.
    """
    steps: list[Step] = []
    heads = [""]
    lost = 0
    for number, text in enumerate(entries, 1):
        try:
            said = json.loads(text)
            previous, step = said.pop("previous"), Step(**said)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _altered(name, number) from error
        if previous == heads[-1]:
            heads.append(entry_sha256(text))
            steps.append(step)
        elif previous in heads:
            lost += 1
        else:
            raise _altered(name, number)
    return Trail(tuple(steps), heads[-1], lost)


def _altered(name: str, number: int) -> RegistryError:
    return RegistryError(
        name, f"entry {number} of its trail does not follow from those before it: the trail was altered", "restore the registry's backup"
    )
