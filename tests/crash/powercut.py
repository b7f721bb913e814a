#!/usr/bin/env python3
"""Cuts the power of a loop device on which jwksd keeps its data, and judges what starts from it.

The daemon is stopped under load, and the image behind the device is copied: that is exactly what
the device had received. Needs root, loop devices and mkfs.ext4.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from failure import Failure, judged_start
from history import History
from load import Load
from place import Place
from shims import compiled

SIZE = "64M"
CONTROL_ROUNDS = 5
# On ext4 each sync of the audit also commits the size of sled's log. So in some rounds it is on
# another disk, which keeps its power.
AUDIT_ELSEWHERE = "audit.jsonl"
AUDITS = ["data/audit.jsonl", AUDIT_ELSEWHERE]
# The kernel must write nothing by itself between stop and copy.
OPTIONS = "loop,commit=300"


class NotHere(Exception):
    """Why this machine cannot cut the power."""


def main() -> int:
    arguments = parsed_arguments()
    began = time.monotonic()
    try:
        with disk():
            pass
    except NotHere as error:
        print(f"power cut: not run here, because {error}")
        return 0 if arguments.where_possible else 2
    print(f"power cut: seed {arguments.seed}, {arguments.rounds} rounds", flush=True)
    rng = random.Random(arguments.seed)
    acts = 0
    for number in range(arguments.rounds):
        history = History()
        if failure := run_round(number, history, rng, AUDITS[number // 2 % 2], {}):
            print(f"\nBROKEN in round {number} of seed {arguments.seed}{failure}")
            return 1
        acts += history.acts
    print(
        f"power cut: {arguments.rounds} rounds whole, {acts} acknowledged acts, "
        f"{time.monotonic() - began:.0f} s"
    )
    return control(rng)


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument(
        "--where-possible", action="store_true", help="where it cannot run, say so and succeed"
    )
    return parser.parse_args()


def control(rng: random.Random) -> int:
    """Without the sync of sled's log the same must find losses."""
    with compiled("no_fdatasync.c") as shim:
        environment = {"LD_PRELOAD": str(shim), "NO_FDATASYNC_OF": "/store/db"}
        for number in range(CONTROL_ROUNDS):
            if failure := run_round(number, History(), rng, AUDIT_ELSEWHERE, environment):
                print(f"power cut: control: without fdatasync:db, round {number}: {failure.first}")
                shutil.rmtree(failure.kept.parent)
                return 0
    print(f"power cut: CONTROL FAILED: without fdatasync:db {CONTROL_ROUNDS} rounds were whole")
    return 1


def run_round(
    number: int, history: History, rng: random.Random, audit: str, environment: dict[str, str]
) -> Failure | None:
    with disk() as image:
        place = Place.new(environment, audit=audit)
        with mounted(image, place.data):
            # In every other round on data that a clean restart found.
            for seconds in [rng.uniform(0.05, 0.2)] * (number % 2):
                live(place, history, rng, seconds)
                subprocess.run(["sync", "--file-system", place.data], check=True)
            live(place, history, rng, rng.uniform(0.02, 0.5), image)
        failure = start_from(image.with_suffix(".cut"), place, history)
        place.remove()
        return failure


def live(
    place: Place, history: History, rng: random.Random, seconds: float, image: Path | None = None
) -> None:
    """A life under load; with an image its end is the cut."""
    place.start()
    try:
        place.wait_until_ready()
        load = Load(place, history, rng)
        load.start()
        load.wait(seconds)
        at = time.time()
        place.stop()
        if image:
            shutil.copyfile(image, image.with_suffix(".cut"))
    finally:
        place.kill()
    load.join()
    history.killed("the power was cut" if image else "killed", at)


def start_from(image: Path, before: Place, history: History) -> Failure | None:
    place = Place.new(audit=str(before.audit.relative_to(before.folder)))
    with mounted(image, place.data):
        for file in before.folder.glob(f"{AUDIT_ELSEWHERE}*"):
            shutil.copyfile(file, place.folder / file.name)
        failure = judged_start(place, history, loses=True)
        if failure:
            failure.kept = shutil.copytree(place.data, place.folder / "after")
    if not failure:
        place.remove()
    return failure


@contextmanager
def disk() -> Iterator[Path]:
    """An image with an empty ext4 in it, which can be mounted."""
    for tool in ("mkfs.ext4", "mount", "umount"):
        if not shutil.which(tool):
            raise NotHere(f"there is no {tool}")
    if os.geteuid() != 0:
        raise NotHere("it needs root")
    # In memory where possible: the copy must be quick.
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="jwksd-crash-disk-", dir=memory if memory.is_dir() else None)
    image = Path(folder) / "disk"
    try:
        run("truncate", "--size", SIZE, image)
        lazy = "lazy_itable_init=0,lazy_journal_init=0"
        run("mkfs.ext4", "-q", "-F", "-E", lazy, image)
        with mounted(image, image.with_suffix(".mount")):
            pass
        yield image
    finally:
        shutil.rmtree(folder)


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, exist_ok=True)
    run("mount", "-o", OPTIONS, image, folder)
    try:
        folder.chmod(0o700)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotHere(f"{command[0]} failed: {done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main())
