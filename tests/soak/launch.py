"""Becomes a command that is passed sockets as a service manager passes them: FILENO,FILENO,... COMMAND...

A program of its own, since only after the fork its process id is known, and this process has threads.
"""

import fcntl
import os
import sys


def main(numbers: list[int], command: list[str]) -> None:
    # First out of the way of each other.
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 100) for number in numbers]
    for place, number in enumerate(high, start=3):
        os.dup2(number, place)
    for number in numbers:
        if number >= 3 + len(numbers):
            os.close(number)
    passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(numbers))}
    os.execve(command[0], command, {**os.environ, **passed})


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1].split(",")], sys.argv[2:])
