"""One figure with what it is compared to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. `value`, `against` and `goal` are for people; `met` decides."""

    section: str
    what: str
    value: str
    against: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool = True

    @staticmethod
    def at_least(section: str, what: str, value: str, against: str, ratio: float, goal: float) -> "Row":
        """A row whose ratio must not be below `goal`."""
        return Row(section, what, value, against, ratio, f">= {goal:g}", ratio >= goal)

    @staticmethod
    def at_most(section: str, what: str, value: str, against: str, ratio: float, goal: float) -> "Row":
        """A row whose ratio must not be above `goal`."""
        return Row(section, what, value, against, ratio, f"<= {goal:g}", ratio <= goal)

    def cells(self) -> list[str]:
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        goal = self.goal if self.met else f"{self.goal} **missed**"
        return [self.what, self.value, self.against, ratio, goal]
