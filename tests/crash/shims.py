"""The C files beside this one, compiled to be preloaded."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def compiled(name: str) -> Iterator[Path]:
    """The library made from the file of that name."""
    source = Path(__file__).with_name(name)
    with tempfile.TemporaryDirectory(prefix="jwksd-crash-shim-") as folder:
        library = Path(folder) / f"{source.stem}.so"
        command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library]
        subprocess.run([*command, source, "-ldl", "-lpthread"], check=True)
        yield library
