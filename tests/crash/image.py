"""Files and their names, as a part of what was done to them leaves them."""

from pathlib import Path

from recording import (
    Event,
    Made,
    MadeFolder,
    Recording,
    Removed,
    Renamed,
    Resized,
    Written,
)


class Image:
    def __init__(self, recording: Recording) -> None:
        """As it was when the recording began."""
        self._names = dict(recording.files)
        self._folders = list(recording.folders)
        self._contents = {file: bytearray(data) for file, data in recording.contents.items()}

    def take(self, event: Event) -> None:
        match event:
            case Written(file, offset, data):
                content = self._content(file)
                resize(content, max(len(content), offset + len(data)))
                content[offset : offset + len(data)] = data
            case Resized(file, size):
                resize(self._content(file), size)
            case Made(name, file):
                self._names[name] = file
            case Renamed(name, to):
                self._names[to] = self._names.pop(name)
            case Removed(name):
                del self._names[name]
            case MadeFolder(name):
                self._folders.append(name)

    def files(self) -> dict[str, bytearray]:
        """The contents by name."""
        return {name: self._content(file) for name, file in self._names.items()}

    def file(self, name: str) -> int | None:
        return self._names.get(name)

    def put_into(self, folder: Path) -> None:
        for name in self._folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)

    def _content(self, file: int) -> bytearray:
        return self._contents.setdefault(file, bytearray())


def resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
