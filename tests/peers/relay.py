"""authrelay: the binary under test, its configuration and what it logs."""

import json
import re
import subprocess

from process import Child, until

SECRET = "the-application-secret"
PASSWORD = "local password: ünï \"q\\uoted\""
PLAIN_PASSWORD = "plain-password"
ARGON2_LOGIN = "tickets@corp.test"
ALIAS_LOGIN = "Helpdesk"

LISTENERS = [(protocol, tls) for protocol in ("imap", "pop3", "smtp") for tls in ("none", "starttls", "implicit")]


def listeners(certs, wanted=LISTENERS):
    """Each on a port that the system picks; named as in `imap-starttls`."""
    identity = {"certificate": f"{certs}/server.pem", "key": f"{certs}/server.key"}
    return [
        {
            "name": f"{protocol}-{tls}",
            "protocol": protocol,
            "bind": "127.0.0.1:0",
            "provider": "implicit",
            "tls": {"mode": tls, **({} if tls == "none" else identity)},
        }
        for protocol, tls in wanted
    ]


def provider(certs, token_url, ports, tls):
    return {
        **{protocol: {"host": "localhost", "port": port, "tls": tls} for protocol, port in ports.items()},
        "token_url": token_url,
        "ca": f"{certs}/ca.pem",
    }


def registration(name):
    return {
        "provider": name,
        "client_id": "authrelay",
        "grant": "client_credentials",
        "client_secret": SECRET,
        "scope": ["mail"],
    }


class Binary:
    """The commands that end by themselves."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *arguments, given=None):
        done = subprocess.run(
            [self.path, *map(str, arguments)], input=given, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"authrelay {arguments[0]}: {done.stderr}"
        return done.stdout

    def hash_password(self, password):
        return self("hash-password", given=f"{password}\n").strip()

    def certs(self, folder):
        self("certs", "--directory", folder)
        return folder


class Relay:
    """`authrelay run` on a configuration; ready when it listens."""

    def __init__(self, binary, name, folder, configuration):
        folder = folder / name
        folder.mkdir()
        file = folder / "proxy.yaml"
        # JSON is YAML.
        file.write_text(json.dumps({"log": {"format": "json", "level": "trace"}, **configuration}, indent=2))
        binary("check", "--config", file)
        self.child = Child(name, [binary.path, "run", "--config", file], folder)
        self.ports = {}
        self.count = len(configuration["listeners"])

    def __enter__(self):
        try:
            self.child.wait_for('"listening"', self.count)
        except BaseException:
            self.child.stop()
            raise
        for record in self.records("listening"):
            self.ports[record["listener"]] = int(record["address"].rpartition(":")[2])
        return self

    def __exit__(self, *_):
        self.child.stop()

    def records(self, message):
        return [
            record
            for record in map(json.loads, filter(lambda line: line.startswith("{"), self.child.lines()))
            if record["message"] == message
        ]

    def sessions(self, login, count=1):
        """The session records of a login, once there are `count`."""

        def enough():
            found = [record for record in self.records("session") if same(record.get("login"), login)]
            return found if len(found) >= count else None

        return until(enough, f"{count} session records of {login}")


def same(one, other):
    return one is not None and one.lower() == other.lower()
