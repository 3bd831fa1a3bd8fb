//! `accounts[].smtp`: what an account may send.

use super::key::{section, words};
use crate::wire::address::Pattern;

words! {
    /// Line ends in messages, from `accounts[].smtp.line_ends`.
    pub enum LineEnds {
        /// Line ends stay unchanged.
        Keep = "keep",
        /// Bare LF becomes CRLF, and `LF.LF` ends the message.
        Crlf = "crlf",
    }
}

words! {
    /// Sender of messages, from `accounts[].smtp.from`.
    pub enum SmtpFrom {
        /// The sender stays unchanged.
        Keep = "keep",
        /// MAIL and the From header name the mailbox, Reply-To the original sender.
        Mailbox = "mailbox",
    }
}

section! {
    /// `accounts[].smtp`.
    pub struct SmtpPolicy {
        /// Addresses that MAIL may name: addresses, `*@domain` (without subdomains) or `*`, in upper or lower case; `<>` and `*` include the null sender. Others get `550 5.7.1`
        pub senders: Option<Vec<Pattern>>: "every address",
        /// Addresses that RCPT may name, written in the same way
        pub recipients: Option<Vec<Pattern>>: "every address",
        /// Largest message in octets, `35MB` (decimal) or `35MiB`; checked at `SIZE=` and by counting. Larger ones get `552 5.3.4`
        pub max_size: Option<u64>: "the service's",
        /// Most messages a minute, over all sessions of the account; a further one gets `451 4.7.1` at once
        pub messages_per_minute: Option<usize>[1..=100_000]: "no limit",
        /// `mailbox`: MAIL and the From header are changed to the mailbox; the original address goes to Reply-To if there is none. The null sender stays
        pub from: SmtpFrom = "keep",
        /// `crlf`: a bare LF in message text becomes CRLF, and `LF.LF` ends the message
        pub line_ends: LineEnds = "keep",
    }
}

impl SmtpPolicy {
    /// Whether the commands of a session have to be inspected. A rate requires it too, since a command
    /// that is not understood could begin a message.
    pub fn looks_at_commands(&self) -> bool {
        self.senders.is_some()
            || self.recipients.is_some()
            || self.max_size.is_some()
            || self.messages_per_minute.is_some()
            || self.from == SmtpFrom::Mailbox
    }
}
