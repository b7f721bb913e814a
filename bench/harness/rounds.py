"""Runs in turn, so that what disturbs the machine disturbs all that is compared."""

import statistics
import sys
from collections.abc import Callable


def interleaved(cases: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each case once, in turn, `rounds` times: the figures of each, in the order of the rounds.

    Every other round goes backwards, so that no case always comes after the same one.
    """
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}: {', '.join(cases)}", file=sys.stderr, flush=True)
        order = list(cases) if number % 2 == 0 else list(reversed(cases))
        for name in order:
            found[name].append(cases[name]())
    return found


def median(figures: list[float]) -> float:
    return statistics.median(figures)


def ratio(these: list[float], those: list[float]) -> float:
    """The median over the rounds of what the one is of the other in the same round, when the machine was as fast."""
    return statistics.median(one / other for one, other in zip(these, those, strict=True))
