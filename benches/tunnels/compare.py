#!/usr/bin/env python3
"""authrelay beside HAProxy and nginx, as what stands between a client in clear and a mail service
under TLS.

All three are measured in one run against one upstream (`examples/upstream.rs`: the sandbox's
Exchange in a process of its own) by one client (`examples/load.rs`). authrelay gets a password and
logs in upstream with XOAUTH2; the two tunnels only encrypt, and the client logs in itself through
them. Python's standard library, haproxy, nginx with its stream module; everything on loopback, on
ports that the system picks, ended by its process id.

    cargo build --release --bin authrelay --example upstream --example load
    python3 benches/tunnels/compare.py [--rounds 5] [--only authrelay,haproxy,nginx] [--quick]
    python3 benches/tunnels/compare.py --dovecot [--rounds 5] [--quick]
    python3 benches/tunnels/compare.py --submission [--rounds 5] [--quick]

With --dovecot it is a login, and the upstream is Dovecot; nginx's mail proxy is measured besides, which
has no TLS towards a mail service (the module `mail` of nginx). It needs root.

With --submission it is authrelay only, and an SMTP upload: relayed as it comes, under a mail service's
limits, and under an account's policy.
"""

import argparse
import base64
import json
import os
import pathlib
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from dovecot import Dovecot

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "target/release"

HAPROXY = """
global
  maxconn 4000
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen tunnel
  bind 127.0.0.1:{port}
  server upstream 127.0.0.1:{upstream} ssl verify required ca-file {ca} sni str(localhost) verifyhost localhost
"""

NGINX = """
{module}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
worker_processes auto;
events {{ worker_connections 8000; }}
stream {{
  server {{
    listen 127.0.0.1:{port};
    proxy_pass 127.0.0.1:{upstream};
    proxy_ssl on;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate {ca};
    proxy_ssl_name localhost;
    proxy_ssl_server_name on;
    proxy_timeout 1h;
  }}
}}
"""

NGINX_MAIL = """
{module}
daemon off;
pid {directory}/nginx-mail.pid;
error_log {directory}/nginx-mail.log;
worker_processes auto;
events {{ worker_connections 8000; }}
mail {{
  auth_http 127.0.0.1:{auth}/;
  server {{
    listen 127.0.0.1:{port};
    protocol imap;
  }}
}}
"""

# What nginx's mail proxy asks where a login goes, in a process of its own.
NGINX_AUTH = """
daemon off;
pid {directory}/nginx-auth.pid;
error_log {directory}/nginx-auth.log;
events {{ worker_connections 8000; }}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{auth};
    location / {{
      add_header Auth-Status OK;
      add_header Auth-Server 127.0.0.1;
      add_header Auth-Port {upstream};
      return 200;
    }}
  }}
}}
"""

LIMITS = "limits: {sessions: 10000, sessions_per_client: 10000}\n"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_open(port, process):
    deadline = time.monotonic() + 20
    while True:
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"{process.args[0]} does not listen on {port}")
            time.sleep(0.05)


class Proxy:
    """A process (or several) between client and upstream."""

    def __init__(self, directory, upstream):
        self.directory = directory
        self.upstream = upstream
        self.process = None
        self.port = None

    def login(self):
        return "token:{mailbox}:{token}".format(**self.upstream)

    def pids(self):
        """The process and its children."""
        first = self.process.pid
        pids = [first]
        for task in os.listdir(f"/proc/{first}/task"):
            children = pathlib.Path(f"/proc/{first}/task/{task}/children").read_text()
            pids += map(int, children.split())
        return pids

    def stop(self):
        self.process.send_signal(signal.SIGKILL if self.kill else signal.SIGTERM)
        for pid in self.pids_at_start:
            while pathlib.Path(f"/proc/{pid}").exists() and pid != self.process.pid:
                time.sleep(0.02)
        self.process.wait()

    kill = False


