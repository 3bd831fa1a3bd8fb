//! Notes of a dialogue for the log: why it refused an attempt, and why a client may have left.

use super::dialogue::{Advertised, RefusedAttempt};
use crate::fault::{Fault, Kind};

/// Shortest SASL line, in octets, that may have been wrapped: encoders wrap at 60 (uuencode), 64
/// (PEM) or 76 (MIME).
const WRAPPED: usize = 60;

/// Notes of one dialogue.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The attempt that the dialogue refused last.
    pub(super) refused: Option<RefusedAttempt>,
    /// Whether the client requested capabilities, and nothing afterwards that shows it does without
    /// TLS.
    asked: bool,
    /// Whether a fault was reported, which also explains why the client leaves.
    explained: bool,
    /// Whether a line of the previous SASL exchange was long enough to be the first of several.
    wrapped: bool,
}

impl Notes {
    /// Records that the client has seen the capabilities.
    pub(super) fn on_capabilities(&mut self) {
        self.asked = true;
    }

    /// Records a command that a client sends which does without TLS: a login, or one that requires
    /// a login.
    pub(super) fn on_without_tls(&mut self) {
        self.asked = false;
    }

    /// Records an attempt that the dialogue refused.
    pub(super) fn on_refused(&mut self, attempt: RefusedAttempt) {
        self.refused = Some(attempt);
        self.explained = true;
    }

    /// Records a line of a SASL exchange.
    pub(super) fn on_sasl_line(&mut self, line: &[u8]) {
        self.wrapped |= line.len() >= WRAPPED;
    }

    /// Records a line between exchanges; `known` is whether it is a command.
    pub(super) fn on_command(&mut self, line: &[u8], known: bool) {
        if std::mem::take(&mut self.wrapped) && !known && is_base64(line) {
            let fault = Fault::new(
                Kind::Sasl,
                "the line after the client's login looks like the rest of its base64, which was wrapped: \
                 login or password was cut off",
            )
            .with_remedy("make the application send its response in one line, or give it a shorter password");
            self.on_refused(RefusedAttempt {
                fault,
                suspected: None,
            });
        }
    }

    /// Returns a likely reason why the client left without QUIT or LOGOUT.
    pub(super) fn on_close(&self, offer: &Advertised) -> Option<Fault> {
        let saw_none = self.asked && !offer.starttls && !offer.encrypted && !self.explained;
        saw_none.then(|| {
            no_starttls("the client asked what the listener can do, saw no TLS, and disconnected")
        })
    }
}

/// Fault: the client requires TLS, and the listener has none.
pub(super) fn no_starttls(detail: &str) -> Fault {
    Fault::new(Kind::StartTls, detail).with_remedy(
        "turn STARTTLS off in the application (fetchmail: sslproto '', .NET: EnableSsl = false), or give the \
         listener tls: {mode: starttls}; a health check should say QUIT or LOGOUT",
    )
}

/// Whether a line consists of base64 only.
fn is_base64(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let text = line.strip_suffix(b"=").unwrap_or(line);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let is_digit = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/".contains(octet);
    !line.is_empty() && text.iter().all(is_digit)
}
