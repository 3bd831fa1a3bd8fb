//! Login dialogues of both roles as state machines without IO: bytes in, steps out.
//!
//! [`front`] is the server role towards the client, [`back`] the client role towards the upstream.
//! Neither reads a clock, opens a socket or writes a log, so every dialogue can be replayed from a
//! transcript, byte by byte. The driver carries out the steps:
//!
//! ```text
//!     bytes ──▶ receive ──▶ next ──▶ Read       ask for more
//!                                    Write      send these
//!                                    StartTls   encrypt, then begin again on the encrypted stream
//!                                    Done       the dialogue's result
//!                                    Failed     close
//! ```

pub mod back;
pub mod front;
mod step;

pub use step::{Step, SuccessReply};