class Authrelay(Proxy):
    name = "authrelay"
    program = TARGET / "authrelay"

    def login(self):
        return "password:{login}:{password}".format(**self.upstream)

    protocol = "imap"

    def configuration(self, text):
        return text + LIMITS

    def start(self):
        text = pathlib.Path(self.upstream["config"]).read_text()
        config = pathlib.Path(self.upstream["config"]).with_name("bench.yaml")
        # As for the tunnels: an address, so that nobody's name lookups are measured.
        config.write_text(self.configuration(text.replace("host: localhost", "host: 127.0.0.1")))
        log = self.directory / "authrelay.log"
        with open(log, "wb") as stderr:
            self.process = subprocess.Popen(
                [self.program, "run", "--config", config], stderr=stderr
            )
        deadline = time.monotonic() + 20
        while self.port is None:
            for line in log.read_text().splitlines():
                record = json.loads(line)
                if record.get("message") == "listening" and record["protocol"] == self.protocol:
                    self.port = int(record["address"].rsplit(":", 1)[1])
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"authrelay does not listen: {log.read_text()}")
            time.sleep(0.02)
        self.pids_at_start = self.pids()


class Audited(Authrelay):
    """With audit records, one for the login and one for the session."""

    name = "authrelay, audited"

    def configuration(self, text):
        return super().configuration(text) + "audit: {path: audit.jsonl}\n"


class Submission(Authrelay):
    """A provider of one's own, which has no limits, for one mailbox that sends."""

    protocol = "smtp"

    def __init__(self, directory, upstream, name, limits="", policy=""):
        super().__init__(directory, upstream)
        self.name, self.limits, self.policy = name, limits, policy

    def configuration(self, text):
        scope = "    scope: [https://outlook.office365.com/.default]\n"
        text = text.replace("microsoft365", "own").replace("    grant: ", f"{scope}    grant: ")
        return text.replace("    ca: ca.pem\n", f"    ca: ca.pem\n{self.limits}") + self.policy + LIMITS

    def cpu(self):
        """Of all its threads, in ms."""
        sum_ = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            sum_ += int((task / "schedstat").read_text().split()[0])
        return sum_ / 1e6

    def upload(self, message):
        """Sends it once; CPU in ms and seconds."""
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            lines = client.makefile("rb")

            def ask(text, code):
                client.sendall(text)
                while (line := lines.readline())[3:4] == b"-":
                    pass
                if not line.startswith(code):
                    sys.exit(f"{self.name}: {text[:20]}: {line}")

            login = "\0{login}\0{password}".format(**self.upstream)
            ask(b"", b"220")
            ask(b"EHLO bench\r\n", b"250")
            ask(b"AUTH PLAIN " + base64.b64encode(login.encode()) + b"\r\n", b"235")
            address = self.upstream["mailbox"].encode()
            ask(b"MAIL FROM:<" + address + b">\r\n", b"250")
            ask(b"RCPT TO:<a@example.com>\r\n", b"250")
            ask(b"DATA\r\n", b"354")
            cpu, began = self.cpu(), time.monotonic()
            ask(message, b"250")
            took = self.cpu() - cpu, time.monotonic() - began
            ask(b"QUIT\r\n", b"221")
        return took


class Haproxy(Proxy):
    name = "haproxy"
    # It would wait for sessions to end.
    kill = True

    def start(self):
        self.port = free_port()
        config = self.directory / "haproxy.cfg"
        config.write_text(
            HAPROXY.format(port=self.port, upstream=self.upstream["imap"], ca=self.upstream["ca"])
        )
        self.process = subprocess.Popen(["haproxy", "-q", "-db", "-f", config])
        wait_until_open(self.port, self.process)
        self.pids_at_start = self.pids()


class Nginx(Proxy):
    name = "nginx"

    def start(self):
        self.port = free_port()
        config = self.directory / "nginx.conf"
        module = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        config.write_text(
            NGINX.format(
                module=f"load_module {module};" if module.exists() else "",
                directory=self.directory,
                port=self.port,
                upstream=self.upstream["imap"],
                ca=self.upstream["ca"],
            )
        )
        self.process = subprocess.Popen(["nginx", "-q", "-p", self.directory, "-c", config])
        wait_until_open(self.port, self.process)
        self.pids_at_start = self.pids()


