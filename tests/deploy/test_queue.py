"""deploy/queue: Postfix, Exim and dma in front of authrelay, which queue what it cannot send yet."""

import concurrent.futures
import contextlib
import imaplib
import json
import os
import pathlib
import pwd
import re
import shutil
import smtplib
import socket
import threading
import time
import unittest

from process import Child, until
from world import DEPLOY, PASSWORD, STATIC, DeployTest, Emulation, ports, run

QUEUE = DEPLOY / "queue"
# Where `tests/run` unpacked Exim and dma: Debian lets one mail server only be installed.
MAIL_SERVERS = pathlib.Path(os.environ["MAIL_SERVERS"])
MESSAGES, PER_MINUTE = 50, 30
# Of a mail server that is not installed.
USER = 64998


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def load_tests(*_):
    """All at once: they wait for the same minute."""
    tests = [Postfix("test_a_burst_through_an_outage"), Postfix("test_a_wrong_password_bounces_nothing")]
    return Together([*tests, Exim("test_a_burst_through_an_outage"), Dma("test_a_burst_through_an_outage")])


class Together(unittest.TestSuite):
    def run(self, result, debug=False):
        with concurrent.futures.ThreadPoolExecutor() as threads:
            list(threads.map(lambda test: test.run(result), self))
        return result


class Way:
    """The way to the token endpoint: a port that passes connections on, or cuts them."""

    def __init__(self, port):
        self.target, self.open, self.cut = ("127.0.0.1", port), False, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if self.open:
                    server = socket.create_connection(self.target)
                    for pair in ((client, server), (server, client)):
                        threading.Thread(target=carry, args=pair, daemon=True).start()
                else:
                    self.cut += 1
                    client.close()

    def close(self):
        self.listener.close()


def carry(source, target):
    with contextlib.suppress(OSError):
        while octets := source.recv(65536):
            target.sendall(octets)
        target.shutdown(socket.SHUT_WR)


