//! Bound on what a server sends. Whatever answers at the store's address may be no Redis, and the
//! parser keeps what is not a whole value yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most octets between two line ends. Replies are lines; the longest is a record.
const LINE: usize = 4 * 1024 * 1024;

/// Most octets after a request: its reply, and what other relays publish until the next one.
const UNASKED: usize = 64 * 1024 * 1024;

/// A stream whose peer is cut off when it sends without end.
pub(super) struct Bounded<S> {
    stream: S,
    /// Octets since the last line end.
    line: usize,
    /// Octets since the last request.
    unasked: usize,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            line: 0,
            unasked: 0,
        }
    }

    /// Counts what was received; whether it is still within bounds.
    fn count(&mut self, received: &[u8]) -> bool {
        self.unasked += received.len();
        self.line = match memchr::memrchr(b'\n', received) {
            Some(end) => received.len() - end - 1,
            None => self.line + received.len(),
        };
        self.line <= LINE && self.unasked <= UNASKED
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let received = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(match self.count(received) {
            true => Ok(()),
            false => Err(io::Error::other("the server sends without end")),
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unasked = 0;
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_answers_have_bounds() {
        let mut peer = Bounded::new(());
        let piece = vec![b'x'; LINE / 4];
        for _ in 0..4 {
            assert!(peer.count(&piece));
        }
        assert!(!peer.count(b"x"));
        let mut peer = Bounded::new(());
        let lines = [&piece[..], b"\r\n"].concat();
        for _ in 0..UNASKED / lines.len() {
            assert!(peer.count(&lines));
        }
        assert!(!peer.count(&lines));
    }

    #[tokio::test]
    async fn a_request_begins_the_count_anew() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut ours = Bounded::new(ours);
        for _ in 0..3 {
            ours.unasked = UNASKED - 5;
            ours.write_all(b"PING\r\n").await.unwrap();
            theirs.write_all(b"+PONG\r\n").await.unwrap();
            ours.read_exact(&mut [0; 7]).await.unwrap();
        }
        ours.unasked = UNASKED;
        theirs.write_all(b"+PONG\r\n").await.unwrap();
        assert!(ours.read(&mut [0; 7]).await.is_err());
    }
}
