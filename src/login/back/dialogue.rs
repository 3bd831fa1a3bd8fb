//! The interface of client-side login dialogues, and the faults that they share.

use bytes::Bytes;

use super::super::step::{Step, SuccessReply};
use crate::fault::{Fault, Kind};
use crate::secret::Secret;
use crate::wire::sasl::{Mechanism, oauthbearer, xoauth2};

/// Credentials with which the upstream is logged in to.
#[derive(Debug, Clone)]
pub struct UpstreamCredentials {
    /// Mailbox to open; from our configuration, never of a client's choice.
    pub mailbox: String,
    /// Access token, without any encoding.
    pub token: Secret,
    /// How the token is presented.
    pub mechanism: Mechanism,
    /// The upstream's name (OAUTHBEARER repeats it).
    pub host: String,
    /// The upstream's port (OAUTHBEARER repeats it).
    pub port: u16,
    /// Our name in EHLO: an address literal, as in `[192.0.2.1]` (RFC 5321 §4.1.3).
    pub client_name: String,
}

/// Stage at which a dialogue begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A new connection in clear: it ends in [`Step::StartTls`] or fails.
    Cleartext,
    /// A new connection, encrypted from its first byte.
    Implicit,
    /// The encrypted stream that followed [`Stage::Cleartext`].
    Upgraded,
}

/// Reply that a dialogue waits for; each has a deadline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwaitedReply {
    /// The upstream's greeting after the connection.
    Greeting,
    /// Capabilities, and leave to start TLS.
    Capabilities,
    /// The verdict on the token.
    Authentication,
}

impl AwaitedReply {
    /// Name of the awaited reply in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Capabilities => "capabilities",
            Self::Authentication => "authentication",
        }
    }
}

/// A session that is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The upstream's words of success.
    pub accepted: SuccessReply,
    /// Capabilities that the upstream listed after TLS and before login, if it was asked.
    pub capabilities: Option<Vec<String>>,
    /// Octets that the upstream sent after its success.
    pub leftover: Bytes,
}

/// Login dialogue of a client, towards the upstream. Sans IO.
pub trait Back: Send {
    /// Takes octets that were read from the upstream.
    fn receive(&mut self, bytes: &[u8]);

    /// Gives the next step. After the last one it only asks to `Read`, whatever it receives.
    fn next(&mut self) -> Step<Ready>;

    /// Reply that the next `Read` is for.
    fn waiting(&self) -> AwaitedReply;

    /// The upstream closed the connection before the dialogue ended: why that is a fault.
    fn closed(&mut self) -> Fault;
}

impl UpstreamCredentials {
    /// The SASL response, in base64.
    pub(super) fn response(&self) -> Secret {
        match self.mechanism {
            Mechanism::Xoauth2 => xoauth2(&self.mailbox, &self.token),
            Mechanism::Oauthbearer => {
                oauthbearer(&self.mailbox, &self.host, self.port, &self.token)
            }
        }
    }

    /// Quotes what the upstream said, without the token, should the upstream have echoed it.
    pub(super) fn scrub(&self, said: &[u8]) -> String {
        let said = String::from_utf8_lossy(said);
        said.replace(self.response().expose(), "[cut]")
            .replace(self.token.expose(), "[cut]")
    }
}

/// Whether listeners may show a line that the upstream listed: nothing that would not stay one
/// line.
pub(super) fn is_showable(line: &str) -> bool {
    !line.chars().any(char::is_control)
}

const CHECK_HOST: &str = "check the provider's host, port and tls in the configuration";

/// The upstream said something that its protocol does not know.
pub(super) fn protocol_violation(during: &str) -> Fault {
    Fault::new(
        Kind::Unreachable,
        format!("the mail service does not speak the protocol: {during} is not understood"),
    )
    .with_remedy(CHECK_HOST)
}

pub(super) fn too_long() -> Fault {
    Fault::new(
        Kind::Unreachable,
        "the mail service sent more than 64 KiB before the login ended",
    )
    .with_remedy(CHECK_HOST)
}

pub(super) fn greeting_refused(said: &str) -> Fault {
    Fault::new(
        Kind::Unreachable,
        format!("the mail service turned the connection away: {said}"),
    )
    .with_remedy("the mail service takes no connection from here for now; wait, or let applications connect less often")
}

pub(super) fn no_starttls(said: &str) -> Fault {
    Fault::new(
        Kind::Unreachable,
        format!("the mail service does not start TLS: {said}"),
    )
    .with_remedy("something between here and the mail service strips STARTTLS, or the provider's port wants tls: implicit")
}

/// USENIX Security 2021, "Why TLS is better without STARTTLS": response injection.
pub(super) fn injected() -> Fault {
    Fault::new(
        Kind::Unreachable,
        "bytes stood behind the mail service's answer to STARTTLS in clear: somebody injects responses",
    )
    .with_remedy("look at what sits between here and the mail service; no credential was sent")
}

pub(super) fn closed_while(waiting: AwaitedReply) -> Fault {
    Fault::new(
        Kind::Unreachable,
        format!("the mail service closed the connection while {} was due", waiting.name()),
    )
    .with_remedy("the mail service has trouble or cuts us off; wait, and look at its status page if it goes on")
}