class Queue(DeployTest):
    """A relay whose token endpoint is down until `self.way.open` is true."""

    def setUp(self):
        super().setUp()
        self.folder.chmod(0o755)
        emulation = Emulation(self.folder)
        self.addCleanup(emulation.child.stop)
        self.login, self.mailbox = emulation.account["login"], emulation.account["mailbox"]
        configuration = emulation.configuration
        (provider,) = configuration["providers"].values()
        token_url = re.fullmatch(r"(https?://[^:/]+:)(\d+)(/.*)", provider["token_url"])
        self.way = Way(int(token_url[2]))
        self.addCleanup(self.way.close)
        provider["token_url"] = f"{token_url[1]}{self.way.port}{token_url[3]}"
        provider["ca"] = str(self.folder / "ca.pem")
        (self.folder / "ca.pem").write_bytes(emulation.ca)
        provider["smtp_limits"] = {"connections": 3, "messages_per_minute": PER_MINUTE, "wait": "5s"}
        emulation.account["password"] = PASSWORD
        for listener in configuration["listeners"]:
            listener["bind"] = "127.0.0.1:0"
        configuration["log"] = {"format": "json", "level": "debug"}
        configuration["admin"] = {"bind": "127.0.0.1:0"}
        configuration["state"] = {"directory": str(self.folder / "state")}
        file = self.folder / "proxy.yaml"
        file.write_text(json.dumps(configuration))
        self.relay = Child("relay", [STATIC, "run", "--config", file], self.folder)
        self.addCleanup(self.relay.stop)
        self.ports = ports(self.relay, len(configuration["listeners"]))

    def fill(self, name, **replaced):
        """A file of deploy/queue for this login, password and port, with further replacements."""
        text = (QUEUE / name).read_text()
        wanted = {"noreply@contoso.com": self.login, "LOCAL-PASSWORD": PASSWORD, "1587": str(self.ports["smtp"])}
        for old, new in {**wanted, **replaced}.items():
            text = text.replace(old, new)
        return text

    def submit(self, port):
        """All at once, over ten connections, as an application does."""

        def some(numbers):
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as server:
                for number in numbers:
                    server.sendmail(self.mailbox, [self.mailbox], self.message(number))

        with concurrent.futures.ThreadPoolExecutor(10) as threads:
            list(threads.map(some, [range(first, MESSAGES, 10) for first in range(10)]))

    def listening(self, port):
        """The port, once somebody serves it."""

        def served():
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        until(served, f"a listener on {port}")
        return port

    def unpacked(self, owner, files):
        """Words to go before a command of a package that was only unpacked: it sees the package's
        programs and these files of /etc as if they were installed. The group of `owner` may read
        them; where there is no such user, there is one for the command."""
        etc = self.folder / "etc"
        etc.mkdir()
        try:
            group = pwd.getpwnam(owner).pw_gid
        except KeyError:
            group = USER
            for name, line in (("passwd", f"{owner}:x:{USER}:{USER}::/nonexistent:/usr/sbin/nologin"), ("group", f"{owner}:x:{USER}:")):
                (etc / name).write_text(pathlib.Path("/etc", name).read_text() + line + "\n")
        for name, text in files.items():
            (etc / name).parent.mkdir(exist_ok=True)
            (etc / name).write_text(text)
            (etc / name).chmod(0o640)
            os.chown(etc / name, 0, group)
        for folder in (self.folder / "spool", self.folder / "log"):
            folder.mkdir()
            os.chown(folder, 0, group)
            folder.chmod(0o2770)
        mounts = [(etc, "/etc"), (MAIL_SERVERS / "usr/sbin", "/usr/sbin")]
        script = "".join(f"mount -t overlay overlay -o lowerdir={ours}:{theirs} {theirs}; " for ours, theirs in mounts)
        return ["unshare", "--mount", "sh", "-ec", script + 'exec "$@"', "sh"]

    def message(self, number):
        return f"From: <{self.mailbox}>\r\nTo: <{self.mailbox}>\r\nSubject: queued {number}\r\n\r\n.\r\n{number}\r\n"

    def arrived(self):
        """The numbers of the messages in the mailbox, and the subjects of all others."""
        imap = imaplib.IMAP4("127.0.0.1", self.ports["imap"], timeout=60)
        imap.login(self.login, PASSWORD)
        imap.select(readonly=True)
        _, found = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        imap.logout()
        subjects = [part[1].decode().partition(":")[2].strip() for part in found if isinstance(part, tuple)]
        numbers = [int(subject.split()[1]) for subject in subjects if subject.startswith("queued ")]
        return numbers, [subject for subject in subjects if not subject.startswith("queued ")]

    def accepted(self):
        """How many messages the mail service took, as authrelay counts."""
        with socket.create_connection(("127.0.0.1", self.ports["admin"])) as admin:
            admin.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            text = admin.makefile().read()
        return int(re.search(r'^authrelay_messages_total\{outcome="accepted"\} (\d+)', text, re.M)[1])

    def outage_and_end(self, retry=lambda: None, seconds=200):
        """Ends the outage after it has hit two token requests; then every message arrives once, at
        the mail service's rate, and nothing else does."""
        until(lambda: retry() or self.way.cut >= 2, "two token requests that failed", 90)
        self.assertEqual(self.accepted(), 0)
        self.way.open = True
        course = []

        def over():
            retry()
            course.append((time.monotonic(), self.accepted()))
            time.sleep(0.2)
            return course[-1][1] >= MESSAGES

        until(over, f"{MESSAGES} messages accepted", seconds)
        numbers, others = self.arrived()
        self.assertEqual(sorted(numbers), list(range(MESSAGES)), others[-2:])
        self.assertEqual(len(others), 3, others)
        # No more of them begin within any minute.
        first = next(at for at, count in course if count)
        self.assertLessEqual(max(count for at, count in course if at < first + 58), PER_MINUTE)


