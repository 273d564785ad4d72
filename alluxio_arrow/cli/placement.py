"""Which number of virtual nodes the servers have, told by where they put pages. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alluxio_arrow.ring import HashRing, WorkerIdentity

__all__ = ["Placement", "judge_placement"]

#: Counts that clusters have: today's and the former default, and round numbers.
_COUNTS = (
    5,
    2000,
    1,
    2,
    3,
    4,
    6,
    8,
    10,
    16,
    20,
    32,
    50,
    64,
    100,
    128,
    150,
    200,
    256,
    300,
    400,
    500,
    512,
    1000,
    1024,
    2048,
    5000,
    10_000,
)

#: Part of the files that must lie where a ring says. Not all: workers that came and went leave pages behind.
_FITS = 0.9

#: With fewer files, another count fits too often by chance.
_MANY_FILES = 5


@dataclass(frozen=True, slots=True)
class Placement:
    """What the places of pages say about the ring.

    Attributes
    ----------
    files
        Files of which some worker holds page 0.
    matched
        Those of them that lie with the owner that the configured count gives.
    fits
        Whether the configured count explains the places.
    others
        Other counts that explain them, the most usual first.
    """

    files: int
    matched: int
    fits: bool
    others: tuple[int, ...]

    @property
    def is_certain(self) -> bool:
        """Whether so many files can hardly lie right by chance."""
        return self.files >= _MANY_FILES


def judge_placement(
    workers: Sequence[WorkerIdentity], configured: int, holders: Mapping[str, set[WorkerIdentity]]
) -> Placement:
    """Compare places with rings.

    Parameters
    ----------
    workers
        Everyone on the ring, in its order.
    configured
        The configured number of virtual nodes.
    holders
        Canonical path -> workers that hold its page 0; files that nobody holds are passed over.
    """
    held = {path: who for path, who in holders.items() if who}

    def matched(count: int) -> int:
        ring = HashRing(workers, count)
        return sum(ring.candidates(path)[0] in who for path, who in held.items())

    if not held or not workers:
        return Placement(len(held), 0, fits=False, others=())
    now, everything = matched(configured), len(held)
    if now == everything:
        return Placement(everything, now, fits=True, others=())
    scores = {count: matched(count) for count in _COUNTS if count != configured}
    # Neighbouring counts share most of their points, so one that explains every place beats one that explains most of them.
    perfect = tuple(count for count, score in scores.items() if score == everything)
    if now >= _FITS * everything:
        return Placement(everything, now, fits=not perfect, others=perfect)
    good = sorted((count for count, score in scores.items() if score >= _FITS * everything), key=lambda count: -scores[count])
    return Placement(everything, now, fits=False, others=perfect or tuple(good))
