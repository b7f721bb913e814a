"""The system calls of a jwksd that change its data, and between them what it answered.

Made with strace, so that each answer stands where the daemon gave it: what is synced before it must
be there after a crash that comes after it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from waiting import wait_until

STRACE = [
    *("strace", "-D", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "1000000"),
    "--trace=open,openat,creat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,ftruncate,"
    "truncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat,lseek,"
    "sendto,sendmsg,dup",
]
# What takes part in no promise, or what no file below the data is changed with.
HARMLESS = {"dup", "sendmsg"}


@dataclass(frozen=True)
class Made:
    """An empty file under a name, where there was none."""

    name: str
    file: int


@dataclass(frozen=True)
class MadeFolder:
    name: str


@dataclass(frozen=True)
class Renamed:
    name: str
    to: str


@dataclass(frozen=True)
class Removed:
    name: str


@dataclass(frozen=True)
class Resized:
    file: int
    size: int


@dataclass(frozen=True)
class Written:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Synced:
    """What was written before the event `since` is durable; `file` is `None` for a folder."""

    call: str
    name: str
    file: int | None
    since: int


@dataclass(frozen=True)
class Answered:
    answer: dict


Event = Made | MadeFolder | Renamed | Removed | Resized | Written | Synced | Answered


@dataclass
class Recording:
    """All files at the beginning, by name relative to the folder, and what happened then."""

    folder: Path
    files: dict[str, int] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    contents: dict[int, bytes] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @staticmethod
    def of(folder: Path) -> "Recording":
        recording = Recording(folder)
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_dir():
                recording.folders.append(name)
            elif path.is_file():
                recording.files[name] = len(recording.files)
                recording.contents[recording.files[name]] = path.read_bytes()
        return recording


class Recorder:
    """Reads the logs of strace, one for each life of the daemon, in their order."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._events = recording.events
        self._files = dict(recording.files)
        self._sizes = {file: len(content) for file, content in recording.contents.items()}

    def read(self, log: Path) -> None:
        self._positions: dict[int, int | None] = {}
        unfinished: dict[str, tuple[str, int]] = {}
        wait_until(lambda: _is_complete(log), timeout=60, what="strace has written its log")
        for line in log.read_text().splitlines():
            thread, text = line.split(maxsplit=1)
            since = len(self._events)
            if text.endswith("<unfinished ...>"):
                unfinished[thread] = (text.removesuffix("<unfinished ...>").rstrip(), since)
                continue
            if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
                # A thread may be attended to in the middle of its call.
                begun, since = unfinished.pop(thread, ("", since))
                text = begun + resumed[1]
            if call := re.match(r"(\w+)\((.*)\)\s+= (\d+)(?:<(\S*)>)?", text):
                self._take(call[1], call[2], int(call[3]), _text(call[4] or ""), since)

    def _take(self, call: str, arguments: str, result: int, opened: str, since: int) -> None:
        match call:
            case "open" | "openat" | "creat":
                self._open(opened, arguments, result)
            case "write" | "sendto" | "pwrite64" | "writev":
                self._write(call, arguments, result)
            case "lseek":
                number, _ = _descriptor(arguments)
                if self._positions.get(number) is not None:
                    self._positions[number] = result
            case "fsync" | "fdatasync":
                _, path = _descriptor(arguments)
                if (name := self._name(path)) is not None:
                    self._events.append(Synced(call, name, self._files.get(name), since))
            case "ftruncate":
                _, path = _descriptor(arguments)
                if (name := self._name(path)) is not None:
                    self._resize(name, int(arguments.rsplit(", ", 1)[1]))
            case "rename" | "renameat" | "renameat2":
                self._rename(*map(self._name, _strings(arguments)))
            case "unlink" | "unlinkat":
                name = self._name(_strings(arguments)[-1])
                if self._files.pop(name, None) is not None:
                    self._events.append(Removed(name))
            case "mkdir" | "mkdirat":
                if (name := self._name(_strings(arguments)[-1])) is not None:
                    self._events.append(MadeFolder(name))
            case _ if call not in HARMLESS and str(self._recording.folder) in _text(arguments):
                raise NotImplementedError(f"{call}({_text(arguments)})")

    def _name(self, path: str) -> str | None:
        """Relative to the folder; `None` for what is elsewhere."""
        folder = self._recording.folder
        # The daemon runs in the folder above.
        whole = (folder.parent / path).resolve() if path else Path("/")
        return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else None

    def _open(self, path: str, arguments: str, number: int) -> None:
        name = self._name(path)
        if name is None or (name not in self._files and "O_CREAT" not in arguments):
            return
        if name not in self._files:
            self._files[name] = len(self._sizes)
            self._sizes[self._files[name]] = 0
            self._events.append(Made(name, self._files[name]))
        elif "O_TRUNC" in arguments and self._sizes[self._files[name]]:
            self._resize(name, 0)
        self._positions[number] = None if "O_APPEND" in arguments else 0

    def _write(self, call: str, arguments: str, count: int) -> None:
        number, path = _descriptor(arguments)
        name = self._name(path)
        data = b"".join(map(_bytes, _quoted(arguments)))[:count]
        if name is None or name not in self._files:
            self._events.extend(_answers(data))
            return
        file = self._files[name]
        if call == "pwrite64":
            offset = int(arguments.rsplit(", ", 1)[1])
        else:
            position = self._positions[number]
            offset = self._sizes[file] if position is None else position
            self._positions[number] = None if position is None else offset + len(data)
        self._sizes[file] = max(self._sizes[file], offset + len(data))
        self._events.append(Written(file, offset, data))

    def _resize(self, name: str, size: int) -> None:
        self._sizes[self._files[name]] = size
        self._events.append(Resized(self._files[name], size))

    def _rename(self, name: str, to: str) -> None:
        if name in self._files:
            self._files[to] = self._files.pop(name)
            self._events.append(Renamed(name, to))


def _is_complete(log: Path) -> bool:
    """The last to end is the process itself, whose id the log begins with."""
    text = log.read_text()
    process = text.split(maxsplit=1)[0] if text else ""
    return re.search(rf"^{process} +\+\+\+ ", text, re.MULTILINE) is not None


def _answers(data: bytes) -> Iterator[Answered]:
    head, _, body = data.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200") and body.startswith(b"{"):
        yield Answered(json.loads(body))


def _descriptor(arguments: str) -> tuple[int, str]:
    found = re.match(r"(\d+)<([^>]*)>", arguments)
    return (int(found[1]), _text(found[2])) if found else (-1, "")


def _quoted(arguments: str) -> list[str]:
    return re.findall(r'"((?:\\x[0-9a-f]{2})*)"', arguments)


def _strings(arguments: str) -> list[str]:
    return [_bytes(quoted).decode() for quoted in _quoted(arguments)]


def _bytes(quoted: str) -> bytes:
    return bytes.fromhex(quoted.replace("\\x", ""))


def _text(escaped: str) -> str:
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda part: _bytes(part[0]).decode(), escaped)
