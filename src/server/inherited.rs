//! Sockets inherited from systemd (socket activation, `sd_listen_fds(3)`). During a restart clients
//! queue instead of being refused.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::SockRef;

use crate::accept::listen;

/// Inherited listening sockets with their names.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    name: String,
    socket: TcpListener,
    /// Name of the listener to which the socket was assigned.
    listener: Option<String>,
}

impl Socket {
    fn is_of(&self, listener: &str) -> bool {
        self.listener.as_deref() == Some(listener)
    }

    fn is_at(&self, address: SocketAddr) -> bool {
        self.socket.local_addr().is_ok_and(|bound| bound == address)
    }

    /// Whether this is a dual-stack socket that also serves clients of `address`.
    fn serves(&self, address: SocketAddr) -> bool {
        let everywhere = |bound: SocketAddr| {
            bound.is_ipv6() && bound.ip().is_unspecified() && bound.port() == address.port()
        };
        let both = SockRef::from(&self.socket)
            .only_v6()
            .is_ok_and(|only| !only);
        address.is_ipv4()
            && address.ip().is_unspecified()
            && self.socket.local_addr().is_ok_and(everywhere)
            && both
    }
}

/// Refuses a client's connection: no further client could be accepted from it.
fn listening(socket: Option<TcpListener>) -> io::Result<Option<TcpListener>> {
    match &socket {
        Some(taken) if SockRef::from(taken).peer_addr().is_ok() => Err(io::Error::other(
            "it is a client's connection, as a socket unit with Accept=yes gives it",
        )),
        _ => Ok(socket),
    }
}

impl Inherited {
    /// Takes the sockets announced to this process by `LISTEN_FDS`.
    pub fn of_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<_> = names.split(':').collect();
        let mut sockets = listenfd::ListenFd::from_env();
        let taken = (0..sockets.len()).filter_map(|index| {
            let name = names.get(index).copied().unwrap_or_default();
            let socket = sockets.take_tcp_listener(index);
            match socket.and_then(listening) {
                Ok(socket) => socket.map(|socket| Socket {
                    name: name.to_owned(),
                    socket,
                    listener: None,
                }),
                Err(error) => {
                    tracing::warn!(
                        name,
                        %error,
                        remedy = "use ListenStream= with an address and a port, and Accept=no",
                        "an inherited socket does not listen on TCP"
                    );
                    None
                }
            }
        });
        Self(taken.collect())
    }

    /// Assigns sockets to listeners (names and addresses). A listener gets the socket with its name
    /// and address, else with its name, else with exactly its address, else an unassigned
    /// dual-stack socket that serves its IPv4 clients too.
    pub(super) fn assign(&mut self, wanted: &[(&str, SocketAddr)]) {
        type Fits = fn(&Socket, &str, SocketAddr) -> bool;
        let rounds: [Fits; 4] = [
            |socket, name, address| socket.name == name && socket.is_at(address),
            |socket, name, _| socket.name == name,
            |socket, _, address| socket.is_at(address),
            |socket, _, address| socket.serves(address),
        ];
        for fits in rounds {
            for (name, address) in wanted {
                if self.0.iter().any(|socket| socket.is_of(name)) {
                    continue;
                }
                let free = |socket: &&mut Socket| socket.listener.is_none();
                let mut sockets = self.0.iter_mut().filter(free);
                if let Some(socket) = sockets.find(|socket| fits(socket, name, *address)) {
                    socket.listener = Some((*name).to_owned());
                }
            }
        }
    }

    /// Takes the socket assigned to the listener.
    pub(super) fn take(&mut self, name: &str) -> Option<TcpListener> {
        let found = self.0.iter().position(|socket| socket.is_of(name))?;
        let socket = self.0.swap_remove(found).socket;
        socket.set_nonblocking(true).ok()?;
        listen::set_socket_options(&SockRef::from(&socket)).ok()?;
        Some(socket)
    }

    /// Logs the sockets that belong to no listener.
    pub(super) fn warn_unused(self) {
        for Socket { name, socket, .. } in self.0 {
            tracing::warn!(
                name,
                address = socket.local_addr().ok().map(tracing::field::display),
                remedy = "name the socket (FileDescriptorName=) after a listener, or give a listener its address",
                "an inherited socket belongs to no listener"
            );
        }
    }
}
