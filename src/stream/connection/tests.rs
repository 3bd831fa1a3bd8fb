//! Readiness of real sockets, as tokio reports it.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Stream;

/// Creates a stream and its peer.
async fn pair() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap());
    let (peer, accepted) = tokio::join!(peer, listener.accept());
    (Stream::new(accepted.unwrap().0), peer.unwrap())
}

/// Closes with a reset instead of an end.
fn reset(peer: TcpStream) {
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[tokio::test]
async fn d17_a_reset_is_told_while_octets_are_unread() {
    for unread in [0, 1, 1_000_000] {
        let (mut stream, mut peer) = pair().await;
        let mut broken = pin!(stream.reset());
        let octets = vec![b'x'; unread];
        // More than the sockets hold: the peer is reset while writing.
        let _ = tokio::time::timeout(Duration::from_millis(50), peer.write_all(&octets)).await;
        assert!(futures_util::poll!(&mut broken).is_pending());
        if unread > 0 {
            stream.receive(|_| {}).await.unwrap();
        }
        assert!(futures_util::poll!(&mut broken).is_pending());
        reset(peer);
        let error = broken.await;
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset,
            "{unread}"
        );
    }
}

#[tokio::test]
async fn d17_an_end_is_no_reset() {
    let (mut stream, mut peer) = pair().await;
    let mut broken = pin!(stream.reset());
    peer.write_all(b"QUIT\r\n").await.unwrap();
    peer.shutdown().await.unwrap();
    let mut got = Vec::new();
    while stream
        .receive(|bytes| got.extend_from_slice(bytes))
        .await
        .unwrap()
    {}
    assert_eq!(got, b"QUIT\r\n");
    assert!(futures_util::poll!(&mut broken).is_pending());
    // The half-open connection continues.
    stream.write(b"+OK\r\n").await.unwrap();
    let mut answer = [0; 5];
    peer.read_exact(&mut answer).await.unwrap();
    assert!(futures_util::poll!(&mut broken).is_pending());
    reset(peer);
    broken.await;
}

/// A partial write or read does not block later ones, on either side.
#[tokio::test]
async fn octets_pass_both_ways_whatever_the_sockets_take() {
    let (mut stream, mut peer) = pair().await;
    let sent = vec![b'x'; 8_000_000];
    let expected = sent.clone();
    let reader = tokio::spawn(async move {
        let mut got = vec![0; expected.len()];
        peer.read_exact(&mut got).await.unwrap();
        peer.write_all(&got).await.unwrap();
        assert!(got == expected);
        peer
    });
    stream.write(&sent).await.unwrap();
    let mut got = 0;
    while got < sent.len() {
        assert!(stream.receive(|bytes| got += bytes.len()).await.unwrap());
    }
    drop(reader.await.unwrap());
    assert!(!stream.receive(|_| {}).await.unwrap());
    poll_fn(|cx| stream.poll_flush(cx)).await.unwrap();
}
