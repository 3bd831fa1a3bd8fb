//! The fault matrix: every row of the table of faults × protocol × phase, with the exact reply,
//! whether the connection ends, the fault in the log, and what it cost the identity provider and
//! the mail service.

mod before_login;
mod credentials;
mod crowded;
mod late;
mod login;
mod relayed;
mod shutdown;

use authrelay::wire::Protocol;
use authrelay::wire::Protocol::{Imap, Pop3, Smtp};

use crate::client::{Client, END};

/// Which of three cells is a protocol's.
fn of<T: Copy>(protocol: Protocol, cells: [T; 3]) -> T {
    match protocol {
        Imap => cells[0],
        Pop3 => cells[1],
        Smtp => cells[2],
    }
}

/// A reply that announces the end of the connection.
fn closes(reply: &str) -> bool {
    reply.is_empty() || reply.starts_with("421 ") || reply.contains("BYE ")
}

/// The connection has said its last, or goes on.
async fn assert_end(client: &mut Client, closed: bool, row: &str) {
    if closed {
        assert_eq!(client.until("never").await, END, "{row}");
    } else {
        client.assert_goes_on().await;
    }
}
