//! The emulated Microsoft 365, seen by clients that nobody here wrote (Python's standard library
//! and curl), and each of its faults, seen raw.

use std::io;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use authrelay::sandbox::{
    CLIENT_ID, CLIENT_SECRET, Fault, LOGIN, MAILBOX, Options, PASSWORD, Ports, Sandbox,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PATIENCE: Duration = Duration::from_secs(20);

async fn sandbox() -> Sandbox {
    Sandbox::start(Options::default()).await.unwrap()
}

/// A raw TLS client.
struct Raw {
    tls: TlsStream<TcpStream>,
    input: String,
}

impl Raw {
    async fn open(sandbox: &Sandbox, port: u16) -> io::Result<Self> {
        Self::upgrade(sandbox, TcpStream::connect(("127.0.0.1", port)).await?).await
    }

    async fn upgrade(sandbox: &Sandbox, tcp: TcpStream) -> io::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let tls = timeout(PATIENCE, connector.connect(name, tcp)).await??;
        Ok(Self {
            tls,
            input: String::new(),
        })
    }

    async fn send(&mut self, text: &str) {
        self.tls.write_all(text.as_bytes()).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    /// Everything up to and with `end`, or up to the end of the connection.
    async fn until(&mut self, end: &str) -> String {
        let mut buffer = [0; 4096];
        while !self.input.contains(end) {
            match timeout(PATIENCE, self.tls.read(&mut buffer)).await.unwrap() {
                Ok(0) | Err(_) => return std::mem::take(&mut self.input) + "<end>",
                Ok(length) => self
                    .input
                    .push_str(&String::from_utf8_lossy(&buffer[..length])),
            }
        }
        let at = self.input.find(end).unwrap() + end.len();
        let rest = self.input.split_off(at);
        std::mem::replace(&mut self.input, rest)
    }

    async fn ask(&mut self, text: &str, end: &str) -> String {
        self.send(text).await;
        self.until(end).await
    }
}

fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

/// An IMAP session up to the answer to AUTHENTICATE.
async fn imap(sandbox: &Sandbox) -> (Raw, String) {
    let mut raw = Raw::open(sandbox, sandbox.imap().port()).await.unwrap();
    raw.until("\r\n").await;
    let payload = xoauth2(MAILBOX, &sandbox.issue_token().unwrap());
    let answer = raw
        .ask(&format!("a AUTHENTICATE XOAUTH2 {payload}\r\n"), "\r\n")
        .await;
    (raw, answer)
}

async fn pop3(sandbox: &Sandbox) -> (Raw, String) {
    let mut raw = Raw::open(sandbox, sandbox.pop3().port()).await.unwrap();
    raw.until("\r\n").await;
    assert_eq!(raw.ask("AUTH XOAUTH2\r\n", "\r\n").await, "+ \r\n");
    let payload = xoauth2(MAILBOX, &sandbox.issue_token().unwrap());
    let answer = raw.ask(&format!("{payload}\r\n"), "\r\n").await;
    (raw, answer)
}

async fn smtp(sandbox: &Sandbox) -> (Raw, String) {
    let mut raw = Raw::open(sandbox, sandbox.smtp_implicit().port())
        .await
        .unwrap();
    raw.until("\r\n").await;
    raw.ask("EHLO test\r\n", "250 SMTPUTF8\r\n").await;
    assert_eq!(raw.ask("AUTH XOAUTH2\r\n", "\r\n").await, "334 \r\n");
    let payload = xoauth2(MAILBOX, &sandbox.issue_token().unwrap());
    let answer = raw.ask(&format!("{payload}\r\n"), "\r\n").await;
    (raw, answer)
}

/// An HTTP exchange with the token endpoint: status line with headers, and body.
async fn token(sandbox: &Sandbox, changes: &[(&str, &str)]) -> (String, String) {
    let mut form = vec![
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("grant_type", "client_credentials"),
        ("scope", "https://outlook.office365.com/.default"),
    ];
    for &(key, value) in changes {
        form.retain(|&(known, _)| known != key);
        form.push((key, value));
    }
    let url = url::Url::parse(&sandbox.token_url()).unwrap();
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        url.path(),
        body.len()
    );
    let mut tcp = TcpStream::connect(("127.0.0.1", url.port().unwrap()))
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = tcp.write_all(request.as_bytes()).await;
    let _ = timeout(Duration::from_millis(1500), tcp.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Runs a program with the sandbox's certificate and ports in its environment.
async fn program(sandbox: &Sandbox, name: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, sandbox.ca_pem()).unwrap();
    let command = tokio::process::Command::new(name)
        .args(arguments)
        .env("CA", &ca)
        .env("CURL_CA_BUNDLE", &ca)
        .env("USER_", MAILBOX)
        .env("TOKEN", sandbox.issue_token().unwrap())
        .env("IMAP", sandbox.imap().port().to_string())
        .env("POP3", sandbox.pop3().port().to_string())
        .env("SMTP", sandbox.smtp().port().to_string())
        .stdin(Stdio::null())
        .output();
    let output = timeout(PATIENCE, command).await.unwrap().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn python_uses_all_three() {
    let sandbox = sandbox().await;
    let script = include_str!("sandbox.py");
    program(&sandbox, "python3", &["-c", script]).await;
    let messages = sandbox.messages(MAILBOX);
    assert!(
        messages
            .iter()
            .any(|message| message.ends_with(b"\r\n.\r\n..end\r\n"))
    );
    assert_eq!(sandbox.seen().logins.total(), 3);
    assert!(
        !sandbox
            .seen()
            .imap
            .iter()
            .any(|line| line.contains("Bearer"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_by_imap() {
    let sandbox = sandbox().await;
    let token = sandbox.issue_token().unwrap();
    let imap = format!(
        "imaps://localhost:{}/INBOX;MAILINDEX=1",
        sandbox.imap().port()
    );
    let with = [
        "-sS",
        "--ipv4",
        "--user",
        MAILBOX,
        "--oauth2-bearer",
        &token,
    ];
    let output = program(&sandbox, "curl", &[&with[..], &[&imap]].concat()).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("Printer on floor 3"));
}

#[tokio::test]
async fn a_large_message_goes_in_and_out_by_imap_and_smtp() {
    let sandbox = sandbox().await;
    let body = "0123456789abcdef\r\n".repeat(300_000);
    let (mut raw, _) = imap(&sandbox).await;
    let append = format!("b APPEND INBOX (\\Seen) {{{}+}}\r\n{body}\r\n", body.len());
    assert!(
        raw.ask(&append, "APPEND completed.")
            .await
            .contains("[APPENDUID 14 4]")
    );
    raw.ask("c SELECT inbox\r\n", "c OK").await;
    let partial = raw
        .ask("d FETCH 4 (RFC822.SIZE BODY[]<18.18>)\r\n", "d OK")
        .await;
    assert!(
        partial.contains("BODY[]<18> {18}\r\n0123456789abcdef\r\n)"),
        "{partial}"
    );

    let (mut raw, answer) = smtp(&sandbox).await;
    assert_eq!(answer, "235 2.7.0 Authentication successful\r\n");
    let opening = format!("MAIL FROM:<{LOGIN}>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n");
    raw.ask(&opening, "354 ").await;
    let done = raw
        .ask(&format!("..\r\n{body}.\r\nNOOP\r\n"), "250 2.0.0 OK\r\n")
        .await;
    assert!(done.contains("250 2.0.0 OK <"), "{done}");
    let messages = sandbox.messages(MAILBOX);
    assert_eq!(messages[4], format!(".\r\n{body}"));
}

#[tokio::test]
async fn a_message_cut_short_is_not_delivered() {
    let sandbox = sandbox().await;
    let (mut raw, _) = smtp(&sandbox).await;
    raw.ask(
        "MAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n",
        "354 ",
    )
    .await;
    raw.send("half a message\r\n.\r").await;
    drop(raw);
    sandbox.wait_for(|seen| seen.open.smtp == 0).await;
    assert_eq!(sandbox.messages(MAILBOX).len(), 3);
}

#[tokio::test]
async fn idle_tells_of_new_mail_and_ends_with_the_token() {
    let sandbox = sandbox().await;
    let (mut raw, _) = imap(&sandbox).await;
    raw.ask("b SELECT INBOX\r\n", "b OK").await;
    raw.ask("c IDLE\r\n", "+ IDLE").await;
    sandbox.deliver(MAILBOX, "Subject: new\r\n\r\n");
    raw.until("* 4 EXISTS\r\n").await;
    sandbox.set_fault(Some(Fault::ExpiredSession));
    let end = raw.until("never").await;
    assert!(
        end.contains("* BYE Session invalidated - AccessTokenExpired\r\n<end>"),
        "{end}"
    );
}

#[tokio::test]
async fn tokens_are_checked() {
    let sandbox = sandbox().await;
    let mut raw = Raw::open(&sandbox, sandbox.imap().port()).await.unwrap();
    raw.until("\r\n").await;
    let good = sandbox.issue_token().unwrap();
    for (user, token) in [(MAILBOX, "made-up"), ("nobody@contoso.test", &good)] {
        let line = format!("a AUTHENTICATE XOAUTH2 {}\r\n", xoauth2(user, token));
        assert_eq!(
            raw.ask(&line, "\r\n").await,
            "a NO AUTHENTICATE failed.\r\n"
        );
    }
    sandbox.set_fault(Some(Fault::TokenStale));
    let line = format!("a AUTHENTICATE XOAUTH2 {}\r\n", xoauth2(MAILBOX, &good));
    assert_eq!(
        raw.ask(&line, "\r\n").await,
        "a NO AUTHENTICATE failed.\r\n"
    );
    assert_eq!(imap(&sandbox).await.1, "a OK AUTHENTICATE completed.\r\n");
    sandbox.revoke_tokens();
    assert_eq!(
        raw.ask(&line, "\r\n").await,
        "a NO AUTHENTICATE failed.\r\n"
    );
    assert_eq!(sandbox.seen().auth_attempts.imap, 5);
}

#[tokio::test]
async fn smtp_and_pop3_refuse_what_exchange_refuses() {
    let sandbox = sandbox().await;
    let mut raw = Raw::open(&sandbox, sandbox.smtp_implicit().port())
        .await
        .unwrap();
    raw.until("\r\n").await;
    raw.ask("EHLO x\r\n", "SMTPUTF8\r\n").await;
    assert!(
        raw.ask("MAIL FROM:<a@b>\r\n", "\r\n")
            .await
            .starts_with("530 5.7.57")
    );
    let line = format!(
        "AUTH XOAUTH2 {}\r\n",
        xoauth2(MAILBOX, &sandbox.issue_token().unwrap())
    );
    assert_eq!(raw.ask(&line, "\r\n").await, "500 5.5.2 Line too long\r\n");
    assert!(
        raw.ask("WIZ\r\n", "\r\n")
            .await
            .starts_with("500 5.3.3 Unrecognized command 'WIZ' [")
    );
    let mut raw = Raw::open(&sandbox, sandbox.pop3().port()).await.unwrap();
    raw.until("\r\n").await;
    let end = raw.ask("AUTH XOAUTH2 dXNlcg==\r\n", "never").await;
    assert_eq!(
        end,
        "-ERR Protocol error. Connection is closed. 10\r\n<end>"
    );
    // Before TLS there is no AUTH.
    let mut tcp = TcpStream::connect(sandbox.smtp()).await.unwrap();
    tcp.write_all(b"EHLO x\r\nAUTH XOAUTH2\r\nQUIT\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("250-STARTTLS\r\n") && !answer.contains("250-AUTH"),
        "{answer}"
    );
    assert!(
        answer.contains("530 5.7.0 Must issue a STARTTLS"),
        "{answer}"
    );
}

#[tokio::test]
async fn faults_of_the_token_endpoint() {
    let sandbox = sandbox().await;
    let said = [
        (Fault::TokenUnreachable, "", ""),
        (Fault::TokenSlow, "", ""),
        (Fault::Token429, "retry-after: 60", "Too Many Requests"),
        (Fault::Token500, "http/1.1 500", "<html>"),
        (Fault::TokenHtml, "http/1.1 200", "<html>"),
        (Fault::TokenGarbage, "http/1.1 200", "token_type"),
        (Fault::TokenTruncated, "http/1.1 200", "\"expires_in\":35"),
        (
            Fault::TokenRedirect,
            "location: https://login.fabrikam.test/",
            "",
        ),
        (Fault::SecretWrong, "http/1.1 401", "AADSTS7000215"),
        (Fault::SecretExpired, "http/1.1 401", "AADSTS7000222"),
        (Fault::AppUnknown, "http/1.1 400", "AADSTS700016"),
        (Fault::ConsentMissing, "http/1.1 400", "AADSTS65001"),
        (Fault::MfaRequired, "http/1.1 400", "AADSTS50076"),
        (Fault::ConditionalAccess, "http/1.1 400", "AADSTS53003"),
        (Fault::RefreshRevoked, "http/1.1 400", "AADSTS50173"),
        (Fault::TokenThrottled, "http/1.1 400", "\"invalid_grant\""),
        (
            Fault::TokenTransient,
            "http/1.1 503",
            "temporarily_unavailable",
        ),
        (
            Fault::TokenExpiresString,
            "http/1.1 200",
            "\"expires_in\":\"3599\"",
        ),
        (Fault::TokenExpiresZero, "http/1.1 200", "\"expires_in\":0"),
        (
            Fault::TokenExpiresHuge,
            "http/1.1 200",
            "\"expires_in\":18446744073709551615",
        ),
        (Fault::TokenOpaque, "http/1.1 200", "\"access_token\":\"EwB"),
    ];
    for (fault, head, body) in said {
        sandbox.set_fault(Some(fault));
        let answer = token(&sandbox, &[]).await;
        assert!(
            answer.0.contains(head) && answer.1.contains(body),
            "{fault}: {answer:?}"
        );
        let silent = matches!(fault, Fault::TokenUnreachable | Fault::TokenSlow);
        assert_eq!(answer.0.is_empty(), silent, "{fault}");
    }
    sandbox.set_fault(Some(Fault::TokenExpiresMissing));
    assert!(!token(&sandbox, &[]).await.1.contains("expires_in"));
    sandbox.set_fault(None);
    let wrong = token(&sandbox, &[("client_secret", "wrong")]).await.1;
    assert!(wrong.contains("AADSTS7000215"), "{wrong}");
    let right: Value = serde_json::from_str(&token(&sandbox, &[]).await.1).unwrap();
    let length = right["access_token"].as_str().unwrap().len();
    assert!((1900..2200).contains(&length), "{length}");
}

#[tokio::test]
async fn tokens_with_spoiled_claims_are_refused_upstream() {
    let sandbox = sandbox().await;
    for fault in [
        Fault::TokenNoRoles,
        Fault::TokenAudience,
        Fault::TokenTenant,
    ] {
        sandbox.set_fault(Some(fault));
        let answer: Value = serde_json::from_str(&token(&sandbox, &[]).await.1).unwrap();
        let payload = xoauth2(MAILBOX, answer["access_token"].as_str().unwrap());
        let mut raw = Raw::open(&sandbox, sandbox.imap().port()).await.unwrap();
        raw.until("\r\n").await;
        let refusal = raw
            .ask(&format!("a AUTHENTICATE XOAUTH2 {payload}\r\n"), "\r\n")
            .await;
        assert_eq!(refusal, "a NO AUTHENTICATE failed.\r\n", "{fault}");
    }
}

#[tokio::test]
async fn passwords_refresh_tokens_and_device_codes() {
    let sandbox = sandbox().await;
    let scope = (
        "scope",
        "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
    );
    let login = [
        scope,
        ("grant_type", "password"),
        ("username", LOGIN),
        ("password", PASSWORD),
    ];
    let first: Value = serde_json::from_str(&token(&sandbox, &login).await.1).unwrap();
    let refresh = first["refresh_token"].as_str().unwrap();
    let again = [
        scope,
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh),
    ];
    let second: Value = serde_json::from_str(&token(&sandbox, &again).await.1).unwrap();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
}

#[tokio::test]
async fn faults_of_connections() {
    let sandbox = sandbox().await;
    for fault in [
        Fault::UpstreamUnreachable,
        Fault::TlsSelfSigned,
        Fault::TlsWrongName,
        Fault::TlsExpired,
    ] {
        sandbox.set_fault(Some(fault));
        assert!(
            Raw::open(&sandbox, sandbox.imap().port()).await.is_err(),
            "{fault}"
        );
    }
    sandbox.set_fault(Some(Fault::UpstreamSilent));
    let mut tcp = TcpStream::connect(sandbox.smtp()).await.unwrap();
    sandbox.wait_for(|seen| seen.open.smtp == 1).await;
    let silent = timeout(Duration::from_millis(200), tcp.read_u8()).await;
    assert!(silent.is_err());
    for (fault, greeting) in [
        (Fault::UpstreamBusyGreeting, ["* BYE", "-ERR", "421 4.3.2"]),
        (Fault::UpstreamGarbage, ["SSH-", "SSH-", "SSH-"]),
        (Fault::Preauth, ["* PREAUTH", "+OK", "220 "]),
        (
            Fault::Frontend2026,
            ["* OK Microsoft Exchange IMAP4", "+OK", "220 "],
        ),
        (Fault::Dribble, ["* OK", "+OK", "220 "]),
    ] {
        sandbox.set_fault(Some(fault));
        let ports = [sandbox.imap(), sandbox.pop3(), sandbox.smtp_implicit()];
        for (port, greeting) in ports.iter().zip(greeting) {
            let mut raw = Raw::open(&sandbox, port.port()).await.unwrap();
            let line = raw.until("\r\n").await;
            assert!(line.starts_with(greeting), "{fault}: {line}");
        }
    }
    sandbox.set_fault(Some(Fault::UpstreamEndless));
    let mut raw = Raw::open(&sandbox, sandbox.imap().port()).await.unwrap();
    let mut taken = vec![0; 100_000];
    raw.tls.read_exact(&mut taken).await.unwrap();
    assert!(!taken.contains(&b'\n'));
}

#[tokio::test]
async fn faults_of_starttls() {
    let sandbox = sandbox().await;
    for (fault, answers) in [
        (None, ["a OK Begin TLS", "+OK Begin TLS", "220 2.0.0"]),
        (Some(Fault::StarttlsMissing), ["a BAD", "-ERR", "500 5.3.3"]),
        (Some(Fault::StarttlsRefused), ["a NO", "-ERR", "454 4.7.0"]),
        (
            Some(Fault::StarttlsInjected),
            [
                "a OK Begin TLS negotiation now.\r\n* CAP",
                "+OK Begin TLS negotiation.\r\n+OK",
                "220 2.0.0 SMTP server ready\r\n235",
            ],
        ),
    ] {
        sandbox.set_fault(fault);
        let commands = [
            (sandbox.imap_starttls(), "a STARTTLS\r\n"),
            (sandbox.pop3_starttls(), "STLS\r\n"),
            (sandbox.smtp(), "STARTTLS\r\n"),
        ];
        for ((address, command), answer) in commands.into_iter().zip(answers) {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            let mut buffer = [0; 1024];
            let greeting = tcp.read(&mut buffer).await.unwrap();
            assert!(greeting > 0, "{fault:?}: no greeting");
            tcp.write_all(command.as_bytes()).await.unwrap();
            let length = tcp.read(&mut buffer).await.unwrap();
            let said = String::from_utf8_lossy(&buffer[..length]);
            assert!(said.starts_with(answer), "{fault:?}: {said}");
        }
    }
}

#[tokio::test]
async fn faults_of_login() {
    let sandbox = sandbox().await;
    for (fault, says) in [
        (
            Fault::AuthRefused,
            [
                "a NO AUTHENTICATE failed.",
                "-ERR Authentication failure:",
                "535 5.7.3 ",
            ],
        ),
        (Fault::AuthChallenge, ["+ eyJz", "+ eyJz", "334 eyJz"]),
        (
            Fault::AuthThrottled,
            ["a NO Request is throttled.", "-ERR [SYS/TEMP]", "451 4.7.0"],
        ),
        (
            Fault::AuthBye,
            ["* BYE", "-ERR Connection is closed", "421 4.3.2"],
        ),
        (Fault::AuthDrop, ["<end>", "<end>", "<end>"]),
        (
            Fault::SmtpDisabled,
            [
                "a OK",
                "+OK",
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit",
            ],
        ),
        (Fault::SecurityDefaults, ["a OK", "+OK", "535 5.7.139"]),
    ] {
        sandbox.set_fault(Some(fault));
        let answers = [
            imap(&sandbox).await,
            pop3(&sandbox).await,
            smtp(&sandbox).await,
        ];
        for ((mut raw, answer), says) in answers.into_iter().zip(says) {
            assert!(answer.starts_with(says), "{fault}: {answer}");
            if fault == Fault::AuthChallenge {
                let last = raw.ask("\r\n", "\r\n").await;
                assert!(
                    last.starts_with("a NO") || last.starts_with("-ERR") || last.starts_with("535")
                );
            }
        }
    }
    sandbox.set_fault(Some(Fault::AuthHangs));
    assert!(
        timeout(Duration::from_millis(300), imap(&sandbox))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn faults_of_sessions() {
    let sandbox = sandbox().await;
    sandbox.set_fault(Some(Fault::NotConnected));
    let said = imap(&sandbox)
        .await
        .0
        .ask("b SELECT INBOX\r\n", "never")
        .await;
    assert_eq!(
        said,
        "b BAD User is authenticated but not connected.\r\n* BYE Connection closed. 14\r\n<end>"
    );
    sandbox.set_fault(Some(Fault::LostIdle));
    assert_eq!(
        imap(&sandbox).await.0.ask("b NOOP\r\n", "never").await,
        "b OK NOOP completed.\r\n<end>"
    );
    assert_eq!(
        smtp(&sandbox).await.0.ask("NOOP\r\n", "never").await,
        "250 2.0.0 OK\r\n<end>"
    );
    sandbox.set_fault(None);
    let mut raw = imap(&sandbox).await.0;
    raw.ask("b SELECT INBOX\r\n", "b OK").await;
    sandbox.set_fault(Some(Fault::LostLiteral));
    let said = raw.ask("c FETCH 1 BODY.PEEK[]\r\n", "never").await;
    assert!(
        said.contains("* 1 FETCH (BODY[] {") && !said.contains("c OK"),
        "{said}"
    );
    let said = pop3(&sandbox).await.0.ask("RETR 1\r\n", "never").await;
    assert!(
        said.starts_with("+OK") && !said.contains("\r\n.\r\n"),
        "{said}"
    );
    for (fault, says) in [
        (Fault::SendAsDenied, "554 5.2.252"),
        (Fault::SmtpQuota, "554 5.2.0"),
        (Fault::SmtpConcurrency, "432 4.3.2"),
        (Fault::RecipientRefused, "550 5.1.10"),
    ] {
        sandbox.set_fault(Some(fault));
        let mut raw = smtp(&sandbox).await.0;
        raw.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n")
            .await;
        let said = if raw.until("\r\n").await.starts_with("250") {
            raw.ask("x\r\n.\r\n", says).await
        } else {
            String::new()
        };
        assert!(said.ends_with(says), "{fault}: {said}");
    }
    sandbox.set_fault(None);
    let (mut raw, _) = imap(&sandbox).await;
    sandbox.disconnect();
    assert_eq!(raw.until("never").await, "<end>");
    assert_eq!(imap(&sandbox).await.1, "a OK AUTHENTICATE completed.\r\n");
}

#[tokio::test]
async fn a_mailbox_sends_as_itself_alone() {
    let sandbox = sandbox().await;
    for (from, header, says) in [
        (
            MAILBOX,
            format!("From: X\r\n <{MAILBOX}>\r\n"),
            "250 2.0.0 OK <",
        ),
        (MAILBOX, String::new(), "250 2.0.0 OK <"),
        ("", String::new(), "250 2.0.0 OK <"),
        ("a@b.test", String::new(), "554 5.2.252 SendAsDenied; "),
        (
            MAILBOX,
            "From: a@b.test\r\n".to_owned(),
            "554 5.2.252 SendAsDenied; ",
        ),
    ] {
        let (mut raw, _) = smtp(&sandbox).await;
        let data = format!("MAIL FROM:<{from}>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n");
        raw.ask(&data, "<CRLF>.<CRLF>\r\n").await;
        let said = raw.ask(&format!("{header}\r\nx\r\n.\r\n"), "\r\n").await;
        assert!(said.starts_with(says), "{from} {header}: {said}");
    }
}

#[tokio::test]
async fn three_sessions_of_a_mailbox_may_send() {
    let sandbox = sandbox().await;
    let mut open = Vec::new();
    for number in 1..=4 {
        let (mut raw, _) = smtp(&sandbox).await;
        raw.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n")
            .await;
        raw.until("250 2.1.5 Recipient OK\r\n").await;
        let said = raw.until("\r\n").await;
        assert_eq!(said.starts_with("354"), number < 4, "{said}");
        open.push(raw);
    }
    assert_eq!(sandbox.seen().peak.smtp, 4);
}

#[tokio::test]
async fn the_relay_s_configuration_names_the_ports() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let ports = Ports {
        imap: 1143,
        pop3: 1110,
        smtp: 1587,
    };
    let path = sandbox.proxy_yaml(directory.path(), ports).unwrap();
    let yaml: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        yaml["providers"]["microsoft365"]["imap"]["port"],
        sandbox.imap().port()
    );
    let url = yaml["providers"]["microsoft365"]["token_url"]
        .as_str()
        .unwrap();
    let tenant = yaml["registrations"]["sandbox"]["tenant"].as_str().unwrap();
    assert_eq!(url.replace("{tenant}", tenant), sandbox.token_url());
    assert!(directory.path().join("ca.pem").exists());
    assert!(sandbox.ready(ports).starts_with("ready\n"));
    assert!(
        sandbox
            .ready(ports)
            .contains("imap://127.0.0.1:1143/INBOX;MAILINDEX=1")
    );
}

#[tokio::test]
async fn stopping_ends_every_connection() {
    let sandbox = sandbox().await;
    let (mut raw, _) = imap(&sandbox).await;
    timeout(PATIENCE, sandbox.stop()).await.unwrap();
    assert_eq!(raw.until("never").await, "<end>");
}

#[test]
fn fault_names_round_trip() {
    for fault in Fault::ALL {
        assert_eq!(fault.to_string().parse(), Ok(*fault));
        assert!(!fault.describe().is_empty());
    }
    assert!("no-such-fault".parse::<Fault>().is_err());
}

#[test]
fn an_unknown_fault_is_answered_by_one_hint() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["sandbox", "--fault", "no-such-fault"])
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert_eq!(text.matches("--fault list").count(), 1, "{text}");
    assert_eq!(text.matches("no-such-fault").count(), 1, "{text}");
}
