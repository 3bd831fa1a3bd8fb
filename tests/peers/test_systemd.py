"""What systemd does for a service, done by hand: notifications, watchdog, sockets that outlive a
process. The variables are those of sd_notify(3) and sd_listen_fds(3)."""

import imaplib
import json
import os
import signal
import socket

import relay
from case import PASSWORD, PeerTest
from process import Child, until


class Systemd(PeerTest):
    def setUp(self):
        super().setUp()
        self.number = 0
        self.file = self.folder / "proxy.yaml"
        self.configuration = self.world.configuration() | {
            "log": {"format": "json"},
            "listeners": relay.listeners(self.world.certs, [("imap", "none")]),
        }
        self.write()

    def write(self, **changes):
        self.file.write_text(json.dumps(self.configuration | changes))

    def start(self, descriptor=None, **variables):
        """`authrelay run`, with a socket as systemd's only one."""
        self.number += 1
        command = [self.world.binary.path, "run", "--config", self.file]
        options = {}
        if descriptor is not None:
            # LISTEN_PID is the process's own id, which only it knows; systemd's sockets begin at 3.
            script = f'exec 3<&{descriptor}; export LISTEN_FDS=1 LISTEN_FDNAMES=imap-none LISTEN_PID=$$; exec "$@"'
            command = ["bash", "-c", script, "bash", *command]
            options = {"pass_fds": [descriptor]}
        child = Child(f"systemd-{self.number}", command, self.folder, env={**os.environ, **variables}, **options)
        self.addCleanup(child.stop)
        return child

    def notifications(self):
        path = self.folder / "notify"
        ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(ears.close)
        ears.bind(str(path))
        ears.settimeout(30)
        return ears, {"NOTIFY_SOCKET": str(path)}

    def test_r41_ready_reloading_stopping(self):
        ears, variables = self.notifications()
        child = self.start(**variables)
        self.assertEqual(ears.recv(4096), b"READY=1\n")
        # It was not said before clients are served.
        child.wait_for('"listening"')
        for changes in ({}, {"listeners": []}):
            self.write(**changes)
            child.process.send_signal(signal.SIGHUP)
            self.assertRegex(ears.recv(4096), rb"^RELOADING=1\nMONOTONIC_USEC=\d+\n$")
            self.assertEqual(ears.recv(4096), b"READY=1\n")
        child.wait_for('"configuration reloaded"')
        child.wait_for('"configuration not reloaded')
        child.process.send_signal(signal.SIGTERM)
        self.assertEqual(ears.recv(4096), b"STOPPING=1\n")
        self.assertEqual(child.exit_code(), 0)

    def test_the_level_of_the_log_follows_a_reload(self):
        child = self.start()
        child.wait_for('"listening"')
        port = child.wait_for(r'127\.0\.0\.1:(\d+)')[0][1]
        for level, count in (("debug", 1), ("info", 2)):
            self.write(log={"format": "json", "level": level})
            child.process.send_signal(signal.SIGHUP)
            child.wait_for('"configuration reloaded"', count)
            mailbox = self.world.mailbox()
            imap = imaplib.IMAP4("127.0.0.1", int(port), timeout=30)
            imap.login(mailbox.address, PASSWORD)
            imap.logout()
            child.wait_for(f'"session".*"login":"{mailbox.address}"')
        told = [line for line in child.lines() if '"logged in"' in line]
        self.assertEqual(len(told), 1, told)

    def test_r41_the_watchdog_is_fed(self):
        ears, variables = self.notifications()
        self.start(**variables, WATCHDOG_USEC="200000")
        heard = [ears.recv(4096) for _ in range(6)]
        self.assertEqual(sorted(set(heard)), [b"READY=1\n", b"WATCHDOG=1\n"])

    def test_r41_no_client_is_refused_while_one_process_follows_another(self):
        mailbox = self.world.mailbox()
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        port = listening.getsockname()[1]

        def log_in():
            imap = imaplib.IMAP4("127.0.0.1", port, timeout=30)
            imap.login(mailbox.address, PASSWORD)
            return imap

        first = self.start(listening.fileno())
        open_session = log_in()
        address = first.wait_for('"listening".*"address":"([^"]+)"|"address":"([^"]+)".*"listening"')[0]
        self.assertIn(f"127.0.0.1:{port}", address[0])
        first.process.send_signal(signal.SIGTERM)
        self.assertTrue(open_session.readline().startswith(b"* BYE"))
        open_session.shutdown()
        self.assertEqual(first.exit_code(), 0)
        # Nobody accepts now; the socket is there all the same.
        waiting = socket.create_connection(("127.0.0.1", port), timeout=30)
        second = self.start(listening.fileno())
        self.assertTrue(waiting.recv(4096).startswith(b"* OK"))
        waiting.close()
        log_in().logout()
        second.stop()
        until(lambda: "stopped" in second.log.read_text(), "the end")
