#!/usr/bin/env python3
"""Kills the real jwksd under load, round after round, and judges every restart.

In one half of the rounds the process has a page cache of its own (volatile.c), which goes with it:
then a kill takes away what was not synced, as a power cut does.
"""

import argparse
import random
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from failure import Failure, failure_of, judged_start
from history import History
from judge import Broken, judge
from load import Load
from place import DoesNotOpen, Place
from shims import compiled

# After so many rounds a fresh place is begun, since keys leave traces for ever.
ROUNDS_IN_A_PLACE = 20

# Syncs without which the volatile half must break. Without the first alone the daemon itself tells.
CONTROLS = ["fdatasync:db", "fdatasync:db,fdatasync:latest", "fdatasync:audit.jsonl"]
CONTROL_ROUNDS = 10

# In microseconds: that of a place is one of these. Where syncs are slow, a kill often falls between
# a commit and what is told of it.
LONGEST_SYNCS = [2_000, 2_000, 2_000, 50_000]


@dataclass(frozen=True)
class Half:
    """Rounds of one kind; `without` names syncs that do nothing."""

    name: str
    rounds: int
    seed: int
    shim: Path
    without: str = ""

    @property
    def loses(self) -> bool:
        return self.name == "volatile"

    def environment(self, place: Place, rng: random.Random) -> dict[str, str]:
        if not self.loses:
            return {}
        return {
            "LD_PRELOAD": str(self.shim),
            "VOLATILE_DIR": str(place.data),
            "VOLATILE_SEED": str(rng.getrandbits(32)),
            "VOLATILE_EARLY": "8",
            "VOLATILE_DELAY": str(rng.choice(LONGEST_SYNCS)),
            "VOLATILE_WITHOUT": self.without,
        }


@dataclass
class Result:
    rounds: int = 0
    acts: int = 0
    tokens: int = 0
    failure: Failure | None = None


def main() -> int:
    arguments = parsed_arguments()
    began = time.monotonic()
    seed = arguments.seed
    print(f"kills: seed {seed}, {arguments.rounds} rounds", flush=True)
    with compiled("volatile.c") as shim, ProcessPoolExecutor(2) as pool:
        halves = [Half(name, arguments.rounds // 2, seed, shim) for name in ("plain", "volatile")]
        controls = [Half("volatile", CONTROL_ROUNDS, seed, shim, without) for without in CONTROLS]
        results = [*pool.map(run_half, halves)]
        control_results = [*pool.map(run_half, controls)]
    is_good = True
    broken = []
    for half, result in zip(halves, results, strict=True):
        print(
            f"kills: {half.name}: {result.rounds} rounds, {result.acts} acknowledged acts, "
            f"{result.tokens} tokens"
        )
        if result.failure:
            broken.append(f"BROKEN in round {result.rounds} of {half.name}, seed {seed}")
            print(f"\n{broken[-1]}{result.failure}")
            broken[-1] += f": {result.failure.first}"
            is_good = False
    for half, result in zip(controls, control_results, strict=True):
        if result.failure:
            print(f"kills: control: without {half.without}: {result.failure.first}")
            shutil.rmtree(result.failure.kept)
        else:
            print(f"kills: CONTROL FAILED: without {half.without} nothing was found")
            is_good = False
    print(f"kills: {time.monotonic() - began:.0f} s", *broken, sep="\n")
    return 0 if is_good else 1


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    return parser.parse_args()


def run_half(half: Half) -> Result:
    rng = random.Random(f"{half.seed} {half.name}")
    result = Result()
    while result.rounds < half.rounds and not result.failure:
        run_place(half, rng, result)
    return result


def run_place(half: Half, rng: random.Random, result: Result) -> None:
    place, history = Place.new(), History()
    place.environment.update(half.environment(place, rng))
    try:
        for number in range(min(half.rounds - result.rounds, ROUNDS_IN_A_PLACE)):
            run_round(place, history, number, rng, half.loses)
            result.rounds += 1
        result.failure = judged_start(place, history, half.loses)
    except (Broken, DoesNotOpen) as error:
        result.failure = failure_of(error, place, history)
    except AssertionError as error:
        if half.without:
            # A control must fail by what the daemon lost.
            raise
        result.failure = failure_of(error, place, history)
    finally:
        place.kill()
    result.acts += history.acts
    result.tokens += len(history.tokens)
    if not result.failure:
        place.remove()


def run_round(place: Place, history: History, number: int, rng: random.Random, loses: bool) -> None:
    """One start and one kill."""
    place.start()
    # The first two starts make the store.
    if number < 2 or number % 5 == 4:
        time.sleep(rng.uniform(0, 0.15 if number < 2 else 0.06))
        place.kill()
        history.killed(f"round {number}: killed during the start")
        return
    place.wait_until_ready()
    judge(place, history, loses)
    load = Load(place, history, rng)
    load.start()
    # Now and then as long as it takes that keys activate and retire by themselves.
    load.wait(rng.uniform(1.2, 1.8) if number % 10 == 6 else rng.uniform(0.005, 0.3))
    if number % 4 == 1:
        # It is about to stop anyway.
        place.terminate()
        time.sleep(rng.uniform(0, 0.03))
    at = time.time()
    place.kill()
    load.join()
    history.killed(f"round {number}: killed under load", at)


if __name__ == "__main__":
    sys.exit(main())
