"""Dovecot as mail service: IMAP, POP3 and submission that take one mechanism and nothing else.

All of it runs as one ordinary user. It inherits its listening sockets (systemd's protocol), so
that no port can be lost between choosing and binding it.
"""

import fcntl
import getpass
import grp
import itertools
import os
import socket
from pathlib import Path

from process import Child

DOMAINS = ("implicit.test", "starttls.test")
TICKETS = "tickets@corp.test"
# Exists, but is not open to the application.
FORBIDDEN = "forbidden@corp.test"
# Mailboxes that their owners' tokens alone open.
PERSONS = "person.test"

SERVICES = {
    "imap": "imap-login",
    "imaps": "imap-login",
    "pop3": "pop3-login",
    "pop3s": "pop3-login",
    "submission": "submission-login",
    "submissions": "submission-login",
}


class Mailbox:
    """An INBOX in a Maildir, seen from the file system."""

    numbers = itertools.count(1)

    def __init__(self, address, mail):
        self.address = address
        self.maildir = mail / address / "Maildir"
        for folder in ("tmp", "new", "cur"):
            (self.maildir / folder).mkdir(parents=True, exist_ok=True)

    def deliver(self, *messages):
        """Puts messages into the INBOX, in order, as a delivery agent does."""
        for raw in messages:
            number = next(self.numbers)
            name = f"{1_700_000_000 + number}.P{number}.peers"
            (self.maildir / "tmp" / name).write_bytes(raw)
            (self.maildir / "tmp" / name).rename(self.maildir / "new" / name)

    def messages(self):
        """What is in the INBOX now, marked deleted or not."""
        files = [*(self.maildir / "new").iterdir(), *(self.maildir / "cur").iterdir()]
        return [file.read_bytes() for file in sorted(files)]


class Dovecot:
    def __init__(self, folder, certs, keys, sink_port, mechanism="xoauth2"):
        self.folder = folder
        self.mechanism = mechanism
        self.mail = folder / "mail"
        self.mail.mkdir(parents=True)
        sockets = {name: listening() for name in SERVICES}
        self.ports = {name: bound.getsockname()[1] for name, bound in sockets.items()}
        configuration = folder / "dovecot.conf"
        configuration.write_text(self.configuration(certs, keys, sink_port))
        # Duplicates far above those that bash moves to where systemd's protocol begins.
        inherited = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in sockets.values()]
        moves = " ".join(f"{to}<&{fd} {fd}<&-" for to, fd in enumerate(inherited, 3))
        command = f"LISTEN_PID=$$ LISTEN_FDS={len(inherited)} exec /usr/sbin/dovecot -F -c {configuration} {moves}"
        self.child = Child("dovecot", ["bash", "-c", command], folder, pass_fds=inherited)
        for fd in inherited:
            os.close(fd)
        for bound in sockets.values():
            bound.close()

    def __enter__(self):
        self.child.wait_for("starting up for imap, pop3, submission")
        return self

    def __exit__(self, *_):
        self.child.stop()

    def mailbox(self, address):
        return Mailbox(address, self.mail)

    def logins(self, address):
        """Logins that succeeded."""
        return [line for line in self.child.lines() if f"Login: user=<{address}>" in line]

    def configuration(self, certs, keys, sink_port):
        user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
        lines = [
            f"base_dir = {self.folder}/run",
            f"state_dir = {self.folder}/run",
            f"default_internal_user = {user}",
            f"default_internal_group = {group}",
            f"default_login_user = {user}",
            "first_valid_uid = 1",
            "first_valid_gid = 1",
            "log_path = /dev/stderr",
            "listen = 127.0.0.1",
            "protocols = imap pop3 submission",
            f"auth_mechanisms = {self.mechanism}",
            "ssl = required",
            f"ssl_cert = <{certs}/server.pem",
            f"ssl_key = <{certs}/server.key",
            "mail_location = maildir:~/Maildir",
            "mail_save_crlf = yes",
            # All clients come from one address.
            "mail_max_userip_connections = 100",
            "submission_relay_host = 127.0.0.1",
            f"submission_relay_port = {sink_port}",
            "submission_relay_ssl = no",
            # Failed logins must not slow those that come after them.
            "service anvil {\n  chroot =\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}",
            "service stats {\n  chroot =\n}",
            *(f"service {service} {{\n  chroot =\n}}" for service in set(SERVICES.values())),
            f"userdb {{\n  driver = static\n  args = uid={user} gid={group} home={self.mail}/%u allow_all_users=yes\n}}",
        ]
        for name, service in SERVICES.items():
            implicit = "ssl = yes" if name.endswith("s") else "ssl = no"
            listener = f"inet_listener {name} {{\n    port = {self.ports[name]}\n    {implicit}\n  }}"
            lines.append(f"service {service} {{\n  {listener}\n}}")
        # App-only tokens name no user, and local validation wants one: a constant format makes any
        # user the token's. By itself `app` is nobody's user name.
        lines.append(self.passdb("permitted", " ".join([*(f"*@{domain}" for domain in DOMAINS), TICKETS]), "app", keys))
        lines.append(self.passdb("forbidden", FORBIDDEN, "%u", keys))
        lines.append(self.passdb("persons", f"*@{PERSONS}", "%u", keys, "upn", "user"))
        return "\n".join(lines) + "\n"

    def passdb(self, name, users, username_format, keys, username="idtyp", kind="app"):
        validation = self.folder / f"{name}.conf.ext"
        validation.write_text(
            "introspection_mode = local\n"
            f"local_validation_key_dict = fs:posix:prefix={keys}/\n"
            f"username_attribute = {username}\nusername_format = {username_format}\n"
            f"active_attribute = idtyp\nactive_value = {kind}\n"
        )
        options = f"driver = oauth2\n  mechanisms = {self.mechanism}\n  username_filter = {users}\n  args = {validation}"
        return f"passdb {{\n  {options}\n}}"


def listening():
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(512)
    return bound
