//! Interface of the server-side login dialogues, and the code they share.

use std::sync::Arc;

use bytes::Bytes;

use super::super::step::{Step, SuccessReply};
use crate::fault::{Fault, Kind};
use crate::wire::sasl::{
    CREDENTIAL_CAP, Credentials, Malformed, Part, Violation, without_surroundings,
};

/// The current offer of a listener on a connection.
#[derive(Debug, Clone)]
pub struct Advertised {
    /// Capabilities of the upstream, as it lists them.
    pub capabilities: Arc<[String]>,
    /// Whether the client may send STARTTLS.
    pub starttls: bool,
    /// Whether credentials are accepted; false before the TLS that the listener requires.
    pub credentials: bool,
    /// SMTP: whether MAIL without AUTH is accepted and sent as the account in
    /// `listeners[].unauthenticated`.
    pub unauthenticated: bool,
    /// Whether a greeting must be sent: true for a new connection, false after STARTTLS.
    pub greet: bool,
    /// Whether TLS is active on the connection.
    pub encrypted: bool,
}

/// A client's request that ends the login dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Login with credentials.
    Login(Attempt),
    /// Sending without a login (SMTP), on a listener that allows it.
    Unauthenticated,
    /// End of the session; the reply was already sent.
    Quit,
}

/// Credentials, and how they were presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Credentials presented by the client.
    pub credentials: Credentials,
    /// `LOGIN`, `USER` or the SASL mechanism, for the log.
    pub method: &'static str,
}

/// An attempt that the dialogue itself refused.
#[derive(Debug)]
pub struct RefusedAttempt {
    /// Reason of the refusal.
    pub fault: Fault,
    /// Login without surrounding white space and control characters. It may belong to an account;
    /// use it only for the log.
    pub suspected: Option<String>,
}

/// Login dialogue towards the client, in the role of a server. Performs no IO.
pub trait Front: Send {
    /// Takes octets received from the client.
    fn receive(&mut self, bytes: &[u8]);

    /// Returns the next step. After [`Request::Login`], `Read` is returned until
    /// [`Front::accept`] or [`Front::reject`]; after the final step, only `Read`.
    fn next(&mut self) -> Step<Request>;

    /// Ends the dialogue after a successful attempt. Returns the reply to the client.
    fn accept(&mut self, accepted: &SuccessReply) -> Bytes;

    /// Rejects the attempt. The next steps reply to the client, which may try again.
    fn reject(&mut self, fault: &Fault);

    /// Takes the attempt that the dialogue itself refused since the last call (cancelled,
    /// malformed, before TLS).
    fn take_refused(&mut self) -> Option<RefusedAttempt>;

    /// Returns the reason why the client closed the connection without QUIT or LOGOUT, if the
    /// dialogue shows one.
    fn on_close(&self) -> Option<Fault>;

    /// Takes the octets that the client sent after its credentials. Call after [`Front::accept`].
    fn leftover(&mut self) -> Bytes;
}

pub(super) fn malformed(malformed: Malformed) -> Fault {
    match malformed {
        Malformed::Encoding => Fault::new(
            Kind::Sasl,
            "the client's response is not valid base64, or not in the mechanism's form",
        ),
        Malformed::Nuls(nuls) => Fault::new(
            Kind::Sasl,
            format!(
                "PLAIN's response has {nuls} NUL octets, not 2: one before the login, one before the password"
            ),
        ),
        Malformed::Contents(part, violation) => invalid_part(part, violation),
    }
}

/// Fault: credentials that no account can have.
fn invalid_part(part: Part, violation: Violation) -> Fault {
    let name = part.name();
    let (what, remedy) = match violation {
        Violation::Empty => (
            format!("the {name} that the client presents is empty"),
            "give the application its login and password",
        ),
        Violation::TooLong => (
            format!("the {name} that the client presents has over 255 octets"),
            "give the application a login and password of at most 255 octets",
        ),
        Violation::Encoding => (
            format!("the {name} that the client presents is not UTF-8"),
            "make the application send UTF-8, or choose a password of ASCII characters",
        ),
        Violation::LineEnd => (
            format!("the {name} that the client presents ends in a line feed"),
            "leave the line feed out of what is encoded: printf '%s' instead of echo",
        ),
        Violation::Nul => (
            format!(
                "there is a NUL in the {name} that the client presents: PLAIN has two, one before the login, \
                     one before the password"
            ),
            "correct what the application encodes as PLAIN's response",
        ),
        Violation::Control => (
            format!("there is a control character in the {name} that the client presents"),
            "correct the login and password in the application",
        ),
    };
    Fault::new(Kind::Credentials, what).with_remedy(remedy)
}

/// The login that a client probably meant.
pub(super) fn suspected(login: &[u8]) -> Option<String> {
    let text = without_surroundings(std::str::from_utf8(login).ok()?);
    (!text.is_empty() && text.len() <= CREDENTIAL_CAP).then(|| text.to_owned())
}

/// Fault: a login command that the grammar rejects.
pub(super) fn syntax(command: &str) -> Fault {
    Fault::new(
        Kind::Syntax,
        format!("the arguments of the client's {command} cannot be parsed"),
    )
    .with_remedy(
        "the application must put user name and password with blanks, quotes or other special characters \
         into quotes, or use another mechanism",
    )
}

pub(super) fn too_long() -> Fault {
    Fault::new(
        Kind::TooLong,
        "the client sent a command of over 16 KiB (ID: 34 KiB) before login",
    )
}

/// Fault: a command that requires a login, or an unknown command.
pub(super) fn needs_login() -> Fault {
    Fault::new(Kind::Order, "command before login")
}

pub(super) fn before_tls() -> Fault {
    Fault::new(
        Kind::TlsRequired,
        "the client sent credentials before the TLS that the listener requires",
    )
    .with_remedy("turn STARTTLS on in the application, or set require_tls: false on the listener")
}

pub(super) fn injected() -> Fault {
    Fault::new(
        Kind::Tls,
        "the client sent bytes after STARTTLS in clear; none of them was executed",
    )
}
