#!/usr/bin/env python3
"""Replays the system calls of a busy jwksd up to a power cut, and judges what starts from it.

At a cut, writes that no sync covers are there, missing, torn at sectors or present as a longer file
only, in any combination; names change in their order, at least up to the last fsync. What an
answer vouched for before the cut must be there.
"""

import argparse
import copy
import multiprocessing
import random
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from failure import Failure, judged_start
from history import History
from image import Image
from load import Load
from place import Place
from recording import (
    STRACE,
    Answered,
    Event,
    Made,
    MadeFolder,
    Recorder,
    Recording,
    Removed,
    Renamed,
    Resized,
    Synced,
    Written,
)

SECTOR = 512
WORKERS = 2
LOG = "store/db"
# What of the writes that are not durable is on the disk.
MODES = ["all lost", "all kept", "some lost", "torn", "only sizes", "mixed"]
# What the daemon says where a bit was flipped and it cannot know that all is there.
REFUSED = "is damaged"
# In so many images the disk has also forgotten a bit of the log.
FLIPS = 0.2
# Syncs without which some images must be broken, and the share of flipped ones among these: the
# number in `latest` is there for damage that comes on top.
CONTROLS = {
    "fdatasync:db": 0.0,
    "fdatasync:db,fdatasync:latest": 0.0,
    "fdatasync:latest": 1.0,
    "fdatasync:audit.jsonl": 0.0,
}
CONTROL_IMAGES = 40
# Failures that are told in full and kept; the rest is counted.
TOLD = 3


@dataclass(frozen=True)
class Recorded:
    """A recording, and what was asked and answered before it and meanwhile."""

    recording: Recording
    before: History
    asked: History


@dataclass(frozen=True)
class Task:
    """What is replayed, and which syncs are taken to do nothing."""

    recorded: Recorded
    seed: int
    without: tuple[str, ...] = ()
    flips: float = FLIPS


@dataclass(frozen=True)
class Cut:
    """Where the power is cut, what of the rest is lost, and whether the disk forgets a bit too."""

    at: int
    mode: str
    is_flipped: bool


@dataclass
class BrokenImage(Failure):
    image: str = ""


def main() -> int:
    arguments = parsed_arguments()
    began = time.monotonic()
    recorded = record(random.Random(arguments.seed))
    print(f"replay: seed {arguments.seed}, {told(recorded)}", flush=True)
    failures = replay_all(Task(recorded, arguments.seed), arguments.images)
    whole = arguments.images - len(failures)
    print(f"replay: {whole} of {arguments.images} images whole")
    for failure in failures[:TOLD]:
        print(f"\nBROKEN {failure.image}{failure}")
    for failure in failures[TOLD:]:
        shutil.rmtree(failure.kept)
    is_good = not failures
    for without, flips in CONTROLS.items():
        task = Task(recorded, arguments.seed, tuple(without.split(",")), flips)
        found = replay_all(task, CONTROL_IMAGES)
        if found:
            print(
                f"replay: control: without {without} {len(found)} of {CONTROL_IMAGES} images "
                f"broken: {found[0].first}"
            )
        else:
            print(f"replay: CONTROL FAILED: without {without} nothing was found")
            is_good = False
        for failure in found:
            shutil.rmtree(failure.kept)
    print(f"replay: {time.monotonic() - began:.0f} s")
    for failure in failures[:TOLD]:
        print(f"BROKEN {failure.image}: {failure.first}")
    return 0 if is_good else 1


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    return parser.parse_args()


def told(recorded: Recorded) -> str:
    events = recorded.recording.events
    counts = {kind: sum(isinstance(event, kind) for event in events) for kind in (Written, Synced)}
    return (
        f"{len(events)} events with {counts[Written]} writes and {counts[Synced]} syncs, "
        f"{recorded.asked.acts} acknowledged acts, {len(recorded.asked.tokens)} tokens"
    )


# Recording.


def record(rng: random.Random) -> Recorded:
    """Two lives of a daemon under load, both ended by a kill, on data that had one before."""
    place = Place.new()
    before, asked = History(), History()
    try:
        live(place, before, rng, 0.5)
        recording = Recording.of(place.data)
        recorder = Recorder(recording)
        asked = copy_of(before)
        for life in range(2):
            log = place.folder / f"strace.{life}"
            live(place, asked, rng, 1.5, log)
            recorder.read(log)
            check_whole(recording)
        return Recorded(recording, before, asked)
    finally:
        place.kill()
        place.remove()


def live(
    place: Place, history: History, rng: random.Random, seconds: float, log: Path | None = None
) -> None:
    under = [*STRACE, "-o", str(log)] if log else []
    place.start(*under)
    place.wait_until_ready()
    load = Load(place, history, rng)
    load.start()
    load.wait(seconds)
    # How a call ended that a kill cuts short strace does not see.
    place.stop(log)
    place.kill()
    load.join()


def check_whole(recording: Recording) -> None:
    """What strace did not see would be missing in every image."""
    image = Image(recording)
    for event in recording.events:
        image.take(event)
    recorded, real = image.files(), Image(Recording.of(recording.folder)).files()
    for name in sorted(recorded.keys() | real.keys()):
        if recorded.get(name) != real.get(name):
            raise AssertionError(f"{name} is not as it was recorded")


