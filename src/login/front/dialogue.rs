//! The interface of server-side login dialogues, and what they share.

use std::sync::Arc;

use bytes::Bytes;

use super::super::step::{Step, SuccessReply};
use crate::fault::{Fault, Kind};
use crate::wire::sasl::{CREDENTIAL_CAP, Credentials, Malformed, Oddity, Part};

/// Capabilities and mechanisms that a listener offers on this connection at this moment.
#[derive(Debug, Clone)]
pub struct Advertised {
    /// The upstream's capabilities, as it would list them itself.
    pub capabilities: Arc<[String]>,
    /// Whether the client may send STARTTLS.
    pub starttls: bool,
    /// Credentials are taken; false before the TLS that the listener requires.
    pub credentials: bool,
    /// SMTP: MAIL opens the listener's own account where no login has come before.
    pub unauthenticated: bool,
    /// The connection is new: a greeting is due (not after STARTTLS).
    pub greet: bool,
    /// Whether TLS is active on the connection.
    pub encrypted: bool,
}

/// Request of a client that ends the login dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To log in with these.
    Login(Attempt),
    /// To send without a login (SMTP), where the listener lets it.
    Unauthenticated,
    /// To leave; its farewell was answered.
    Quit,
}

/// Credentials and how they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Credentials that the client presented.
    pub credentials: Credentials,
    /// `LOGIN`, `USER` or the SASL mechanism, for the log.
    pub method: &'static str,
}

/// Login dialogue of a server, towards the client. Sans IO.
pub trait Front: Send {
    /// Takes octets that were read from the client.
    fn receive(&mut self, bytes: &[u8]);

    /// Gives the next step. After [`Request::Login`] the machine waits for [`Front::accept`] or
    /// [`Front::reject`], and asks to `Read` until then. After the last step it only asks to
    /// `Read`, whatever it receives.
    fn next(&mut self) -> Step<Request>;

    /// The attempt succeeded: the words to send to the client. The machine's work is done.
    fn accept(&mut self, accepted: &SuccessReply) -> Bytes;

    /// Rejects the attempt: the next steps answer the client, which may then try again.
    fn reject(&mut self, fault: &Fault);

    /// An attempt that was refused here, without asking anybody (cancelled, malformed, before
    /// TLS), since the last call.
    fn take_refused(&mut self) -> Option<Fault>;

    /// The login that the attempt last refused here was about, without the white space and control
    /// characters around it: an account may have it. For the log only.
    fn suspected_login(&mut self) -> Option<String>;

    /// The client has closed the connection without a goodbye: why, as far as the dialogue shows
    /// it.
    fn on_close(&self) -> Option<Fault>;

    /// After [`Front::accept`]: what the client sent after its credentials.
    fn leftover(&mut self) -> Bytes;
}

pub(super) fn malformed(malformed: Malformed) -> Fault {
    match malformed {
        Malformed::Encoding => Fault::new(
            Kind::Sasl,
            "the client's response is not valid base64 of the mechanism's form",
        ),
        Malformed::Nuls(nuls) => Fault::new(
            Kind::Sasl,
            format!(
                "PLAIN's response has {nuls} NUL octets, not 2: one before the login, one before the password"
            ),
        ),
        Malformed::Contents(part, oddity) => odd(part, oddity),
    }
}

/// Credentials that no account can have.
fn odd(part: Part, oddity: Oddity) -> Fault {
    let name = part.name();
    let (what, remedy) = match oddity {
        Oddity::Empty => (
            format!("the {name} that the client presents is empty"),
            "give the application its login and password",
        ),
        Oddity::TooLong => (
            format!("the {name} that the client presents has over 255 octets"),
            "give the application a login and password of at most 255 octets",
        ),
        Oddity::Encoding => (
            format!("the {name} that the client presents is not UTF-8"),
            "make the application send UTF-8, or choose a password of ASCII characters",
        ),
        Oddity::LineEnd => (
            format!("the {name} that the client presents ends in a line feed"),
            "leave the line feed out of what is encoded: printf '%s' instead of echo",
        ),
        Oddity::Nul => (
            format!(
                "there is a NUL in the {name} that the client presents: PLAIN has two, one before the login, \
                     one before the password"
            ),
            "correct what the application encodes as PLAIN's response",
        ),
        Oddity::Control => (
            format!("there is a control character in the {name} that the client presents"),
            "correct the login and password in the application",
        ),
    };
    Fault::new(Kind::Credentials, what).with_remedy(remedy)
}

/// The login that octets would be without what is odd around them.
pub(super) fn suspected(login: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(login).ok()?;
    let text =
        text.trim_matches(|character: char| character.is_whitespace() || character.is_control());
    (!text.is_empty() && text.len() <= CREDENTIAL_CAP).then(|| text.to_owned())
}

/// A login command that the grammar does not know.
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
        "the client sent a line of over 16 KiB before login",
    )
}

/// A command that is for after the login, or that no one knows.
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
        "the client sent bytes behind STARTTLS in clear; none of them was executed",
    )
}
