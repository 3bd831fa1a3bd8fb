//! Buffers for TLS records, as rustls' encoders require them.

use rustls::unbuffered::EncryptError;

/// Records to send, in a buffer that is reused: clearing it for each record would cost up to a
/// tenth of the encryption.
#[derive(Debug, Default)]
pub struct Records {
    room: Vec<u8>,
    written: usize,
}

impl Records {
    /// Creates an empty buffer without allocating.
    pub const fn new() -> Self {
        Self {
            room: Vec::new(),
            written: 0,
        }
    }

    /// The records, in sending order.
    pub fn written(&self) -> &[u8] {
        self.room.get(..self.written).unwrap_or_default()
    }

    /// Discards the records and keeps the memory.
    pub fn clear(&mut self) {
        self.written = 0;
    }

    /// Appends the output of an encoder, and grows the buffer as it requires.
    pub(super) fn encode(
        &mut self,
        mut encoder: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), rustls::Error> {
        loop {
            let free = self.room.get_mut(self.written..).unwrap_or_default();
            match encoder(free) {
                Ok(written) => {
                    self.written += written;
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(size)) if size.required_size > free.len() => {
                    self.room.resize(self.written + size.required_size, 0);
                }
                Err(error) => return Err(rustls::Error::General(error.to_string())),
            }
        }
    }
}
