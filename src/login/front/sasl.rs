//! The server side of PLAIN (RFC 4616) and LOGIN for all three protocols.

use super::dialogue::{Attempt, malformed, suspected};
use crate::fault::{Fault, Kind};
use crate::wire::sasl::{self, Credentials};

/// A SASL exchange that awaits the client's response.
#[derive(Debug)]
pub(super) enum SaslExchange {
    /// PLAIN; its only response is awaited.
    Plain,
    /// LOGIN; its first response (the name) is awaited.
    LoginName,
    /// LOGIN; its second response (the password) is awaited.
    LoginPassword {
        /// Name from the first response, decoded.
        name: Vec<u8>,
    },
}

/// Result of a response.
#[derive(Debug)]
pub(super) enum SaslOutcome {
    /// Another response is required.
    Challenge(SaslExchange),
    /// Credentials presented by the client.
    Attempt(Attempt),
    /// Final refusal, with the login that the client probably meant.
    Refused(Fault, Option<String>),
}

impl SaslOutcome {
    /// Handles credentials presented without SASL as the end of an exchange.
    pub(super) fn of_presented(login: &[u8], password: &[u8], method: &'static str) -> Self {
        match Credentials::new(login, password) {
            Ok(credentials) => Self::Attempt(Attempt {
                credentials,
                method,
            }),
            Err(why) => Self::Refused(malformed(why), suspected(login)),
        }
    }
}

impl SaslExchange {
    /// Begins an exchange with the mechanism the client chose and its initial response, if any.
    pub(super) fn begin(mechanism: &str, initial: Option<&[u8]>) -> SaslOutcome {
        let exchange = match mechanism {
            "PLAIN" => Self::Plain,
            "LOGIN" => Self::LoginName,
            _ => {
                return SaslOutcome::Refused(
                    Fault::new(
                        Kind::Mechanism,
                        "the client asked for a mechanism other than PLAIN and LOGIN",
                    )
                    .with_remedy(
                        "set the application to plain password login; authrelay does OAuth for it",
                    ),
                    None,
                );
            }
        };
        match initial {
            Some(initial) => exchange.respond(initial),
            None => SaslOutcome::Challenge(exchange),
        }
    }

    /// The challenge in base64: empty, `Username:` or `Password:`.
    pub(super) fn challenge(&self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::LoginName => "VXNlcm5hbWU6",
            Self::LoginPassword { .. } => "UGFzc3dvcmQ6",
        }
    }

    /// Handles one line from the client.
    pub(super) fn respond(self, line: &[u8]) -> SaslOutcome {
        if line.trim_ascii() == b"*" {
            let fault = Fault::new(Kind::Sasl, "the client cancelled the exchange");
            return SaslOutcome::Refused(fault, None);
        }
        let octets = match sasl::decode(line) {
            Ok(octets) => octets,
            Err(why) => return SaslOutcome::Refused(malformed(why), None),
        };
        match self {
            Self::Plain => plain(&octets),
            Self::LoginName => SaslOutcome::Challenge(Self::LoginPassword { name: octets }),
            Self::LoginPassword { name } => SaslOutcome::of_presented(&name, &octets, "LOGIN"),
        }
    }
}

fn plain(message: &[u8]) -> SaslOutcome {
    match Credentials::from_plain(message) {
        Ok(credentials) => SaslOutcome::Attempt(Attempt {
            credentials,
            method: "PLAIN",
        }),
        Err(why) => {
            let login = message.split(|octet| *octet == 0).nth(1);
            SaslOutcome::Refused(malformed(why), login.and_then(suspected))
        }
    }
}
