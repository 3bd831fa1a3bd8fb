"""Runs the tests against real peers: suite.py BINARY FOLDER [TEST…]

BINARY is authrelay; FOLDER an empty one, which is the caller's to remove. A TEST is a name as in
`test_smtp_clients.SmtpClients.test_msmtp`; without one all run. See `run`.
"""

import signal
import sys
import time
import unittest
from pathlib import Path

from case import PeerTest
from world import World

CODE = Path(__file__).resolve().parent
LOGS = ("relay/relay.log", "dovecot/dovecot.log", "identity-provider.log")


class Result(unittest.TextTestResult):
    """Says how long each test took."""

    def startTest(self, test):
        self.began = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        unittest.TestResult.addSuccess(self, test)
        self.stream.writeln(f"ok {time.monotonic() - self.began:.1f} s")
        self.stream.flush()


def main(binary, folder, *names):
    # Whoever ends us wants the children ended too: unwind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names) if names else loader.discover(CODE, top_level_dir=CODE)
    with World(Path(folder), binary, CODE) as world:
        PeerTest.world = world
        result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(suite)
        passed = result.wasSuccessful() and result.testsRun > 0 and not result.skipped
        if not passed:
            for log in LOGS:
                print(f"\n--- {log}", *(Path(folder) / log).read_text(errors="replace").splitlines()[-20:], sep="\n", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
