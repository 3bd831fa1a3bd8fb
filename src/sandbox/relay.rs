//! The relay in front of the sandbox: its configuration, and what to try with it.

use std::io;
use std::path::{Path, PathBuf};

use super::{CLIENT_ID, CLIENT_SECRET, LOGIN, MAILBOX, PASSWORD, Sandbox, TENANT};

/// Ports of the relay's listeners on 127.0.0.1; the system chooses for 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// IMAP.
    pub imap: u16,
    /// POP3.
    pub pop3: u16,
    /// SMTP.
    pub smtp: u16,
}

impl Sandbox {
    /// Writes `ca.pem` and a `proxy.yaml` into `directory`; returns the latter's path.
    pub fn proxy_yaml(&self, directory: &Path, ports: Ports) -> io::Result<PathBuf> {
        let path = directory.join("proxy.yaml");
        std::fs::write(directory.join("ca.pem"), self.ca_pem())?;
        std::fs::write(&path, self.yaml(ports))?;
        Ok(path)
    }

    /// The text of [`Self::proxy_yaml`], for tests that change it; needs `ca.pem` beside it.
    /// Further top-level sections, such as `admin`, can be appended.
    pub fn yaml(&self, ports: Ports) -> String {
        let Ports { imap, pop3, smtp } = ports;
        let (imap_up, pop3_up, smtp_up) =
            (self.imap().port(), self.pop3().port(), self.smtp().port());
        let authority = self.authority();
        format!(
            r#"state:
  directory: ./state

listeners:
  - {{name: imap, protocol: imap, bind: "127.0.0.1:{imap}", provider: microsoft365}}
  - {{name: pop3, protocol: pop3, bind: "127.0.0.1:{pop3}", provider: microsoft365}}
  - {{name: smtp, protocol: smtp, bind: "127.0.0.1:{smtp}", provider: microsoft365}}

providers:
  microsoft365:
    imap: {{host: localhost, port: {imap_up}, tls: implicit}}
    pop3: {{host: localhost, port: {pop3_up}, tls: implicit}}
    smtp: {{host: localhost, port: {smtp_up}, tls: starttls}}
    authorize_url: "{authority}/{{tenant}}/oauth2/v2.0/authorize"
    device_url: "{authority}/{{tenant}}/oauth2/v2.0/devicecode"
    token_url: "{authority}/{{tenant}}/oauth2/v2.0/token"
    ca: ca.pem

registrations:
  sandbox:
    provider: microsoft365
    tenant: {TENANT}
    client_id: {CLIENT_ID}
    grant: client_credentials
    client_secret: "{CLIENT_SECRET}"

accounts:
  - login: {LOGIN}
    registration: sandbox
    mailbox: {MAILBOX}
    password: "{PASSWORD}"
"#
        )
    }

    /// What `authrelay sandbox` prints when it serves on `ports`.
    pub fn ready(&self, ports: Ports) -> String {
        let Ports { imap, pop3, smtp } = ports;
        let fault = match self.fault() {
            Some(fault) => format!("fault     {fault}: {}\n", fault.describe()),
            None => String::new(),
        };
        format!(
            r#"ready
login     {LOGIN}
password  {PASSWORD}
imap      127.0.0.1:{imap}
pop3      127.0.0.1:{pop3}
smtp      127.0.0.1:{smtp}
{fault}
Read the first message by IMAP, then by POP3:

  curl --user '{LOGIN}:{PASSWORD}' 'imap://127.0.0.1:{imap}/INBOX;MAILINDEX=1'
  curl --user '{LOGIN}:{PASSWORD}' 'pop3://127.0.0.1:{pop3}/1'

Send one by SMTP, then read it:

  printf 'From: {LOGIN}\r\nTo: {MAILBOX}\r\nSubject: hello\r\n\r\nIt works.\r\n' |
    curl --user '{LOGIN}:{PASSWORD}' --url 'smtp://127.0.0.1:{smtp}' \
      --mail-from '{LOGIN}' --mail-rcpt '{MAILBOX}' --upload-file -
  curl --user '{LOGIN}:{PASSWORD}' 'imap://127.0.0.1:{imap}/INBOX;MAILINDEX=4'

See what applications see when things go wrong:

  authrelay sandbox --fault list
  authrelay sandbox --fault auth-refused

Ctrl-C ends it; nothing is kept.
"#
        )
    }
}
