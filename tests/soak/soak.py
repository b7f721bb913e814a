"""An hour of mixed load at real verifiers, with rotations every few seconds: is one good token refused, and does
the daemon take more and more? README.md says what is counted.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from service import BINARY, KEYSETS, STALL, Service  # first: it finds tests/support

import verifiers  # noqa: E402
from acts import Acts  # noqa: E402
from ledger import Ledger  # noqa: E402
from load import Load  # noqa: E402
from watch import Row, Watch, drift  # noqa: E402

# Shorter, and nothing rotates at the verifiers as they come, and there is nothing to compare.
SHORTEST = 90
# So many of what failed alike are shown.
SHOWN = 10


class Soak:
    """All of one soak, in `folder`."""

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        rng = random.Random(seed)
        self.seconds = seconds
        self.service = Service(folder)
        self.service.start("--init")
        self.verifiers = verifiers.start(self.service)
        self.ledger = Ledger(self.verifiers, self.service.was_away, rng)
        self.load = Load(self.service, self.ledger, random.Random(rng.random()))
        self.acts = Acts(self.service, self.ledger, seconds, random.Random(rng.random()))
        self.watch = Watch(self.service)
        self.ended: list[str] = []

    def run(self) -> None:
        parts = [self.ledger, self.watch, self.acts, self.load]
        for part in parts:
            part.start()
        until, told = time.monotonic() + self.seconds, 0.0
        while time.monotonic() < until and not self._failed():
            time.sleep(min(1, max(0.0, until - time.monotonic())))
            if time.monotonic() - told > 300:
                told = time.monotonic()
                print(f"{until - told:.0f} s left, {self._counts()}", flush=True)
        for part in reversed(parts):
            part.stop()
        self._end()

    def close(self) -> None:
        for verifier in self.verifiers:
            verifier.close()
        self.service.close()

    def failures(self) -> list[str]:
        """What was not as it must be; nothing where all was."""
        ledger, failures = self.ledger, []
        for what, found in (
            ("good tokens refused", ledger.refusals),
            ("tokens of revoked keys accepted after the promised time", ledger.trusted),
            ("requests of callers failed", self.load.errors),
            ("acts of admins failed", self.acts.errors),
            ("looks found the daemon not ready", self.watch.unready),
            ("ends were not as they should be", self.ended),
        ):
            if found:
                failures.append(f"{len(found)} {what}:")
                failures += [f"    {one}" for one in found[:SHOWN]]
        for verifier in self.verifiers:
            if not ledger.judged[verifier.name]:
                failures.append(f"{verifier.name} judged no token")
            if ledger.late[verifier.name] > ledger.judged[verifier.name]:
                failures.append(f"{verifier.name} was too slow to count: {ledger.late}")
        if not ledger.control_refusals:
            failures.append(
                "the control, which keeps the JWK Set for longer than the configuration says, refused"
                " no token: this soak would not have seen a refusal"
            )
        missing = {"revocations", "imports", "restarts", "kills", "reloads", "backups"} - set(self.acts.done)
        missing |= set(KEYSETS) - set(self.acts.rotations)
        if missing:
            failures.append(f"never happened: {', '.join(sorted(missing))}")
        if ledger.judged and not ledger.refused_revoked:
            failures.append("no token of a revoked key was shown after the promised time")
        return failures

    def table(self) -> list[Row]:
        signed = sum(self.load.signed.values()) / self.seconds
        commits = sum(self.acts.rotations.values()) + sum(self.acts.done.values())
        return drift(self.watch.samples, self.load.latencies, signed, commits)

    def print(self, rows: list[Row]) -> None:
        lines = [("tokens signed", ", ".join(f"{n} {kind}" for kind, n in self.load.signed.items()))]
        lines += [("tokens kept", str(sum(self.ledger.kept.values())))]
        lines += self.ledger.summary()
        turned = (f"{keyset} {n}" for keyset, n in sorted(self.acts.rotations.items()))
        lines += [("rotations", ", ".join(turned))]
        lines += [("machine", f"{self.service.stalls} times it stood still for {STALL} s or more")]
        lines += [("acts", ", ".join(f"{n} {act}" for act, n in sorted(self.acts.done.items())))]
        print()
        for name, text in lines:
            print(f"{name:15} {text}")
        print(f"\n{'':24} {'first':>10} {'last':>10} {'limit':>10}")
        for row in rows:
            mark = "" if row.is_good else "  TOO MUCH"
            print(f"{row.name:24} {row.first:>10} {row.last:>10} {row.limit:>10}{mark}")

    def _failed(self) -> bool:
        return bool(self.acts.errors) or any(verifier.has_ended for verifier in self.verifiers)

    def _counts(self) -> str:
        judged, refused = sum(self.ledger.judged.values()), len(self.ledger.refusals)
        return f"{judged} verdicts, {refused} good tokens refused"

    def _end(self) -> None:
        """The daemon stops in order, and what it leaves is whole."""
        try:
            self.service.stop()
            told = json.loads(self.service.run("--json", "audit", "verify"))
            if told["damage"]:
                self.ended.append(f"the audit: {told['damage']}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the soak failed
            self.ended.append(repr(error))
        bad = [line for line in self.service.log().splitlines() if " ERROR " in line or "panicked" in line]
        self.ended += bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="how long (default: an hour)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    if options.seconds < SHORTEST:
        parser.error(f"at least {SHORTEST} seconds")
    if not BINARY.is_file():
        sys.exit(f"no jwksd at {BINARY}: build it with `cargo build`, or name one in JWKSD_BIN")
    # A short path: that of a Unix socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="jwksd-soak-", dir="/tmp"))
    print(f"seed {options.seed}, {options.seconds:.0f} s, {folder}", flush=True)
    soak = Soak(folder, options.seconds, options.seed)
    try:
        soak.run()
    finally:
        soak.close()
    rows, failures = soak.table(), soak.failures()
    soak.print(rows)
    failures += [f"too much: {row.name}" for row in rows if not row.is_good]
    if failures:
        print("\nFAILED", *failures, f"the folder is kept: {folder}", sep="\n")
        return 1
    shutil.rmtree(folder)
    print("\nno good token was refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
