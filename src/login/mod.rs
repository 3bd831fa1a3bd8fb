//! Login dialogues of both roles as state machines without IO: bytes in, steps out.
//!
//! [`front`] is the server role towards the client, [`back`] the client role towards the upstream.
//! Neither reads a clock, opens a socket or writes a log, so every dialogue can be replayed from a
//! transcript, byte by byte. The driver carries out the steps:
//!
//! ```text
//! bytes ──▶ receive ──▶ next ──▶ Read       receive more bytes
//!                                Write      send these bytes
//!                                StartTls   start TLS and a new dialogue
//!                                Done       the dialogue's result
//!                                Failed     close the connection
//! ```

pub mod back;
pub mod front;
mod step;

pub use step::{Step, SuccessReply};
