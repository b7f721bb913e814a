"""STAND-IN for the users that your service already has: one, with a password from outside."""

import os

from werkzeug.security import check_password_hash, generate_password_hash


class Users:
    def __init__(self) -> None:
        self._hashes = {"alice": generate_password_hash(os.environ["AUTH_DEMO_PASSWORD"])}
        self._nobody = generate_password_hash("nobody has this one")

    def knows(self, user: str, password: str) -> bool:
        right = check_password_hash(self._hashes.get(user, self._nobody), password)
        return right and user in self._hashes
