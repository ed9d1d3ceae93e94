"""What the doctor has found: checks, and all of them together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["PARTS", "Check", "Diagnosis", "Difference", "Finding", "Status"]

Status = Literal["pass", "differs", "fails", "skipped"]

PARTS = {
    "program": "This program",
    "settings": "Settings",
    "cache": "The cache",
    "hosts": "The way to the hosts",
    "contract": "What the service answers",
    "questions": "Open questions, and what the service answered",
}
"""Parts of a diagnosis, with their titles; the first three need no network."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it is known.

    Attributes
    ----------
    field : str
        Which, such as ``"alignment3d.tvr_00"``.
    known, came : object
        What is known of it, and what came.
    said : str
        Both as a clause.
    """

    field: str
    known: Any
    came: Any
    said: str

    def __str__(self) -> str:
        return self.said


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says: how it ended, what was found, what to do.

    Attributes
    ----------
    status : {"pass", "differs", "fails", "skipped"}
        ``"differs"``: an answer came, but is not what is known. ``"fails"``: it cannot be used,
        or did not come. ``"skipped"``: nobody looked, for the reason that is found.
    found : str
        What was found, as a sentence or a few words.
    remedy : str or None
        What to do.
    differences : tuple of Difference
        One by one, where something differs.
    """

    status: Status
    found: str
    remedy: str | None = None
    differences: tuple[Difference, ...] = ()

    @classmethod
    def of(
        cls, differences: Iterable[Difference], found: str, remedy: str | None = None
    ) -> Finding:
        """Return a finding that passes with what was found, or tells what differs."""
        listed = tuple(differences)
        if not listed:
            return cls("pass", found)
        told = "; ".join(map(str, listed[:3]))
        more = f"; and {len(listed) - 3} more" if len(listed) > 3 else ""
        return cls("differs", f"{told}{more}.", remedy, listed)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    part, name : str
        Where it belongs (see `PARTS`), and what it is called, such as ``"rma.dataset"``.
    status, found, remedy, differences :
        See `Finding`.
    bytes : int
        How many bytes came from the network for it, headers too.
    seconds : float
        How long it took.
    """

    part: str
    name: str
    status: Status
    found: str
    remedy: str | None = None
    bytes: int = 0
    seconds: float = 0.0
    differences: tuple[Difference, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks, and what they cost.

    Attributes
    ----------
    checks : tuple of Check
        In the order of `PARTS`.
    service : str or None
        The address of the API; `None` where the settings make no sense.
    synthetic : bool or None
        Whether the service says that its data are made up; `None` if it was not asked.
    offline : bool
        Whether the network was left alone.
    bytes : int
        What came from the network.
    seconds : float
        How long all took.
    """

    checks: tuple[Check, ...]
    service: str | None
    synthetic: bool | None
    offline: bool
    bytes: int
    seconds: float

    def count(self, status: Status) -> int:
        """Return how many checks ended in a way."""
        return sum(check.status == status for check in self.checks)

    @property
    def healthy(self) -> bool:
        """Whether nothing differs, and nothing fails."""
        return not self.count("differs") and not self.count("fails")

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)
