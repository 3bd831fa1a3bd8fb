"""What `authrelay entra LOGIN --script` prints, read by a parser of PowerShell: powershell.py BINARY

For each grant and sort of account: the script has no error of syntax, sets each variable before it
is used, calls only commands that it should, asks once, and keeps names of the configuration inside
strings. Texts that try to get out are among them.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import tree_sitter
import tree_sitter_powershell

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
APP = "tenant: contoso.onmicrosoft.com, client_id: 11111111-2222-3333-4444-555555555555"
SECRET = "grant: client_credentials, client_secret: s"
# PowerShell's own, and functions of the script.
KNOWN = {
    "true", "false", "null", "_", "ErrorActionPreference", "Yes", "Mailbox", "Issuer", "Subject", "Identity", "User", "Text",
}  # fmt: skip
COMMANDS = """
    ForEach-Object Where-Object Select-Object Sort-Object Write-Host Write-Warning Read-Host Get-Date Set-StrictMode
    Connect-MgGraph Get-MgContext Get-MgApplication New-MgApplication Update-MgApplication Add-MgApplicationPassword
    Get-MgApplicationFederatedIdentityCredential New-MgApplicationFederatedIdentityCredential
    Get-MgServicePrincipal New-MgServicePrincipal Get-MgUser
    Get-MgServicePrincipalAppRoleAssignment New-MgServicePrincipalAppRoleAssignment
    Get-MgServicePrincipalOauth2PermissionGrant New-MgOauth2PermissionGrant Update-MgOauth2PermissionGrant
    Connect-ExchangeOnline Get-ServicePrincipal New-ServicePrincipal Get-Recipient Set-CASMailbox Add-HVEAppAccess
    Get-MailboxPermission Add-MailboxPermission Get-RecipientPermission Add-RecipientPermission Grant-FullAccess Format-Argument
    Get-ManagementScope Set-ManagementScope New-ManagementScope
    Get-ManagementRoleAssignment New-ManagementRoleAssignment