def copy_of(history: History) -> History:
    whole = History()
    for name, value in vars(history).items():
        if not name.startswith("_"):
            setattr(whole, name, copy.copy(value))
    return whole


# Replaying.


def replay_all(task: Task, images: int) -> list[BrokenImage]:
    # The recording is inherited by the workers, not sent to them.
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork"), begin, (task,)) as pool:
        return [*filter(None, pool.map(replay, range(images)))]


def begin(task: Task) -> None:
    global in_worker
    in_worker = task


def replay(number: int) -> BrokenImage | None:
    """Builds one image, starts the daemon on it and judges."""
    task = in_worker
    rng = random.Random(f"{task.seed} {number}")
    cut = chosen_cut(task, rng)
    history = history_until(task, cut.at)
    place = Place.new()
    build(task, place.data, cut, rng)
    shutil.copytree(place.data, place.folder / "image")
    failure = judged_start(place, history, loses=True)
    if failure and not (cut.is_flipped and REFUSED in failure.complaints[0]):
        return BrokenImage(**vars(failure), image=f"image {number} of seed {task.seed}: {cut}")
    place.remove()
    return None


def chosen_cut(task: Task, rng: random.Random) -> Cut:
    """After the first answer; now and then right after one."""
    events = task.recorded.recording.events
    answers = [at for at, event in enumerate(events) if isinstance(event, Answered)]
    right_after = rng.random() < 0.3
    at = rng.choice(answers) + 1 if right_after else rng.randint(answers[0] + 1, len(events))
    return Cut(at, rng.choice(MODES), rng.random() < task.flips)


def history_until(task: Task, at: int) -> History:
    """What was answered; what was asked may have been done before."""
    history = copy_of(task.recorded.before)
    for event in task.recorded.recording.events[:at]:
        if isinstance(event, Answered):
            history.answered(event.answer)
    history.asked_reasons = task.recorded.asked.asked_reasons
    history.asked_to_retire = task.recorded.asked.asked_to_retire
    history.killed(f"cut at event {at}")
    return history


def build(task: Task, data: Path, cut: Cut, rng: random.Random) -> None:
    """Writes the files as the cut left them."""
    events = task.recorded.recording.events[: cut.at]
    durable = durable_writes(task, events)
    names_until = rng.randint(durable_names(task, events), len(events))
    image = Image(task.recorded.recording)
    for index, event in enumerate(events):
        match event:
            case Written():
                is_durable = index < durable.get(event.file, 0)
                for part in surviving(event, "all kept" if is_durable else cut.mode, rng):
                    image.take(part)
            case Resized(file, _) if index < max(names_until, durable.get(file, 0)):
                image.take(event)
            case Made() | Renamed() | Removed() | MadeFolder() if index < names_until:
                image.take(event)
    if cut.is_flipped and (file := image.file(LOG)) is not None:
        flip(image.files()[LOG], [event for event in events if is_write_to(event, file)], rng)
    image.put_into(data)


def durable_writes(task: Task, events: list) -> dict[int, int]:
    """For each file the event before which all that was written to it is durable."""
    durable: dict[int, int] = {}
    for event in events:
        if isinstance(event, Synced) and event.file is not None and not is_left_out(task, event):
            durable[event.file] = max(event.since, durable.get(event.file, 0))
    return durable


def durable_names(task: Task, events: list) -> int:
    """The event before which all names are durable. fdatasync need not write any."""
    syncs = (event for event in events if isinstance(event, Synced) and event.call == "fsync")
    return max((event.since for event in syncs if not is_left_out(task, event)), default=0)


def is_left_out(task: Task, sync: Synced) -> bool:
    return f"{sync.call}:{Path(sync.name).name}" in task.without


def surviving(event: Written, mode: str, rng: random.Random) -> list[Written]:
    """Which parts of a write reached the disk."""
    if mode == "mixed":
        mode = rng.choice(["all lost", "all kept", "torn", "only sizes"])
    begin, end = event.offset, event.offset + len(event.data)
    match mode:
        case "all lost":
            return []
        case "all kept":
            return [event]
        case "some lost":
            return [event] if rng.random() < 0.5 else []
        case "only sizes":
            return [replace(event, offset=end, data=b"")]
        case "torn":
            sectors = range(begin // SECTOR, (end - 1) // SECTOR + 1)
            starts = [max(begin, sector * SECTOR) for sector in sectors if rng.random() < 0.5]
            ends = [min(end, (at // SECTOR + 1) * SECTOR) for at in starts]
            return [
                replace(event, offset=at, data=event.data[at - begin : until - begin])
                for at, until in zip(starts, ends, strict=True)
            ]
    raise ValueError(mode)


def is_write_to(event: Event, file: int) -> bool:
    return isinstance(event, Written) and event.file == file


def flip(content: bytearray, writes: list[Written], rng: random.Random) -> None:
    """One bit of what was written last, where only the number beside the log can tell."""
    if writes:
        write = rng.choice(writes[-5:])
        at = write.offset + rng.randrange(len(write.data))
        if at < len(content):
            content[at] ^= 1


if __name__ == "__main__":
    sys.exit(main())
