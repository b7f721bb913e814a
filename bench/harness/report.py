"""The table, for the terminal and for `docs/performance.md`."""

from pathlib import Path

from .machine import Machine
from .row import Row
from .tools import Failed

HEAD = ["", "figure", "against", "ratio", "goal"]


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def record(file: Path, section: str, rows: list[Row], machine: Machine) -> None:
    """Writes the section's rows between its two markers, in the place of those that were there."""
    begin, end = f"<!-- bench/run: {section} -->", "<!-- end -->"
    before, found, rest = file.read_text().partition(begin)
    old, closed, after = rest.partition(end)
    if not found or not closed:
        raise Failed(f"{file.name} lacks {begin} or the {end} after it")
    text = f"\n{machine.date}, {machine.line}.\n\n{table(rows)}\n\n"
    file.write_text(before + begin + text + end + after)