class NginxMail(Nginx):
    """A proxy that reads the login; in clear on both sides."""

    name = "nginx mail (in clear)"

    def login(self):
        return "password:{login}:{password}".format(**self.upstream)

    def start(self):
        self.port, auth = free_port(), free_port()
        self.auth = self.run("auth", NGINX_AUTH, auth=auth, upstream=self.upstream["clear"])
        wait_until_open(auth, self.auth)
        module = "load_module /usr/lib/nginx/modules/ngx_mail_module.so;"
        self.process = self.run("mail", NGINX_MAIL, module=module, auth=auth, port=self.port)
        wait_until_open(self.port, self.process)
        self.pids_at_start = self.pids()

    def run(self, name, text, **values):
        config = self.directory / f"nginx-{name}.conf"
        config.write_text(text.format(directory=self.directory, **values))
        return subprocess.Popen(["nginx", "-q", "-p", self.directory, "-c", config])

    def stop(self):
        super().stop()
        self.auth.terminate()
        self.auth.wait()


def load(what, proxy, count):
    command = [TARGET / "examples/load", what, str(proxy.port), proxy.login()]
    command += [",".join(map(str, proxy.pids())), str(count)]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if result.returncode != 0:
        sys.exit(f"{what} through {proxy.name} failed")
    return json.loads(result.stdout)


# What is measured: how, how often in one round, which figure of the result, and what it means.
FIGURES = [
    ("download", 6, "cpu_ms", "CPU for a download of 50 MB, ms"),
    ("download", 6, "mb_per_s", "download, MB/s"),
    ("upload", 6, "cpu_ms", "CPU for an upload of 50 MB, ms"),
    ("upload", 6, "mb_per_s", "upload, MB/s"),
    ("logins", 2000, "cpu_ms", "CPU for a login, ms"),
    ("logins", 2000, "per_s", "logins a second, 8 at a time"),
    ("idle", 1000, "kb", "memory of an idle session, kB"),
]


