//! `authrelay authorize`, as a person runs it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use authrelay::sandbox::{Fault, LOGIN};
use authrelay::wire::Protocol::Imap;

use crate::{assert_logs_in, consent_at, consenting, free_port, registration};

struct Authorize {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Authorize {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_authrelay"))
            .arg("authorize")
            .args(arguments)
            .arg("--config")
            .arg(directory.join("proxy.yaml"))
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The first line that is an address.
    fn url(&mut self) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if line.starts_with("http") {
                return line.trim().to_owned();
            }
            line.clear();
        }
        panic!("no address: {}", self.complaints());
    }

    fn complaints(&mut self) -> String {
        let mut error = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut error).unwrap();
        error
    }

    /// Its exit code, the rest of what it printed, and its complaints.
    fn end(mut self) -> (Option<i32>, String, String) {
        drop(self.child.stdin.take());
        let mut output = String::new();
        self.output.read_to_string(&mut output).unwrap();
        let error = self.complaints();
        (self.child.wait().unwrap().code(), output, error)
    }
}

async fn get(url: &str) -> (u16, String) {
    let http = crate::http();
    let page = http.get(url).send().await.unwrap();
    (page.status().as_u16(), page.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_comes_back_to_the_command_itself() {
    let relay = registration("grant: authorization_code").start().await;
    let mut authorize = Authorize::start(relay.directory(), &[LOGIN]);
    let back = consent_at(&authorize.url()).await;
    assert!(back.starts_with("http://localhost:"), "{back}");
    let (status, page) = get(&back).await;
    assert_eq!(status, 200, "{page}");
    let (code, output, error) = authorize.end();
    assert_eq!(code, Some(0), "{error}");
    assert!(
        output.contains(
            "authorized: tickets@contoso.test opens tickets@contoso.test, as tickets@contoso.test"
        ),
        "{output}"
    );
    // The relay that runs beside it sees what was stored.
    assert_logs_in(&relay, Imap).await;
}

/// An administrators' listener that commands and browsers find at `port`.
fn admin_at(port: u16) -> String {
    format!(
        "admin: {{bind: \"127.0.0.1:{port}\", public_url: \"http://localhost:{port}\", token: {{file: token}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_relay_takes_the_browser_back() {
    let port = free_port();
    let relay = registration("grant: authorization_code")
        .append(&admin_at(port))
        .start()
        .await;
    let mut authorize = Authorize::start(relay.directory(), &[LOGIN]);
    let back = consent_at(&authorize.url()).await;
    assert_eq!(get(&back).await.0, 200);
    let (code, output, error) = authorize.end();
    assert_eq!(code, Some(0), "{error}");
    assert!(
        output.contains("authorized: tickets@contoso.test"),
        "{output}"
    );
    assert_logs_in(&relay, Imap).await;
}

/// The mailbox is that of the first protocol that the account allows, by whichever way it consents.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_relay_opens_the_mailbox_of_an_allowed_protocol() {
    let port = free_port();
    let relay = registration("grant: authorization_code")
        .replace(
            "    mailbox: tickets@contoso.test\n",
            "    mailbox: {imap: archive@contoso.test}\n    protocols: [pop3, smtp]\n",
        )
        .append(&admin_at(port))
        .start()
        .await;
    let mut authorize = Authorize::start(relay.directory(), &[LOGIN]);
    let back = consent_at(&authorize.url()).await;
    assert_eq!(get(&back).await.0, 200);
    let (code, output, error) = authorize.end();
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let opened = "authorized: tickets@contoso.test opens tickets@contoso.test, as";
    assert!(output.contains(opened), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_pasted() {
    let relay = consenting().start().await;
    let directory = relay.directory().to_owned();
    let mut authorize = Authorize::start(&directory, &[LOGIN, "--method", "paste"]);
    let back = consent_at(&authorize.url()).await;
    assert!(
        back.starts_with("http://localhost:8025/oauth/callback?"),
        "{back}"
    );
    let mut stdin = authorize.child.stdin.take().unwrap();
    writeln!(stdin, "{back}").unwrap();
    let (code, output, error) = authorize.end();
    assert_eq!(code, Some(0), "{error}");
    assert!(output.contains("authorized: "), "{output}");
    assert_logs_in(&relay, Imap).await;

    let mut authorize = Authorize::start(&directory, &[LOGIN, "--method", "paste"]);
    authorize.url();
    let mut stdin = authorize.child.stdin.take().unwrap();
    writeln!(stdin, "https://example.com/nothing").unwrap();
    let (code, _, error) = authorize.end();
    assert_eq!(code, Some(1));
    assert!(error.contains("that is not the address"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_shown_its_code() {
    let relay = registration("grant: device_code").start().await;
    let authorize = Authorize::start(relay.directory(), &[LOGIN]);
    let (code, output, error) = authorize.end();
    assert_eq!(code, Some(0), "{error}");
    assert!(
        output.contains("https://microsoft.com/devicelogin") && output.contains("SANDBOX42"),
        "{output}"
    );
    assert!(output.contains("authorized: "), "{output}");
    assert_logs_in(&relay, Imap).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_authorized_is_said() {
    let relay = crate::stage::Relay::start().await;
    for (arguments, code, expected) in [
        (
            &["nobody@contoso.test"][..],
            64,
            "no account has the login nobody@contoso.test",
        ),
        (&[LOGIN][..], 64, "needs no consent"),
    ] {
        let (got, _, error) = Authorize::start(relay.directory(), arguments).end();
        assert_eq!(got, Some(code), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let relay = registration("grant: authorization_code").start().await;
    let (code, _, error) =
        Authorize::start(relay.directory(), &[LOGIN, "--method", "device"]).end();
    assert_eq!(code, Some(64), "{error}");
}

/// d32: whoever waits in a terminal hears that it was declined, and why.
#[tokio::test(flavor = "multi_thread")]
async fn d32_a_command_beside_a_relay_hears_how_it_ended() {
    let port = free_port();
    let relay = registration("grant: authorization_code")
        .append(&admin_at(port))
        .start()
        .await;
    let began = std::time::Instant::now();
    for fault in [Fault::ConsentMissing, Fault::SecretWrong] {
        relay.sandbox.set_fault(Some(fault));
        let mut authorize = Authorize::start(relay.directory(), &[LOGIN]);
        let back = consent_at(&authorize.url()).await;
        assert_eq!(get(&back).await.0, 400);
        let (code, _, error) = authorize.end();
        assert_eq!(code, Some(1), "{error}");
        let expected = match fault {
            Fault::ConsentMissing => "the person declined",
            _ => "AADSTS7000215",
        };
        assert!(error.contains(expected), "{error}");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(60));
    // And it is no different for the next one.
    relay.sandbox.set_fault(None);
    let mut authorize = Authorize::start(relay.directory(), &[LOGIN]);
    let back = consent_at(&authorize.url()).await;
    assert_eq!(get(&back).await.0, 200);
    assert_eq!(authorize.end().0, Some(0));
}

/// d38: only the person who was sent away can end it.
#[tokio::test(flavor = "multi_thread")]
async fn d38_a_stranger_does_not_end_a_command_that_waits() {
    let relay = registration("grant: authorization_code").start().await;
    let mut authorize = Authorize::start(relay.directory(), &[LOGIN]);
    let back = consent_at(&authorize.url()).await;
    let (address, query) = back.split_once('?').unwrap();
    let forged = query.replace("state=", "state=x");
    for query in [
        "state=x",
        "",
        "error=access_denied",
        "code=1&state=",
        &forged,
    ] {
        let (status, page) = get(&format!("{address}?{query}")).await;
        assert_eq!(status, 400, "{page}");
    }
    assert_eq!(get(&back).await.0, 200);
    let (code, output, error) = authorize.end();
    assert_eq!(code, Some(0), "{error}");
    assert!(output.contains("authorized: "), "{output}");
}
