"""Dovecot as the mail service behind what `compare.py` measures: IMAP under TLS 1.3, whose sessions
are resumed, and in clear for nginx's mail proxy, which has no TLS towards a mail service."""

import pathlib
import shutil
import socket
import subprocess
import sys
import time

CONFIGURATION = """
base_dir = {run}
state_dir = {run}
log_path = {directory}/dovecot.log
listen = 127.0.0.1
protocols = imap
auth_mechanisms = plain login xoauth2
disable_plaintext_auth = no
ssl = yes
ssl_min_protocol = TLSv1.3
ssl_cert = <{certs}/server.pem
ssl_key = <{certs}/server.key
first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_max_userip_connections = 1000
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  # One process, so that TLS sessions are resumed.
  service_count = 0
  process_limit = 1
  process_min_avail = 1
  client_limit = 2000
  inet_listener imap {{
    port = {clear}
  }}
  inet_listener imaps {{
    port = {tls}
    ssl = yes
  }}
}}
service auth {{
  client_limit = 5000
}}
service imap {{
  process_limit = 100
  service_count = 0
  process_min_avail = 8
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={mail}/%u allow_all_users=yes
}}
"""


class Dovecot:
    """Starts with the certificates that `authrelay certs` makes; takes any password and any token."""

    def __init__(self, directory, authrelay, ports):
        self.clear, self.tls = ports
        # Its processes run as different users.
        directory.chmod(0o755)
        certs = directory / "certs"
        subprocess.run([authrelay, "certs", "--directory", certs], check=True, stdout=subprocess.DEVNULL)
        self.ca = certs / "ca.pem"
        mail = directory / "mail"
        mail.mkdir()
        shutil.chown(mail, "nobody", "nogroup")
        configuration = directory / "dovecot.conf"
        configuration.write_text(
            CONFIGURATION.format(
                directory=directory,
                run=directory / "run",
                certs=certs,
                mail=mail,
                clear=self.clear,
                tls=self.tls,
            )
        )
        self.log = directory / "dovecot.log"
        self.process = subprocess.Popen(["dovecot", "-F", "-c", configuration])
        deadline = time.monotonic() + 20
        while not self.is_open():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"dovecot does not listen: {pathlib.Path(self.log).read_text()}")
            time.sleep(0.05)

    def is_open(self):
        try:
            socket.create_connection(("127.0.0.1", self.tls), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait()
