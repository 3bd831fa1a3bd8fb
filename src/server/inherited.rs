//! Sockets that are open before the process is: systemd's socket activation (`sd_listen_fds(3)`).
//! A restart then refuses nobody, since clients queue while one process follows the other.

use std::net::{SocketAddr, TcpListener};

/// Listening sockets, each with the name that it was given.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, TcpListener)>);

impl Inherited {
    /// What `LISTEN_FDS` of the environment announces to this process.
    pub fn of_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<_> = names.split(':').collect();
        let mut sockets = listenfd::ListenFd::from_env();
        let taken = (0..sockets.len()).filter_map(|index| {
            let name = names.get(index).copied().unwrap_or_default();
            match sockets.take_tcp_listener(index) {
                Ok(socket) => socket.map(|socket| (name.to_owned(), socket)),
                Err(error) => {
                    tracing::warn!(
                        name,
                        %error,
                        remedy = "use ListenStream= with an address and a port",
                        "an inherited socket does not listen on TCP"
                    );
                    None
                }
            }
        });
        Self(taken.collect())
    }

    /// The socket of the listener `name`, or that of its address.
    pub(super) fn take(&mut self, name: &str, address: SocketAddr) -> Option<TcpListener> {
        let by_name = self.0.iter().position(|(given, _)| given == name);
        let serves = |socket: &TcpListener| {
            // A dual-stack socket serves IPv4 clients as well.
            socket.local_addr().is_ok_and(|bound| {
                bound == address
                    || (bound.port() == address.port()
                        && bound.ip().is_unspecified()
                        && address.ip().is_unspecified())
            })
        };
        let found = by_name.or_else(|| self.0.iter().position(|(_, socket)| serves(socket)))?;
        let (_, socket) = self.0.swap_remove(found);
        socket.set_nonblocking(true).ok()?;
        Some(socket)
    }

    /// Says which sockets nobody took.
    pub(super) fn complain_of_the_rest(self) {
        for (name, socket) in self.0 {
            tracing::warn!(
                name,
                address = socket.local_addr().ok().map(tracing::field::display),
                remedy = "name the socket (FileDescriptorName=) after a listener, or give a listener its address",
                "an inherited socket belongs to no listener"
            );
        }
    }
}
