//! Interface of the client-side login dialogues, and the faults they share.

use bytes::Bytes;

use super::super::step::{Step, SuccessReply};
use crate::fault::{Fault, Kind};
use crate::secret::Secret;
use crate::wire::sasl::{Mechanism, oauthbearer, xoauth2};

/// Credentials for the login to the upstream.
#[derive(Debug, Clone)]
pub struct UpstreamCredentials {
    /// Mailbox to open. Comes from our configuration; a client cannot choose it.
    pub mailbox: String,
    /// Access token, not encoded.
    pub token: Secret,
    /// SASL mechanism that presents the token.
    pub mechanism: Mechanism,
    /// Host name of the upstream; part of OAUTHBEARER.
    pub host: String,
    /// Port of the upstream; part of OAUTHBEARER.
    pub port: u16,
    /// Our name in EHLO: an address literal such as `[192.0.2.1]` (RFC 5321 §4.1.3).
    pub client_name: String,
}

/// Stage at which a dialogue begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A new cleartext connection. The dialogue ends with [`Step::StartTls`] or fails.
    Cleartext,
    /// A new connection, encrypted from its first byte.
    Implicit,
    /// The encrypted stream that followed [`Stage::Cleartext`].
    Upgraded,
}

/// The reply a dialogue waits for; each has its own deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwaitedReply {
    /// The upstream's greeting after the connection.
    Greeting,
    /// The reply to STARTTLS, or the list of capabilities.
    Capabilities,
    /// The result of the authentication.
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

/// A session that is logged in to the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The upstream's success reply.
    pub accepted: SuccessReply,
    /// Capabilities that the upstream listed between TLS and login, if requested.
    pub capabilities: Option<Vec<String>>,
    /// Octets received after the success reply.
    pub leftover: Bytes,
}

/// Login dialogue towards the upstream, in the role of a client. Performs no IO.
pub trait Back: Send {
    /// Takes octets received from the upstream.
    fn receive(&mut self, bytes: &[u8]);

    /// Returns the next step. After the final step it returns only `Read`, whatever it receives.
    fn next(&mut self) -> Step<Ready>;

    /// The reply that the next `Read` waits for.
    fn waiting(&self) -> AwaitedReply;

    /// Returns the fault for a connection that the upstream closed before the dialogue ended.
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

    /// Quotes a reply of the upstream without the token, in case the upstream echoed it.
    pub(super) fn scrub(&self, said: &[u8]) -> String {
        let said = String::from_utf8_lossy(said);
        said.replace(self.response().expose(), "[cut]")
            .replace(self.token.expose(), "[cut]")
    }
}

/// Whether listeners may advertise a line that the upstream listed: it must stay a single line.
pub(super) fn is_showable(line: &str) -> bool {
    !line.chars().any(char::is_control)
}

const CHECK_HOST: &str = "check the provider's host, port and tls in the configuration";

fn unreachable(detail: impl AsRef<str>, remedy: &'static str) -> Fault {
    Fault::new(Kind::Unreachable, detail).with_remedy(remedy)
}

/// Fault: the upstream violated its protocol.
pub(super) fn protocol_violation(during: &str) -> Fault {
    unreachable(
        format!("the mail service does not speak the protocol: {during} is not understood"),
        CHECK_HOST,
    )
}

pub(super) fn too_long() -> Fault {
    unreachable(
        "the mail service sent more than 64 KiB before the login ended",
        CHECK_HOST,
    )
}

pub(super) fn greeting_refused(said: &str) -> Fault {
    unreachable(
        format!("the mail service rejected the connection: {said}"),
        "the mail service accepts no connection from here at the moment; wait, or let applications connect less often",
    )
}

pub(super) fn no_starttls(said: &str) -> Fault {
    unreachable(
        format!("the mail service does not start TLS: {said}"),
        "something between here and the mail service removes STARTTLS, or the provider's port requires tls: implicit",
    )
}

/// Response injection: USENIX Security 2021, "Why TLS is better without STARTTLS".
pub(super) fn injected() -> Fault {
    unreachable(
        "bytes followed the mail service's answer to STARTTLS in clear: someone may be injecting responses",
        "look at what sits between here and the mail service; no credential was sent",
    )
}

pub(super) fn closed_while(waiting: AwaitedReply) -> Fault {
    unreachable(
        format!(
            "the mail service closed the connection while {} was expected",
            waiting.name()
        ),
        "the mail service has a problem or is dropping connections; wait, and look at its status page if that persists",
    )
}
