"""How clients are told what to do: each writes its configuration file, where it has one, and gives
the command line. TLS is verified against the CA of `authrelay certs`, wherever there is TLS."""

from case import PASSWORD


def curl(case, url, login, *options, password=PASSWORD):
    return ["curl", "--silent", "--show-error", "--cacert", case.ca, "--user", f"{login}:{password}", *options, url]


def curl_send(case, mode, port, login, file, *options, password=PASSWORD):
    scheme = "smtps" if mode == "implicit" else "smtp"
    required = ["--ssl-reqd"] if mode == "starttls" else []
    envelope = ["--mail-from", login, "--mail-rcpt", "curl@peers.test", "--upload-file", file]
    return curl(case, f"{scheme}://localhost:{port}", login, *required, *options, *envelope, password=password)


def mbsync(case, port, login, password=PASSWORD):
    """INBOX both ways, below mail/."""
    (case.folder / "mail").mkdir()
    configuration = case.file(
        "mbsyncrc",
        f"""
IMAPAccount relay
Host localhost
Port {port}
User {login}
Pass {password}
SSLType STARTTLS
CertificateFile {case.ca}

IMAPStore relay
Account relay

MaildirStore local
Path {case.folder}/mail/
Inbox {case.folder}/mail/INBOX

Channel inbox
Far :relay:
Near :local:
Create Near
SyncState *
""",
    )
    return ["mbsync", "-c", configuration, "inbox"]


def fetchmail(case, protocol, port, login, *options, deliver="cat > $(mktemp XXXXXXXX)", password=PASSWORD):
    configuration = case.file(
        "fetchmailrc",
        f"""
poll localhost protocol {protocol} port {port} no dns
user "{login}" password "{password}" sslcertck sslcertfile "{case.ca}"
mda "{deliver}" no rewrite {" ".join(options)}
""",
    )
    return ["fetchmail", "--fetchmailrc", configuration, "--nosyslog", "--nodetach"]


# getmail waits for the end of the child that delivers, and misses one that comes before it waits:
# then it waits for three minutes, and fails.
GETMAIL = """
import runpy, time
import getmailcore.baseclasses

class Exited:
    over = False
    def acquire(self): pass
    def release(self): pass
    def notify_all(self): self.over = True
    def wait(self, seconds):
        end = time.monotonic() + seconds
        while not self.over and time.monotonic() < end:
            time.sleep(0.01)
        return self.over

getmailcore.baseclasses.Condition = Exited
runpy.run_path("/usr/bin/getmail", run_name="__main__")
"""


def getmail(case, protocol, port, login, *options, password=PASSWORD):
    """Into the Maildir out/."""
    for folder in ("cur", "new", "tmp"):
        (case.folder / "out" / folder).mkdir(parents=True, exist_ok=True)
    case.file(
        "getmailrc",
        f"""
[retriever]
type = Simple{protocol}SSLRetriever
server = localhost
port = {port}
username = {login}
password = {password}
ca_certs = {case.ca}
[destination]
type = Maildir
path = {case.folder}/out/
[options]
{"".join(options)}
""",
    )
    return ["/usr/bin/python3", "-c", GETMAIL, f"--getmaildir={case.folder}", "--rcfile=getmailrc"]


def mpop(case, starttls, port, login, mechanism, folder, password=PASSWORD):
    (case.folder / folder).mkdir(exist_ok=True)
    keys = f"delivery exchange {case.folder}/{folder}\nuidls_file {case.folder}/uidls"
    configuration = account(case, "mpoprc", starttls, port, login, mechanism, password, keys)
    return ["mpop", "--file", configuration, "relay"]


def msmtp(case, starttls, port, login, mechanism, password=PASSWORD):
    configuration = account(case, "msmtprc", starttls, port, login, mechanism, password, f"from {login}")
    return ["msmtp", "--file", configuration, "--account", "relay", "msmtp@peers.test"]


def account(case, name, starttls, port, login, mechanism, password, keys):
    """The configuration file that mpop and msmtp have in common."""
    return case.file(
        name,
        f"""
defaults
tls on
tls_starttls {starttls}
tls_trust_file {case.ca}
account relay
host localhost
port {port}
user {login}
password {password}
auth {mechanism}
{keys}
""",
    )


def swaks(case, tls, port, login, mechanism, file, password=PASSWORD):
    verify = ["--tls-ca-path", case.ca, "--tls-verify"] if tls else []
    server = ["--server", "localhost", "--port", port, *tls, *verify]
    user = ["--auth", mechanism, "--auth-user", login, "--auth-password", password]
    return ["swaks", *server, *user, "--from", login, "--to", "swaks@peers.test", "--data", f"@{file}"]


def fdm(case, account, login, password=PASSWORD):
    """`account` is what stands between the name and the user, into the Maildir out/."""
    configuration = case.file(
        "fdm.conf",
        f"""
set verify-certificates
set lock-file "{case.folder}/lock"
account "relay" {account[0]} server "localhost" port {account[1]} user "{login}" pass "{password}" {account[2]}
action "maildir" maildir "{case.folder}/out"
match all action "maildir"
""",
    )
    return ["fdm", "-f", configuration]


def s_nail(case, *options):
    tls = [f"tls-ca-file={case.ca}", "tls-ca-no-defaults", "tls-verify=strict"]
    settings = [part for setting in ("v15-compat", *tls) for part in ("-S", setting)]
    return ["s-nail", "-n", *settings, *options]


def script(case, interpreter, name, protocol, mode, port, login, file, password=PASSWORD):
    """One of clients/."""
    return [interpreter, case.world.code / "clients" / name, protocol, mode, port, case.ca, login, password, file]
