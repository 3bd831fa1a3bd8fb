//! `hash-password`: reads a password and prints an argon2id PHC string.

use std::io::{IsTerminal as _, Read as _};

use argon2::{Argon2, PasswordHasher as _};

use super::setup::{Exit, print};
use crate::secret::Secret;
use crate::text;
use crate::wire::sasl::Credentials;

/// Most octets read from stdin; a password has at most 255.
const CAP: u64 = 1024;

pub(super) fn run() -> Result<Exit, Exit> {
    let password = read()
        .map_err(|error| Exit::State.with(format_args!("the password cannot be read: {error}")))?;
    let password = password.ok_or_else(|| {
        Exit::Usage.with(
            "the password is not UTF-8: no client could present it; type it in a UTF-8 terminal",
        )
    })?;
    // Any login: the check is whether a client could present this password.
    if Credentials::new(b"login", password.expose().as_bytes()).is_err() {
        let why = "a password has 1 to 255 octets of UTF-8 and no control characters";
        return Err(Exit::Usage.with(why));
    }
    let hash = hash(password.expose()).map_err(|error| {
        Exit::State.with(format_args!("the password cannot be hashed: {error}"))
    })?;
    Ok(print(format!("{hash}\n")))
}

/// Computes the PHC string of a password.
pub(super) fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// Reads the password; `None` if it is not UTF-8.
fn read() -> std::io::Result<Option<Secret>> {
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password("Password: ")
            .map(|password| Some(Secret::from(password)));
    }
    let mut octets = Vec::new();
    std::io::stdin().lock().take(CAP).read_to_end(&mut octets)?;
    let text = text::decode(&octets);
    Ok(text.map(|text| Secret::from(text::without_line_end(&text))))
}
