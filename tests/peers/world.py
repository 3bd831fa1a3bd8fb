"""Everything that the tests share: certificates, the identity provider, Dovecot, the sink behind
it, and authrelay in front."""

import itertools
import json
import os
import subprocess
from contextlib import ExitStack

import dovecot
import relay
from process import Child
from sink import Sink

PROTOCOLS = ("imap", "pop3", "smtp")


class IdentityProvider:
    """npm's oidc-provider; see identity_provider.mjs."""

    def __init__(self, folder, certs, code):
        self.keys = folder / "keys"
        self.client_certificate, self.client_key = folder / "client.pem", folder / "client.key"
        self_signed(self.client_certificate, self.client_key)
        script = code / "identity_provider.mjs"
        self.child = Child(
            "identity-provider",
            [
                "node",
                script,
                certs / "server.pem",
                certs / "server.key",
                self.keys,
                self.client_certificate,
            ],
            folder,
        )

    def __enter__(self):
        self.port = int(self.child.wait_for(r"^ready (\d+)$")[0][1])
        self.token_url = f"https://localhost:{self.port}/token"
        return self

    def __exit__(self, *_):
        self.child.stop()

    def requests(self):
        """One for each token request, oldest first."""
        return [json.loads(line) for line in self.child.lines() if line.startswith("{")]


def self_signed(certificate, key):
    """What a client may prove itself with."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=authrelay", "-days", "2"]
        + ["-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )


class World:
    def __init__(self, folder, binary, code):
        self.folder, self.code = folder, code
        self.binary = relay.Binary(binary)
        self.numbers = itertools.count(1)

    def __enter__(self):
        with ExitStack() as stack:
            self.certs = self.binary.certs(self.folder / "certs")
            self.ca = self.certs / "ca.pem"
            self.password_hash = self.binary.hash_password(relay.PASSWORD)
            self.sink = stack.enter_context(Sink())
            self.identity_provider = stack.enter_context(IdentityProvider(self.folder, self.certs, self.code))
            folder = self.folder / "dovecot"
            self.dovecot = stack.enter_context(
                dovecot.Dovecot(folder, self.certs, self.identity_provider.keys, self.sink.port)
            )
            self.relay = stack.enter_context(self.start("relay", self.configuration()))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        return self.stack.__exit__(*exception)

    def start(self, name, configuration):
        """A further authrelay."""
        return relay.Relay(self.binary, name, self.folder, configuration)

    def configuration(self, token_url=None, wanted=relay.LISTENERS):
        """Two providers, which are one Dovecot with implicit TLS and with STARTTLS; a wildcard
        account for each, and two logins with one mailbox."""
        token_url = token_url or self.identity_provider.token_url
        password_file = self.folder / "alias-password"
        password_file.write_text(f"{relay.PLAIN_PASSWORD}\n")
        ports = self.dovecot.ports
        implicit = dict(zip(PROTOCOLS, (ports["imaps"], ports["pop3s"], ports["submissions"])))
        starttls = dict(zip(PROTOCOLS, (ports["imap"], ports["pop3"], ports["submission"])))
        return {
            "listeners": relay.listeners(self.certs, wanted),
            "providers": {
                "implicit": relay.provider(self.certs, token_url, implicit, "implicit"),
                "starttls": relay.provider(self.certs, token_url, starttls, "starttls"),
            },
            "registrations": {name: relay.registration(name) for name in ("implicit", "starttls")},
            "accounts": [
                {"login": "*@implicit.test", "registration": "implicit", "password": relay.PLAIN_PASSWORD},
                {"login": "*@starttls.test", "registration": "starttls", "password": relay.PLAIN_PASSWORD},
                {"login": relay.ARGON2_LOGIN, "registration": "implicit", "password": self.password_hash},
                {
                    "login": relay.ALIAS_LOGIN,
                    "registration": "starttls",
                    "mailbox": dovecot.TICKETS,
                    "password": {"file": str(password_file)},
                },
                {"login": dovecot.FORBIDDEN, "registration": "implicit", "password": relay.PLAIN_PASSWORD},
            ],
        }

    def mailbox(self, domain="implicit.test"):
        """One that no test had before; its login is its address."""
        return self.dovecot.mailbox(f"box{next(self.numbers)}@{domain}")


def environment(home):
    """What clients see: a home of their own and nothing of ours."""
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "dumb"}
