"""What a start after a crash showed to be wrong, and where to look."""

from dataclasses import dataclass
from pathlib import Path

from history import History
from judge import Broken, judge
from place import DoesNotOpen, Place

MOST_COMPLAINTS = 20


@dataclass
class Failure:
    complaints: list[str]
    history: str
    log: str
    kept: Path

    @property
    def first(self) -> str:
        return f"{self.complaints[0]} (one of {len(self.complaints)})"

    def __str__(self) -> str:
        return "\n".join(
            [
                f"; kept: {self.kept}",
                *self.complaints[:MOST_COMPLAINTS],
                f"--- {len(self.complaints)} complaints; history",
                self.history,
                "--- end of the daemon's log",
                self.log,
            ]
        )


def judged_start(place: Place, history: History, loses: bool) -> Failure | None:
    """Starts the daemon, judges it and kills it."""
    place.start()
    try:
        place.wait_until_ready()
        judge(place, history, loses)
    except (Broken, DoesNotOpen) as error:
        return failure_of(error, place, history)
    finally:
        place.kill()
    return None


def failure_of(error: Exception, place: Place, history: History) -> Failure:
    complaints = error.complaints if isinstance(error, Broken) else [str(error)]
    about = history.about(complaints[:MOST_COMPLAINTS])
    return Failure(complaints, about, place.log_tail(), place.folder)
