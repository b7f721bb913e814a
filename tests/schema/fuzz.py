"""Has schemathesis try a real jwksd: first its internal listener, then its admin listener.

Nothing may be found; every operation must have succeeded at least once; and afterwards the daemon
must be alive and well, its log without an error, and its audit whole.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from daemon import LISTENERS, Broken, Daemon

HERE = Path(__file__).resolve().parent
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="2", help="another one tries other requests")
    parser.add_argument("--document", type=Path, help="try by this document, of the admin listener")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jwksd-schema-") as folder:
        daemon = Daemon(Path(folder))
        daemon.start()
        try:
            documents = {listener: f"{daemon.url_of(listener)}/openapi.json" for listener in LISTENERS}
            if options.document:
                documents = {"admin": str(options.document.resolve())}
            for listener, document in documents.items():
                try_listener(daemon, listener, document, options.seed, Path(folder))
            daemon.check()
            daemon.stop()
            daemon.check_log()
            print(f"the daemon is well; its audit: {daemon.verify_audit()}")
        except Broken as broken:
            print(f"FAILED: {broken}\n--- end of the daemon's log ---\n{daemon.log()[-4000:]}")
            return 1
        finally:
            daemon.kill()
    return 0


def try_listener(daemon: Daemon, listener: str, document: str, seed: str, folder: Path) -> None:
    """One run of schemathesis."""
    status, text = daemon.ask(listener, "GET", "/openapi.json")
    if status != 200:
        raise Broken(f"no document: {status} {text}")
    OpenAPIV31SpecValidator(json.loads(text)).validate()
    tally = folder / f"{listener}.tally"
    print(f"=== {listener}, seed {seed}", flush=True)
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "--no-color", "--config-file", HERE / "schemathesis.toml"),
            *("run", document, "--url", daemon.url_of(listener), "--seed", seed),
        ],
        env={
            **os.environ,
            "SCHEMA_TOKEN": daemon.token,
            "SCHEMA_CHECKS": str(HERE / "checks.py"),
            "SCHEMA_TALLY": str(tally),
        },
        # It keeps notes where it runs.
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    # Requests can be of 100 KB.
    print("\n".join(line[:500] for line in (done.stdout + done.stderr).splitlines()), flush=True)
    if done.returncode != 0:
        raise Broken(f"schemathesis: exit code {done.returncode}, at the {listener} listener")
    succeeded = check_tally(json.loads(text), json.loads(tally.read_text()))
    print(f"every operation succeeded: {succeeded}", flush=True)


def check_tally(document: dict, rows: list) -> str:
    """A run in which an operation never succeeds proves little of it."""
    answered = defaultdict(lambda: defaultdict(int))
    for label, status, count in rows:
        answered[label][status] += count
    operations = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        # schemathesis leaves out the document itself, which was fetched above.
        if path != "/openapi.json"
        for method in item
    }
    never = sorted(label for label in operations if not answered[label]["200"])
    if never:
        raise Broken(f"never succeeded: {', '.join(never)}: {json.dumps(answered)}")
    return ", ".join(f"{label} {answered[label]['200']}x" for label in sorted(operations))


if __name__ == "__main__":
    sys.exit(main())