class Postfix(Queue):
    def postfix(self, **replaced):
        """With Debian's master.cf, on a port of its own instead of 25."""
        folder = self.folder / "postfix"
        folder.mkdir()
        port = free_port()
        (folder / "sasl_passwd").write_text(self.fill("sasl_passwd", **replaced))
        run("postmap", folder / "sasl_passwd")
        own = f"""
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
maillog_file = /dev/stdout
syslog_name = queue-test
"""
        times = {"minimal_backoff_time = 60s": "minimal_backoff_time = 5s", "queue_run_delay = 60s": "queue_run_delay = 3s"}
        times["maximal_backoff_time = 600s"] = "maximal_backoff_time = 10s"
        shipped = self.fill("main.cf", **{"/etc/postfix": str(folder)}, **times)
        (folder / "main.cf").write_text(shipped + own)
        master = pathlib.Path("/usr/share/postfix/master.cf.dist").read_text()
        (folder / "master.cf").write_text(re.sub(r"^smtp +inet", f"127.0.0.1:{port} inet", master, flags=re.M))
        (self.folder / "queue").mkdir()
        data = self.folder / "data"
        data.mkdir()
        shutil.chown(data, "postfix")
        self.server = self.start("postfix", ["postfix", "-c", folder, "start-fg"])
        return self.listening(port)

    def test_a_burst_through_an_outage(self):
        self.submit(self.postfix())
        self.outage_and_end()
        log = (self.folder / "postfix.log").read_text()
        self.assertNotIn("status=bounced", log)
        self.assertEqual(log.count("status=sent"), MESSAGES)
        self.assertIn("454", log)

    def test_a_wrong_password_bounces_nothing(self):
        with smtplib.SMTP("127.0.0.1", self.postfix(**{PASSWORD: "wrong"}), timeout=60) as server:
            server.sendmail(self.mailbox, [self.mailbox], self.message(0))
        self.server.wait_for(r"status=deferred \(SASL authentication failed.*535 5\.7\.8", 2)
        self.assertNotIn("status=bounced", self.server.log.read_text())


class Exim(Queue):
    def test_a_burst_through_an_outage(self):
        spool, logs = self.folder / "spool", self.folder / "log"
        own = f"spool_directory = {spool}\nlog_file_path = {logs}/%slog\n"
        shipped = self.fill("exim4.conf", **{"F,2h,1m": "F,2h,5s"})
        inside = self.unpacked("Debian-exim", {"exim4/exim4.conf": own + shipped, "exim4/authrelay.password": f"{PASSWORD}\n"})
        port = free_port()
        self.start("exim", [*inside, "/usr/sbin/exim4", "-bdf", "-q3s", "-oX", str(port)])
        self.submit(self.listening(port))
        self.outage_and_end()
        log = (logs / "mainlog").read_text()
        self.assertEqual(len(re.findall(r"^\S+ \S+ \S+ => ", log, re.M)), MESSAGES)
        self.assertNotIn(" ** ", log)
        self.assertRegex(log, r"454[- ]4\.7\.0")


class Dma(Queue):
    def test_a_burst_through_an_outage(self):
        spool = self.folder / "spool"
        conf = self.fill("dma.conf") + f"SPOOLDIR {spool}\n"
        inside = self.unpacked("mail", {"dma/dma.conf": conf, "dma/auth.conf": self.fill("dma.auth")})
        # As the package's installation leaves it: only that group may read the configuration.
        dma = MAIL_SERVERS / "usr/sbin/dma"
        shutil.chown(dma, "root", "mail")
        dma.chmod(0o2755)
        for number in range(MESSAGES):
            run(*inside, "/usr/sbin/dma", "-f", self.mailbox, self.mailbox, input=self.message(number).replace("\r\n", "\n"))
        self.outage_and_end(lambda: run(*inside, "/usr/sbin/dma", "-q"))