def measure(proxies, rounds, quick, wanted):
    """The rounds take turns, so that whatever else the machine does meets all alike."""
    figures = {}
    for number in range(rounds):
        for kind in proxies:
            for what in dict.fromkeys(figure[0] for figure in wanted):
                count = next(figure[1] for figure in wanted if figure[0] == what)
                # A fresh process each time: memory is compared with that of the start.
                proxy = kind()
                proxy.start()
                result = load(what, proxy, max(2, count // 10) if quick else count)
                proxy.stop()
                for key, value in result.items():
                    figures.setdefault((proxy.name, what, key), []).append(value)
                print(f"round {number + 1}: {proxy.name} {what}: {result}", file=sys.stderr)
    return figures


# How authrelay is asked to look at what is sent.
SUBMISSIONS = [
    ("as it comes", {}),
    ("limits", {"limits": "    smtp_limits: {connections: 3, messages_per_minute: 100000}\n"}),
    (
        "policy",
        {"policy": '    smtp: {senders: ["*@contoso.test"], recipients: ["*"], max_size: 100MB}\n'},
    ),
]


def submit(folder, about, rounds, quick):
    """SMTP uploads, in turns; prints medians and their ratios to the first way."""
    line = b"x" * 76 + b"\r\n"
    message = line * ((1 if quick else 50) * 1_000_000 // len(line)) + b".\r\n"
    figures = {name: [] for name, _ in SUBMISSIONS}
    for number in range(rounds):
        for name, keys in SUBMISSIONS:
            proxy = Submission(folder, about, name, **keys)
            proxy.start()
            # The first has the token fetched and the buffers made.
            proxy.upload(message)
            results = [proxy.upload(message) for _ in range(2 if quick else 6)]
            proxy.stop()
            figures[name] += results
            print(f"round {number + 1}: {name}: {results}", file=sys.stderr)
    print("| SMTP upload of 50 MB | CPU, ms | MB/s | CPU, to the first |")
    print("|" + " --- |" * 4)
    megabytes = len(message) / 1e6
    cpu = {name: statistics.median(took[0] for took in results) for name, results in figures.items()}
    for name, results in figures.items():
        speed = megabytes / statistics.median(took[1] for took in results)
        first = cpu[SUBMISSIONS[0][0]]
        print(f"| {name} | {cpu[name]:.3g} | {speed:.0f} | {cpu[name] / first:.2f} |")


def hold(kind, counts):
    """The most sessions of `counts` that authrelay holds at once."""
    for count in counts:
        proxy = kind()
        proxy.start()
        result = load("hold", proxy, count)
        proxy.stop()
        return result


def report(figures, names, held, wanted):
    def median(name, what, key):
        return statistics.median(figures[name, what, key])

    head = ["", *names, *(f"authrelay / {name}" for name in names[1:])]
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for what, _, key, meaning in wanted:
        values = [median(name, what, key) for name in names]
        cells = [f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in values]
        cells += [f"{values[0] / value:.2f}" for value in values[1:]]
        print("| " + " | ".join([meaning, *cells]) + " |")
    if held:
        print(f"\nSessions held at once by authrelay: {held['held']}")


def login_to_dovecot(folder, about, rounds, quick):
    """Logins only, with Dovecot in place of the sandbox's mail service."""
    dovecot = Dovecot(folder, Authrelay.program, (free_port(), free_port()))
    try:
        config = pathlib.Path(about["config"])
        text = config.read_text()
        config.write_text(text.replace(f"port: {about['imap']},", f"port: {dovecot.tls},"))
        authorities = pathlib.Path(about["ca"])
        authorities.write_text(authorities.read_text() + dovecot.ca.read_text())
        about |= {"imap": dovecot.tls, "clear": dovecot.clear}
        kinds = [Audited, Authrelay, Haproxy, Nginx, NginxMail]
        logins = [figure for figure in FIGURES if figure[0] == "logins"]
        proxies = [lambda kind=kind: kind(folder, about) for kind in kinds]
        figures = measure(proxies, rounds, quick, logins)
        machine()
        report(figures, [kind.name for kind in kinds], None, logins)
    finally:
        dovecot.stop()


def machine():
    model = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    version = lambda *command: subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    ).stdout.splitlines()[0]
    print(f"{os.cpu_count()} × {model}, Linux {platform.release()}")
    print(version("haproxy", "-v"))
    print(version("nginx", "-v"))
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, to see that it works")
    parser.add_argument("--dovecot", action="store_true", help="logins to Dovecot")
    parser.add_argument("--submission", action="store_true", help="SMTP uploads through authrelay")
    parser.add_argument("--profile", default="release", help="whose binaries; debug shows that it works")
    parser.add_argument("--only", default="authrelay,haproxy,nginx")
    parser.add_argument("--sessions", type=int, default=9900)
    options = parser.parse_args()
    global TARGET
    Authrelay.program = (TARGET := ROOT / "target" / options.profile) / "authrelay"
    kinds = {kind.name: kind for kind in (Authrelay, Haproxy, Nginx)}
    names = options.only.split(",")
    with tempfile.TemporaryDirectory(prefix="tunnels-") as folder:
        folder = pathlib.Path(folder)
        upstream = subprocess.Popen(
            [TARGET / "examples/upstream", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            about = json.loads(upstream.stdout.readline())
            if options.submission:
                machine()
                submit(folder, about, options.rounds, options.quick)
                return
            if options.dovecot:
                login_to_dovecot(folder, about, options.rounds, options.quick)
                return
            proxies = [lambda kind=kinds[name]: kind(folder, about) for name in names]
            figures = measure(proxies, options.rounds, options.quick, FIGURES)
            held = None
            if "authrelay" in names:
                held = hold(lambda: Authrelay(folder, about), [options.sessions])
            machine()
            report(figures, names, held, FIGURES)
        finally:
            upstream.stdin.close()
            upstream.wait()


if __name__ == "__main__":
    main()
