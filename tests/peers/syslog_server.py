"""rsyslog: takes audit records over UDP, TCP and TLS, and writes down what it got."""

import os
import socket

from process import Child, until

CONFIGURATION = """
global(
    workDirectory="{folder}"
    maxMessageSize="256k"
    defaultNetstreamDriverCAFile="{certs}/ca.pem"
    defaultNetstreamDriverCertFile="{certs}/server.pem"
    defaultNetstreamDriverKeyFile="{certs}/server.key"
)
template(name="message" type="string" string="%msg%\\n")
template(name="head" type="string" string="%app-name% %syslogfacility-text% %syslogseverity-text% %msgid%\\n")
{input}
# Not what it says itself.
:app-name, !isequal, "authrelay" stop
action(type="omfile" file="{folder}/messages" template="message" ioBufferSize="4k" flushOnTXEnd="on")
action(type="omfile" file="{folder}/heads" template="head" flushOnTXEnd="on")
"""

INPUTS = {
    "udp": 'module(load="imudp")\ninput(type="imudp" address="127.0.0.1" port="{port}")',
    "tcp": 'module(load="imtcp")\n'
    'input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{folder}/port")',
    "tls": 'module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")\n'
    'input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{folder}/port")',
}


class Rsyslog:
    """Listens on one transport."""

    def __init__(self, transport, folder, certs):
        folder = folder / f"rsyslog-{transport}"
        folder.mkdir()
        self.folder = folder
        # It does not tell which port it got for UDP.
        self.port = free_udp_port() if transport == "udp" else None
        file = folder / "rsyslog.conf"
        file.write_text(
            CONFIGURATION.format(
                folder=folder, certs=certs, input=INPUTS[transport].format(folder=folder, port=self.port)
            )
        )
        command = ["/usr/sbin/rsyslogd", "-n", "-f", file, "-i", folder / "pid"]
        self.child = Child(f"rsyslog-{transport}", command, folder)

    def __enter__(self):
        if self.port is None:
            port = until(lambda: read(self.folder / "port").strip(), "rsyslog's port")
            self.port = int(port)
        else:
            wanted = f"0100007F:{self.port:04X}"
            until(lambda: wanted in read("/proc/net/udp"), "rsyslog's socket")
        return self

    def __exit__(self, *_):
        self.child.stop()

    def messages(self):
        return read(self.folder / "messages")

    def heads(self):
        return read(self.folder / "heads").splitlines()


def read(path):
    return open(path).read() if os.path.exists(path) else ""


def free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
