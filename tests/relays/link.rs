//! A link between a relay and its store that can be slow, cut, half open or mad.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How the link behaves from now on, for connections that are open as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Connections are reset, and none is let in.
    Refused,
    /// Nothing passes any more, and nothing says so: a partition.
    Silent,
    /// What the store answers comes so much later.
    Slow(Duration),
    /// What the store answers becomes garbage.
    Garbage,
    /// The connection ends within the next answer.
    MidReply,
    /// A text of the store's answers is another.
    Instead(String, String),
    /// From the command with this text on nothing reaches the store over that connection.
    LostFrom(&'static str),
}

impl Fault {
    /// Whether nothing passes.
    fn is_silent(&self) -> bool {
        *self == Self::Silent
    }
}

/// Ends with the test's runtime.
pub struct Link {
    pub port: u16,
    fault: Arc<watch::Sender<Fault>>,
}

impl Link {
    /// Links a port of its own to the store's.
    pub async fn to(store: u16, fault: Fault) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let fault = Arc::new(watch::Sender::new(fault));
        let shared = fault.clone();
        tokio::spawn(async move {
            while let Ok((relay, _)) = socket.accept().await {
                let address: SocketAddr = ([127, 0, 0, 1], store).into();
                tokio::spawn(carry(relay, address, shared.subscribe()));
            }
        });
        Self { port, fault }
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn carry(relay: TcpStream, store: SocketAddr, fault: watch::Receiver<Fault>) {
    let mut refused = fault.clone();
    if *fault.borrow() == Fault::Refused {
        return;
    }
    let Ok(store) = TcpStream::connect(store).await else {
        return;
    };
    let _ = (relay.set_nodelay(true), store.set_nodelay(true));
    let ((from_relay, to_relay), (from_store, to_store)) = (relay.into_split(), store.into_split());
    tokio::select! {
        () = ask(from_relay, to_store, fault.clone()) => {}
        () = reply(from_store, to_relay, fault) => {}
        _ = refused.wait_for(|fault| *fault == Fault::Refused) => {}
    }
}

/// What a silent link was given waits until it is none any more.
async fn pass(fault: &mut watch::Receiver<Fault>) -> Fault {
    let now = fault.wait_for(|fault| !fault.is_silent()).await;
    now.map_or(Fault::Refused, |fault| fault.clone())
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut fault: watch::Receiver<Fault>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer).await
        && length > 0
    {
        let is_lost = match pass(&mut fault).await {
            Fault::LostFrom(text) => String::from_utf8_lossy(&buffer[..length]).contains(text),
            _ => false,
        };
        if is_lost {
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Carries what the store answers; a delay of one answer holds up no other.
async fn reply(mut from: OwnedReadHalf, to: OwnedWriteHalf, fault: watch::Receiver<Fault>) {
    let (sender, arrived) = mpsc::unbounded_channel();
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length) = from.read(&mut buffer).await
            && length > 0
        {
            let _ = sender.send((Instant::now(), buffer[..length].to_vec()));
        }
    };
    tokio::select! {
        () = reading => {}
        () = deliver(arrived, to, fault) => {}
    }
}

async fn deliver(
    mut arrived: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    mut fault: watch::Receiver<Fault>,
) {
    while let Some((time, mut octets)) = arrived.recv().await {
        let mut is_last = false;
        match pass(&mut fault).await {
            Fault::Slow(delay) => sleep_until(time + delay).await,
            Fault::Garbage => octets = b"\x00\xff!?\r\n*-9\r\nno such thing\r\n".to_vec(),
            Fault::MidReply => {
                octets.truncate(octets.len() / 2);
                is_last = true;
            }
            Fault::Instead(text, by) => {
                let said = String::from_utf8_lossy(&octets).replace(&text, &by);
                octets = said.into_bytes();
            }
            _ => {}
        }
        if to.write_all(&octets).await.is_err() || is_last {
            return;
        }
    }
}
