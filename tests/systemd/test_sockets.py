"""The real daemon with sockets that a service manager made."""

import os
import socket
import stat
import tempfile
import unittest
import urllib.request
from pathlib import Path

from manager import PATIENCE, Manager, listening


class PassedSockets(unittest.TestCase):
    def setUp(self) -> None:
        # A short path: that of a Unix socket has at most 107 bytes.
        folder = tempfile.TemporaryDirectory(prefix="jwksd-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.manager = Manager(Path(folder.name).resolve())
        self.addCleanup(self.manager.close)

    def unix(self, name: str, mode: int = 0o660) -> socket.socket:
        made = self.manager.unix(name, mode)
        self.addCleanup(made.close)
        return made

    def all(self) -> list[socket.socket]:
        return [self.unix("admin.sock"), self.manager.public, self.unix("sign.sock")]

    def assert_serves(self) -> None:
        with urllib.request.urlopen(self.url("/readyz"), timeout=PATIENCE) as answer:
            self.assertEqual(answer.status, 200)
        self.manager.run("sign", "default", "--claims", "{}", "--ttl", "1m")
        self.manager.run("status")

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.manager.port}{path}"

    def test_all_are_taken_over_in_any_order(self) -> None:
        self.manager.start(self.all())
        self.assert_serves()

    def test_a_place_for_metrics_is_taken_over_too(self) -> None:
        self.manager.start([*self.all(), self.unix("metrics.sock", 0o640)])
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.manager.path("metrics.sock")))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        self.assertIn(b" 200 ", answer)
        self.assertTrue(answer.endswith(b"# EOF\n"), answer)
        mode = self.manager.path("metrics.sock").stat().st_mode
        self.assertEqual(stat.filemode(mode), "srw-r-----")

    def test_a_stop_leaves_them_to_the_service_manager(self) -> None:
        passed = self.all()
        self.manager.start(passed)
        active = self.manager.active()
        self.manager.stop()
        mode = self.manager.path("sign.sock").stat().st_mode
        self.assertEqual(stat.filemode(mode), "srw-rw----")
        self.manager.start(passed)
        self.assertEqual(self.manager.active(), active)

    def test_a_request_waits_while_the_daemon_is_started_again_after_a_kill(self) -> None:
        passed = self.all()
        self.manager.start(passed)
        self.manager.kill()
        with socket.create_connection(("127.0.0.1", self.manager.port), PATIENCE) as early:
            early.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            self.manager.start(passed)
            self.assertIn(b" 200 ", early.recv(4096))

    def test_a_place_for_which_none_was_passed_is_bound(self) -> None:
        self.manager.start([self.unix("sign.sock"), self.manager.public])
        self.assert_serves()
        self.assertEqual(stat.filemode(self.manager.path("admin.sock").stat().st_mode), "srw-------")
        self.manager.stop()
        self.assertFalse(self.manager.path("admin.sock").exists())
        self.assertTrue(self.manager.path("sign.sock").exists())

    def test_those_of_another_process_are_left_alone(self) -> None:
        strange = self.unix("strange.sock")
        self.manager.public.close()
        self.manager.start([strange], for_pid=os.getpid())
        self.assert_serves()

    def test_a_socket_that_no_place_names_is_an_error_that_says_which(self) -> None:
        said = self.manager.fails_to_start([*self.all(), self.unix("strange.sock")])
        self.assertIn(f"unix:{self.manager.path('strange.sock')}", said)
        with listening(socket.AF_INET, ("127.0.0.1", 0)) as strange:
            said = self.manager.fails_to_start([self.manager.public, strange])
            self.assertIn(f"127.0.0.1:{strange.getsockname()[1]}", said)
        self.assertIn("no `listen` of the configuration names", said)

    def test_what_is_no_listening_stream_socket_is_an_error_that_says_which(self) -> None:
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        datagram.bind(str(self.manager.path("sign.sock")))
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        abstract = listening(socket.AF_UNIX, "\0jwksd-test-" + str(os.getpid()))
        file = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, file)
        for wrong in [datagram, bound, abstract]:
            self.addCleanup(wrong.close)
        for wrong in [datagram, bound, abstract, file]:
            with self.subTest(wrong=wrong):
                said = self.manager.fails_to_start([self.manager.public, wrong])
                self.assertIn("file descriptor 4, passed by the service manager", said)

    def test_a_socket_that_everyone_may_open_is_taken_with_a_warning_and_keeps_its_mode(self) -> None:
        opened = self.unix("sign.sock", 0o666)
        self.manager.start([opened, self.unix("admin.sock"), self.manager.public])
        log = self.manager.log().splitlines()
        warnings = [line for line in log if " WARN " in line and "every user of this host" in line]
        self.assertEqual(len(warnings), 1)
        self.assertIn("sign.sock", warnings[0])
        mode = self.manager.path("sign.sock").stat().st_mode
        self.assertEqual(stat.filemode(mode), "srw-rw-rw-")


if __name__ == "__main__":
    unittest.main()
