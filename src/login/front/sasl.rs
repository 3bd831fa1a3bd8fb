//! The server side of PLAIN (RFC 4616) and LOGIN, the same in all three protocols.

use super::{Attempt, malformed};
use crate::fault::{Fault, Kind};
use crate::wire::sasl::{self, Credentials};

/// An exchange that waits for the client's response.
#[derive(Debug)]
pub(super) enum Exchange {
    /// PLAIN's only response.
    Plain,
    /// LOGIN's first.
    LoginName,
    /// LOGIN's second.
    LoginPassword {
        /// The first.
        name: Vec<u8>,
    },
}

/// Where an exchange stands after a response.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The client is asked for more.
    Challenge(Exchange),
    /// It presented credentials.
    Attempt(Attempt),
    /// It did not, for good.
    Refused(Fault),
}

impl Exchange {
    /// Begins with the client's choice of mechanism and its initial response, if it sent one.
    pub(super) fn begin(mechanism: &str, initial: Option<&[u8]>) -> Outcome {
        let exchange = match mechanism {
            "PLAIN" => Self::Plain,
            "LOGIN" => Self::LoginName,
            _ => {
                return Outcome::Refused(
                    Fault::new(Kind::Mechanism, "the client asked for a mechanism other than PLAIN and LOGIN")
                        .remedy_is("set the application to a plain password login; authrelay does OAuth for it"),
                );
            }
        };
        match initial {
            Some(initial) => exchange.respond(initial),
            None => Outcome::Challenge(exchange),
        }
    }

    /// What the client is asked, in base64: nothing, `Username:`, `Password:`.
    pub(super) fn challenge(&self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::LoginName => "VXNlcm5hbWU6",
            Self::LoginPassword { .. } => "UGFzc3dvcmQ6",
        }
    }

    /// Takes one line of the client.
    pub(super) fn respond(self, line: &[u8]) -> Outcome {
        if line.trim_ascii() == b"*" {
            return Outcome::Refused(Fault::new(Kind::Sasl, "the client cancelled the exchange"));
        }
        let result = match self {
            Self::Plain => Credentials::from_plain(line).map(|credentials| Attempt {
                credentials,
                method: "PLAIN",
            }),
            Self::LoginName => match sasl::decode(line) {
                Ok(name) => return Outcome::Challenge(Self::LoginPassword { name }),
                Err(encoding) => Err(encoding),
            },
            Self::LoginPassword { name } => sasl::decode(line)
                .and_then(|password| Credentials::new(&name, &password))
                .map(|credentials| Attempt {
                    credentials,
                    method: "LOGIN",
                }),
        };
        match result {
            Ok(attempt) => Outcome::Attempt(attempt),
            Err(why) => Outcome::Refused(malformed(why)),
        }
    }
}
