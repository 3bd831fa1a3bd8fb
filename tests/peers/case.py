"""What the test cases have in common."""

import os
import pty
import ssl
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

import relay
from world import environment

PASSWORD = relay.PLAIN_PASSWORD


class PeerTest(unittest.TestCase):
    """Has the world as `self.world` and a folder of its own."""

    world = None
    maxDiff = 2000

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(dir=self.world.folder))
        self.ca = self.world.ca

    def port(self, listener):
        """Of a listener, as in `imap-starttls`."""
        return self.world.relay.ports[listener]

    def tls(self):
        """Trusts the CA of `authrelay certs` alone, and verifies the name."""
        return ssl.create_default_context(cafile=self.ca)

    def file(self, name, text):
        """A file that only its owner may read, as clients want their configuration."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def client(self, *command, given=b"", exit_codes=(0,), seconds=120, **variables):
        """Runs a client to its end and gives what it printed."""
        done = subprocess.run(
            [str(part) for part in command],
            input=given,
            capture_output=True,
            timeout=seconds,
            cwd=self.folder,
            env={**environment(self.folder), **variables},
        )
        said = f"{command[0]}: exit {done.returncode}\n{done.stdout[-4000:]!r}\n{done.stderr.decode()[-4000:]}"
        self.assertIn(done.returncode, exit_codes, said)
        return done

    def terminal(self, *command, **variables):
        """Runs a client that wants a terminal to its end."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            cwd=self.folder,
            env={**environment(self.folder), "TERM": "xterm", **variables},
        )
        os.close(theirs)
        screen = bytearray()
        reader = threading.Thread(target=drain, args=(ours, screen))
        reader.start()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        os.close(ours)
        self.assertEqual(process.returncode, 0, f"{command}: {bytes(screen)}")

    def relayed(self, login, protocol, count=1, **at_least):
        """The login's sessions: `count` of them, each relayed without a fault and closed by a
        side, and together with at least so many bytes."""
        records = self.world.relay.sessions(login, count)
        self.assertEqual(len(records), count, records)
        for record in records:
            self.assertEqual((record["protocol"], record["outcome"]), (protocol, "relayed"), record)
            self.assertNotIn("fault", record)
            self.assertIn(record["closed_by"], ("client", "upstream"))
            self.assertTrue(record["upstream_tls"].startswith("TLSv1."), record)
        for key, octets in at_least.items():
            self.assertGreaterEqual(sum(record[key] for record in records), octets, records)
        return records


def drain(terminal, screen):
    """Reads until nobody has the other end."""
    try:
        while octets := os.read(terminal, 65536):
            screen += octets
    except OSError:
        pass
