//! One connection of the relay, and the peer at its other end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use authrelay::relay::Connection;

use super::random::Random;

#[derive(Debug)]
pub struct Wire {
    random: Random,
    /// What the peer has sent and the relay has not received.
    pub to_relay: VecDeque<u8>,
    /// What the relay has sent and the peer has received.
    pub to_peer: Vec<u8>,
    /// Octets that the peer takes before the relay has to keep them.
    pub window: usize,
    kept: Vec<u8>,
    /// The peer has ended its direction.
    pub peer_ended: bool,
    /// The connection is gone.
    pub reset: bool,
    /// The relay has ended its direction, or wants to.
    pub closing: bool,
    /// Every other line that the relay sends is lost.
    pub forgetful: bool,
}

/// The relay's end, and the peer's hold on it.
#[derive(Debug, Clone)]
pub struct Wired(pub Rc<RefCell<Wire>>);

impl Wired {
    pub fn new(random: Random) -> Self {
        Self(Rc::new(RefCell::new(Wire {
            random,
            to_relay: VecDeque::new(),
            to_peer: Vec::new(),
            window: usize::MAX,
            kept: Vec::new(),
            peer_ended: false,
            reset: false,
            closing: false,
            forgetful: false,
        })))
    }

    /// The peer has everything that the relay has sent.
    pub fn has_everything(&self) -> bool {
        let wire = self.0.borrow();
        wire.kept.is_empty() && !wire.reset
    }

    /// The relay has ended its direction, and the peer has everything.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().is_closed()
    }
}

impl Wire {
    /// The relay has ended its direction, and the peer has everything.
    pub fn is_closed(&self) -> bool {
        self.closing && self.kept.is_empty()
    }

    fn push(&mut self) {
        let octets = self.kept.len().min(self.window);
        self.to_peer.extend(self.kept.drain(..octets));
        self.window -= if self.window == usize::MAX { 0 } else { octets };
    }
}

impl Connection for Wired {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        receive: &mut (dyn FnMut(&mut Context<'_>, &[u8]) + '_),
    ) -> Poll<io::Result<bool>> {
        let piece: Vec<u8> = {
            let mut wire = self.0.borrow_mut();
            if wire.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if wire.to_relay.is_empty() {
                return match wire.peer_ended {
                    true => Poll::Ready(Ok(false)),
                    false => Poll::Pending,
                };
            }
            let all = wire.to_relay.len();
            let octets = match wire.random.below(3) {
                0 => 1,
                1 => 1 + wire.random.below(all),
                _ => all,
            };
            wire.to_relay.drain(..octets).collect()
        };
        receive(cx, &piece);
        Poll::Ready(Ok(true))
    }

    fn send(&mut self, _cx: &mut Context<'_>, octets: &[u8]) {
        let mut wire = self.0.borrow_mut();
        let forgotten = wire.forgetful && wire.random.once_in(4);
        if !wire.closing && !wire.reset && !forgotten {
            wire.kept.extend_from_slice(octets);
            wire.push();
        }
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        if wire.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        wire.push();
        match wire.kept.is_empty() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn close(&mut self) {
        self.0.borrow_mut().closing = true;
    }

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<io::Error> {
        match self.0.borrow().reset {
            true => Poll::Ready(io::ErrorKind::ConnectionReset.into()),
            false => Poll::Pending,
        }
    }
}