""".split()

ADMIN = "admin: {bind: '127.0.0.1:0', public_url: 'https://relay.contoso.com', token: sixteen-octets-x}\n"
ACCOUNT = "{login: me@contoso.com, registration: r%s}"


def cases(folder):
    """Name, provider, keys of the registration, accounts, what the script must say, and not say."""
    password = ", password: p"
    one = ACCOUNT % password
    hostile = one + ', {login: "o\'b\u2019$(rm x)`n\", registration: r, password: p, mailbox: shared@contoso.com}'
    certificate = f"grant: client_credentials, certificate: {{certificate: {folder}/app.pem, key: {folder}/app.key}}"
    yield "secret", "microsoft365", f"{APP}, {SECRET}", one, ["IMAP.AccessAsApp"], ["'SMTP.SendAsApp'", "SMTP.Send'"]
    yield "certificate", "microsoft365", f"{APP}, {certificate}", one, ["$certificate = 'MII"], []
    yield "federated", "microsoft365", f"{APP}, grant: client_credentials, federated: {{file: t}}", one, ["'federated'"], []
    yield "client-password", "microsoft365", f"{APP}, grant: client_credentials, client_secret: {{client: password}}", ACCOUNT % "", ["'secret'"], []
    yield "code", "microsoft365", f"{APP}, grant: authorization_code, client_secret: s", one, ["'https://relay.contoso.com/oauth/callback'", "'Web'", "IMAP.AccessAsUser.All"], ["AccessAsApp'"]
    yield "public-code", "microsoft365", f"{APP}, grant: authorization_code", one, ["$publicClient = $true"], []
    yield "device", "microsoft365-us", f"{APP}, grant: device_code", one, ["'USGov'", "$publicClient = $true", "$consent = $true"], []
    yield "password", "microsoft365", f"{APP}, grant: password", ACCOUNT % "", ["$passwordGrant = $true"], []
    yield "managed", "microsoft365", "grant: managed_identity, client_id: 11111111-2222-3333-4444-555555555555", one, ["$kind = 'managed'"], []
    yield "high-volume", "microsoft365-hve", f"{APP}, {SECRET}", one, ["@('Mail.Send')", "$highVolume = $true"], ["IMAP.AccessAsApp"]
    yield "shared", "microsoft365", f"{APP}, grant: device_code", ACCOUNT % f"{password}, mailbox: shared@contoso.com", ["Mailbox = 'shared@contoso.com'"], []
    yield "several", "microsoft365", f"{APP}, {SECRET}", f'{one}, {{login: you@contoso.com, registration: r, password: p, protocols: [smtp]}}, {{login: "*@b.test", registration: r, password: p}}', ["Login = 'you@contoso.com'; Mailbox = 'you@contoso.com'; Protocols = @('smtp')", "$patterns = @('*@b.test')"], []
    yield "senders", "microsoft365", f"{APP}, {SECRET}", ACCOUNT % (password + ', protocols: [smtp], mailbox: {smtp: sender}, smtp: {senders: [a@contoso.com, "*@c.test"]}'), ["Login = 'a@contoso.com'", "'*@c.test'"], []
    yield "hostile", "microsoft365", f"{APP}, {SECRET}", hostile, ["Login = 'o''b\u2019\u2019$(rm x)`n'; Mailbox"], []


def nodes(node, kind):
    if node.type == kind:
        yield node
    for child in node.children:
        yield from nodes(child, kind)


def errors(node):
    if node.type == "ERROR" or node.is_missing:
        yield f"line {node.start_point[0] + 1}: {node.text.decode()[:80]!r}"
    for child in node.children:
        yield from errors(child)


def read(name, script):
    """Everything that holds for each script."""
    tree = PARSER.parse(script.encode())
    found = list(errors(tree.root_node))
    assert not found, f"{name}: {found}"
    called = {node.text.decode() for node in nodes(tree.root_node, "command_name") if node.text.decode() not in ("%", "?")}
    assert called <= set(COMMANDS), f"{name}: {called - set(COMMANDS)}"
    assert sum(node.text == b"Read-Host" for node in nodes(tree.root_node, "command_name")) == 1, name
    assigned = set(KNOWN)
    for node in nodes(tree.root_node, "left_assignment_expression"):
        assigned.add(re.match(r"\$(\w+)", node.text.decode())[1])
    for node in nodes(tree.root_node, "foreach_statement"):
        assigned.add(re.search(r"\(\s*\$(\w+) in", node.text.decode())[1])
    used = {node.text.decode().strip("$@{}") for node in nodes(tree.root_node, "variable")}
    assert used <= assigned, f"{name}: never set: {used - assigned}"
    # What asks comes before what changes.
    ask = script.index("Read-Host")
    assert all(script.index(verb) > ask for verb in ("Connect-MgGraph @", "Connect-ExchangeOnline -", "New-Mg", "Update-Mg")), name


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=app"]
        subprocess.run([*command, "-keyout", folder / "app.key", "-out", folder / "app.pem"], check=True, capture_output=True)
        (folder / "t").write_text("x")
        count = 0
        for name, provider, keys, accounts, has, lacks in cases(folder):
            protocol = "smtp" if provider.endswith("hve") else "imap"
            listener = f"listeners: [{{protocol: {protocol}, bind: '127.0.0.1:0', provider: {provider}}}]\n"
            registration = f"registrations: {{r: {{provider: {provider}, {keys}}}}}\n"
            file = folder / f"{name}.yaml"
            file.write_text(f"{ADMIN}{listener}{registration}accounts: [{accounts}]\n")
            done = subprocess.run([binary, "entra", "me@contoso.com", "--script", "--config", file], capture_output=True, text=True)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
            read(name, done.stdout)
            for text in has:
                assert text in done.stdout, f"{name}: {text} is not in\n{done.stdout[:3000]}"
            head = done.stdout[: done.stdout.index("# ----- What has to be so")]
            for text in lacks:
                assert text not in head, f"{name}: {text} is in\n{head}"
            count += 1
        # The parser does find errors.
        for broken in ("if ($a) { 'x' ", "$a = 'o'b'", "@{ a = 1", "Write-Host \"$(x \""):
            assert list(errors(PARSER.parse(broken.encode()).root_node)), broken
    print(f"{count} scripts read")


if __name__ == "__main__":
    main(*sys.argv[1:])
