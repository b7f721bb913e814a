#!/usr/bin/env python3
"""Replays the system calls of starts with many key sets up to a power cut.

A start writes 512 key sets in one commit, which is longer than the blocks in which sled writes its log. At
a cut all of a commit must be there, or nothing: then the next start gives all its sets the same revision.
Needs strace.
"""

import argparse
import random
import sys
import time

from history import History
from place import KEYSETS, DoesNotOpen, Place
from recording import STRACE, Recorder, Recording, Written
from replay import LOG, MODES, Cut, Recorded, Task, build
from waiting import wait_until

IN_ONE = 512
# More than go into one commit.
MANY = {**{f"many-{number:03}": ("ES256", "1h") for number in range(600)}, "quick": KEYSETS["quick"]}
LIVES = 2
# In so many cuts the log is being written.
AT_THE_LOG = 0.8
# Syncs without which some images must be broken.
CONTROL = "fdatasync:db"
CONTROL_IMAGES = 25


def main() -> int:
    arguments = parsed_arguments()
    began = time.monotonic()
    recording = record()
    log = writes_to_the_log(recording)
    largest = max(len(recording.events[at].data) for at in log)
    print(f"rounds: seed {arguments.seed}, {len(log)} writes to the log of up to {largest} bytes", flush=True)
    broken = replay_all(recording, arguments.seed, arguments.images, ())
    for image in broken[:3]:
        print(f"BROKEN {image}")
    print(f"rounds: {arguments.images - len(broken)} of {arguments.images} images whole")
    found = replay_all(recording, arguments.seed, CONTROL_IMAGES, (CONTROL,))
    if found:
        print(f"rounds: control: without {CONTROL} {len(found)} of {CONTROL_IMAGES} images broken: {found[0]}")
    else:
        print(f"rounds: CONTROL FAILED: without {CONTROL} nothing was found")
    print(f"rounds: {time.monotonic() - began:.0f} s")
    return 1 if broken or not found else 0


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    return parser.parse_args()


def record() -> Recording:
    """Starts on a store in which nothing but that is to be done, each ended by a kill."""
    place = Place.new(keysets=MANY)
    try:
        place.start()
        place.wait_until_ready()
        wait_until(lambda: all(keyset["standby"] for keyset in listed(place)), timeout=60, what="there are standbys")
        place.kill()
        recording = Recording.of(place.data)
        recorder = Recorder(recording)
        for life in range(LIVES):
            log = place.folder / f"strace.{life}"
            place.start(*STRACE, "-o", str(log))
            place.wait_until_ready()
            place.kill()
            recorder.read(log)
        return recording
    finally:
        place.kill()
        place.remove()


def writes_to_the_log(recording: Recording) -> list[int]:
    file = recording.files[LOG]
    return [at for at, event in enumerate(recording.events) if isinstance(event, Written) and event.file == file]


def replay_all(recording: Recording, seed: int, images: int, without: tuple[str, ...]) -> list[str]:
    """What is wrong with each image that is broken."""
    task = Task(Recorded(recording, History(), History()), seed, without, flips=0.0)
    log, last = writes_to_the_log(recording), len(recording.events)
    broken = []
    for number in range(images):
        rng = random.Random(f"{seed} {number}")
        at = rng.choice(log) + rng.randint(-3, 6) if rng.random() < AT_THE_LOG else rng.randint(1, last)
        cut = Cut(min(max(at, 1), last), rng.choice(MODES), is_flipped=False)
        if complaint := started(task, cut, rng):
            broken.append(f"image {number}, {cut}: {complaint}")
    return broken


def started(task: Task, cut: Cut, rng: random.Random) -> str | None:
    """Why a daemon does not start from the image, or which commit is there by half."""
    place = Place.new(keysets=MANY)
    build(task, place.data, cut, rng)
    try:
        place.start()
        place.wait_until_ready()
        wait_until(lambda: is_whole(place), timeout=20, what="the sets of a commit have one revision")
    except (DoesNotOpen, AssertionError) as error:
        return str(error)
    finally:
        place.kill()
        place.remove()
    return None


def is_whole(place: Place) -> bool:
    """A start that takes longer than a second writes to all sets again, in smaller commits, when it serves."""
    keysets = listed(place)
    revisions = [keyset["revision"] for keyset in keysets]
    commits = (set(revisions[:IN_ONE]), set(revisions[IN_ONE:]))
    is_there = len(keysets) == len(MANY) and all(keyset["active"] for keyset in keysets)
    return is_there and all(len(commit) == 1 for commit in commits)


def listed(place: Place) -> list[dict]:
    """All key sets, in the order in which a start takes them: that of their names."""
    status, answer = place.call("admin", "GET", "/v1/keysets")
    if status != 200:
        raise DoesNotOpen(f"GET /v1/keysets answered {status}: {answer}")
    return answer["keysets"]


if __name__ == "__main__":
    sys.exit(main())
