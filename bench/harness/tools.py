"""Programs that the bench needs and does not bring along."""

import json
import shutil
import subprocess


# What has each of them. Debian's Rust is too old.
FROM = {
    "cargo": "Rust, with rustup",
    "rustc": "Rust, with rustup",
    "nginx": "the Debian package nginx",
    "wrk": "the Debian package wrk",
    "node": "the Debian package nodejs",
    "npm": "the Debian package npm",
}


class Missing(Exception):
    """A program is not installed; the text says what has it."""


class Failed(Exception):
    """What was measured did not do what it was asked: its figures would mean nothing."""


def need(program: str) -> str:
    """Where the program is, also where an unprivileged user does not look."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not found:
        raise Missing(f"not found: {program}; install {FROM[program]}")
    return found


def output(command: list, **how) -> str:
    """What the command prints; it must end well."""
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, **how)
    if done.returncode != 0:
        shown = [word for before, word in zip(["", *words], words) if before != "--token"]
        raise Failed(f"{' '.join(shown)}: exit code {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def answer(command: list, **how) -> dict:
    """The JSON that the command prints."""
    return json.loads(output(command, **how))
