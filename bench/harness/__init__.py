"""What the sections of `bench/run` measure with: processes on cores of their own, CPU time, medians, rows."""

from .daemon import Caller, Daemon, KeySet, config
from .machine import Machine, cores
from .process import cpu_seconds, free_port, pinned, resident_kib, stop
from .report import record, table
from .rounds import interleaved, median, ratio
from .row import Row
from .tools import Failed, Missing, need, output
from .workbench import Bench

__all__ = [
    "Bench", "Caller", "Daemon", "Failed", "KeySet", "Machine", "Missing", "Row", "config", "cores", "cpu_seconds",
    "free_port", "interleaved", "median", "need", "output", "pinned", "ratio", "record", "resident_kib", "stop",
    "table",
]
