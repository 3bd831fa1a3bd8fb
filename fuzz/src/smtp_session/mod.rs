//! Whole SMTP sessions of the relay's machine and its driver: the world of `tests/world`, with the
//! fuzzer's octets for decisions. Clients pipeline, a mail service that is a plain reference answers
//! and has moods, with and without policy, pacing, repaired line ends and an upstream for each sender.
//! What arrives, in which order, and what is recorded must equal what the service decided.

#[path = "../../../tests/world/random.rs"]
mod random;
#[allow(dead_code)]
#[path = "../../../tests/world/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../../../tests/world/session.rs"]
mod session;
#[path = "../../../tests/world/smtp.rs"]
mod smtp;
#[allow(dead_code)]
#[path = "../../../tests/world/wire.rs"]
mod wire;

/// Plays the sessions that `input` decides.
pub fn smtp_session(input: &[u8]) {
    smtp::play(random::Random::of(input));
}
