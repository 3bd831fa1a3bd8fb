//! What a dialogue knows of its client besides its steps: why an attempt was refused here, and why
//! a client may have left.

use super::dialogue::Advertised;
use crate::fault::{Fault, Kind};

/// Octets of a SASL line that may have been wrapped: encoders wrap at 60 (uuencode's habit), 64
/// (PEM) or 76 (MIME).
const WRAPPED: usize = 60;

/// The notes of one dialogue.
#[derive(Debug, Default)]
pub(super) struct Notes {
    refused: Option<Fault>,
    /// The login that a refused attempt named, without what is odd around it.
    suspected: Option<String>,
    /// Whether capabilities were asked for.
    asked: bool,
    /// A fault was reported, so that the client's leaving needs no other reason.
    explained: bool,
    /// The last line of the SASL exchange before was long enough to be the first of several.
    wrapped: bool,
}

impl Notes {
    /// The client has seen the capabilities.
    pub(super) fn on_capabilities(&mut self) {
        self.asked = true;
    }

    /// An attempt was refused in the dialogue.
    pub(super) fn on_refused(&mut self, fault: Fault, suspected: Option<String>) {
        self.refused = Some(fault);
        self.suspected = suspected;
        self.explained = true;
    }

    /// A line of a SASL exchange.
    pub(super) fn on_sasl_line(&mut self, line: &[u8]) {
        self.wrapped = line.len() >= WRAPPED;
    }

    /// A line between exchanges; `known` is whether it is a command.
    pub(super) fn on_command(&mut self, line: &[u8], known: bool) {
        if std::mem::take(&mut self.wrapped) && !known && is_base64(line) {
            let fault = Fault::new(
                Kind::Sasl,
                "the line after the client's login looks like the rest of its base64, which was wrapped: \
                 the password was cut off",
            )
            .with_remedy("make the application send its response in one line, or give it a shorter password");
            self.on_refused(fault, None);
        }
    }

    /// Takes the fault of what was refused since the last call.
    pub(super) fn take_refused(&mut self) -> Option<Fault> {
        self.refused.take()
    }

    /// The login that it was about.
    pub(super) fn take_suspected(&mut self) -> Option<String> {
        self.suspected.take()
    }

    /// Why a client may have left without a goodbye.
    pub(super) fn on_close(&self, offer: &Advertised) -> Option<Fault> {
        let saw_none = self.asked && !offer.starttls && !offer.encrypted && !self.explained;
        saw_none
            .then(|| no_starttls("the client asked what the listener can do, saw no TLS, and left"))
    }
}

/// A client requires TLS where there is none.
pub(super) fn no_starttls(detail: &str) -> Fault {
    Fault::new(Kind::StartTls, detail).with_remedy(
        "turn STARTTLS off in the application (fetchmail: sslproto '', .NET: EnableSsl = false), or give the \
         listener tls: {mode: starttls}; a health check should say QUIT or LOGOUT",
    )
}

/// Whether a line is base64 and nothing else.
fn is_base64(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let text = line.strip_suffix(b"=").unwrap_or(line);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let is_digit = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/".contains(octet);
    !line.is_empty() && text.iter().all(is_digit)
}
