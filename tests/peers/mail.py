"""Messages that are the same in every run, and what must be the same of them at the other end."""

import hashlib
import random


def message(name, size=2000):
    """A message of at least `size` octets with what transports stumble over: dots that begin a
    line, a line of 998 octets, `From ` at the start of a line, blank lines at the end."""
    lines = [
        "From: Sender <sender@peers.test>",
        "To: Recipient <recipient@peers.test>",
        f"Subject: {name}",
        f"Message-ID: <{name}@peers.test>",
        "Date: Tue, 06 Jan 2026 10:00:00 +0000",
        "",
        "Hello,",
        ".",
        "..",
        ".begins with a dot",
        "From the start of a line",
        "x" * 998,
        "a1 LOGOUT",
        "QUIT",
    ]
    text = random.Random(name)
    length = sum(len(line) + 2 for line in lines)
    while length < size:
        lines.append(f"{text.getrandbits(288):072x}")
        length += 74
    return "\r\n".join([*lines, "", ".", "", ""]).encode()


def subject(raw):
    """The name that `message` was given."""
    for line in raw.splitlines():
        if line.lower().startswith(b"subject: "):
            return line[len("subject: ") :].decode()
    return None


def digest(raw):
    """Of a body, whatever line ends a client stores, whatever headers it puts in front and
    however many line ends it leaves at the end."""
    text = raw.replace(b"\r\n", b"\n")
    _, _, body = text.partition(b"\n\n")
    return hashlib.sha256(body.rstrip(b"\n")).hexdigest()


def sha256(raw):
    """Of every octet."""
    return hashlib.sha256(raw).hexdigest()
