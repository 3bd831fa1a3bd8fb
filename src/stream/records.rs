//! Room for TLS records that are to be sent, as rustls' encoders require it.

use rustls::unbuffered::{EncodeError, EncryptError};

/// The room that an encoder asks for.
pub(super) trait Insufficient {
    fn required(&self) -> Option<usize>;
}

impl Insufficient for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Insufficient for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Records to be sent, in room that may be kept for the next ones: clearing it for each would
/// cost as much as a tenth of their encryption.
#[derive(Debug, Default)]
pub struct Records {
    room: Vec<u8>,
    written: usize,
}

impl Records {
    /// Without records and without room.
    pub const fn new() -> Self {
        Self {
            room: Vec::new(),
            written: 0,
        }
    }

    /// The records, to be sent in this order.
    pub fn written(&self) -> &[u8] {
        self.room.get(..self.written).unwrap_or_default()
    }

    /// Forgets the records and keeps the room.
    pub fn clear(&mut self) {
        self.written = 0;
    }

    /// Appends what an encoder writes; makes the room that it asks for.
    pub(super) fn encode<E: Insufficient + std::fmt::Display>(
        &mut self,
        mut encoder: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), rustls::Error> {
        loop {
            let free = self.room.get_mut(self.written..).unwrap_or_default();
            match encoder(free) {
                Ok(written) => {
                    self.written += written;
                    return Ok(());
                }
                Err(error) => match error.required() {
                    Some(required) if required > free.len() => {
                        self.room.resize(self.written + required, 0);
                    }
                    _ => return Err(rustls::Error::General(error.to_string())),
                },
            }
        }
    }
}
