"""Where sent mail ends: an SMTP server that keeps what it is given, octet by octet."""

import socketserver
import threading

from mail import subject
from process import until


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 sink.test ESMTP")
        sender, recipients = None, []
        while line := self.rfile.readline():
            verb, _, argument = line.decode().rstrip("\r\n").partition(" ")
            match verb.upper():
                case "EHLO":
                    self.say("250-sink.test", "250-8BITMIME", "250 SIZE 50000000")
                case "MAIL":
                    sender, recipients = address(argument), []
                    self.say("250 2.1.0 Ok")
                case "RCPT":
                    recipients.append(address(argument))
                    self.say("250 2.1.5 Ok")
                case "DATA":
                    self.say("354 Go on")
                    self.server.received.append((sender, recipients, self.data()))
                    self.say("250 2.0.0 Kept")
                case "QUIT":
                    self.say("221 2.0.0 Bye")
                    return
                case "HELO" | "RSET" | "NOOP":
                    self.say("250 2.0.0 Ok")
                case _:
                    self.say("502 5.5.1 Not here")

    def say(self, *lines):
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def data(self):
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise ConnectionError("closed within DATA")
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)


def address(argument):
    return argument.partition("<")[2].partition(">")[0]


class Sink(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Session)
        self.received = []
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def message(self, name):
        """The one message with this subject: sender, recipients, octets."""
        found = until(
            lambda: [mail for mail in list(self.received) if subject(mail[2]) == name],
            f"a message {name!r} in the sink",
        )
        assert len(found) == 1, f"{len(found)} messages {name!r}"
        return found[0]
