//! Names and their addresses: a relay with hosts and a resolver of its own, in a namespace of its
//! own.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{Imap, Pop3, Smtp};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Client;
use crate::clock::still;
use crate::processes::Process;
use crate::redis::Server as Redis;
use crate::stage::Setup;

/// How long a login may take that passes over a dead address.
const SOON: Duration = Duration::from_secs(5);

/// The names of one relay.
struct Names {
    hosts: tempfile::NamedTempFile,
    resolver: tempfile::NamedTempFile,
}

impl Names {
    fn new() -> Self {
        let names = Self {
            hosts: tempfile::NamedTempFile::new().unwrap(),
            resolver: tempfile::NamedTempFile::new().unwrap(),
        };
        names.localhost(&["127.0.0.1"]);
        names
    }

    /// The files are mounted: they are written anew, not replaced.
    fn localhost(&self, addresses: &[&str]) {
        let line = |address: &&str| format!("{address} localhost\n");
        let lines = addresses.iter().map(line).collect::<String>();
        std::fs::write(self.hosts.path(), lines).unwrap();
    }

    async fn relay(&self, setup: Setup) -> Process {
        let script = format!(
            "mount --bind {} /etc/hosts; mount --bind {} /etc/resolv.conf; exec \"$@\"",
            self.hosts.path().display(),
            self.resolver.path().display(),
        );
        let unshare = ["unshare", "--user", "--map-root-user", "--mount", &script];
        Process::start_by(setup, &unshare).await
    }
}

/// An address that takes packets and answers none: its queue is full.
struct Dead {
    socket: Socket,
    _queue: Option<std::net::TcpStream>,
}

impl Dead {
    fn at(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        // The port may be that of another test's outgoing connection.
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(0).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            _queue: Some(std::net::TcpStream::connect(address).unwrap()),
        }
    }
}

async fn log_in(relay: &Process) -> (String, Duration) {
    let mut client = relay.connect(Imap).await;
    let began = Instant::now();
    let reply = client.log_in(LOGIN, PASSWORD).await;
    (reply, began.elapsed())
}

/// Requirement 31: an address that swallows packets costs a moment, or nothing where its family is
/// not wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r31_dead_addresses_are_passed_over() {
    for ip in ["any", "v4"] {
        let names = Names::new();
        let by = format!("    ca: ca.pem\n    ip: {ip}\n");
        let relay = names
            .relay(Setup::default().replace("    ca: ca.pem\n", &by))
            .await;
        let port = relay.prepared.sandbox.imap().port();
        let dead = Dead::at((Ipv6Addr::LOCALHOST, port).into());
        names.localhost(&["::1", "127.0.0.1"]);
        // The first waits a moment; the next know which address works.
        for _ in 0..3 {
            let (reply, took) = log_in(&relay).await;
            assert!(reply.starts_with("a OK"), "{reply}");
            assert!(took < SOON, "{took:?}");
        }
        // No one but the one who fills the queue has been there.
        dead.socket.accept().unwrap();
        if ip == "v4" {
            let error = dead.socket.accept().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
    }
}

/// Requirement 31: addresses are kept, and asked for anew at once where none of them answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r31_names_are_kept_and_asked_for_anew_after_a_failed_connect() {
    let names = Names::new();
    let relay = names.relay(Setup::default()).await;
    // No one is there.
    names.localhost(&["127.0.0.9"]);
    let (reply, _) = log_in(&relay).await;
    assert!(reply.contains("NO [UNAVAILABLE]"), "{reply}");
    names.localhost(&["127.0.0.1"]);
    let (reply, _) = log_in(&relay).await;
    assert!(reply.starts_with("a OK"), "{reply}");
    // What is known is used without a look.
    names.localhost(&["127.0.0.9"]);
    let (reply, _) = log_in(&relay).await;
    assert!(reply.starts_with("a OK"), "{reply}");
}

/// The login host has two addresses of one family, and the first is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d16_a_dead_address_of_the_login_host_is_passed_over() {
    let names = Names::new();
    names.localhost(&["127.0.0.1", "127.0.0.9"]);
    let alive = TcpListener::bind("127.0.0.9:0").await.unwrap();
    let port = alive.local_addr().unwrap().port();
    let _dead = Dead::at((Ipv4Addr::LOCALHOST, port).into());
    let url = format!("http://localhost:{port}/{{tenant}}/oauth2/v2.0/token");
    let relay = names.relay(Setup::default().token_url(&url)).await;
    let authority = relay.prepared.sandbox.authority();
    let endpoint = authority.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        let (mut from, _) = alive.accept().await.unwrap();
        let mut to = TcpStream::connect(endpoint).await.unwrap();
        tokio::io::copy_bidirectional(&mut from, &mut to).await
    });
    names.localhost(&["127.0.0.1", "127.0.0.9"]);
    let mut client = relay.connect(Pop3).await;
    let began = Instant::now();
    let reply = client.log_in(LOGIN, PASSWORD).await;
    assert!(reply.starts_with("+OK"), "{reply}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

/// The shared store's host has two addresses, and the first is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d16_a_dead_address_of_the_shared_store_is_passed_over() {
    let names = Names::new();
    names.localhost(&["::1", "127.0.0.1"]);
    let redis = Redis::start();
    let _dead = Dead::at((Ipv6Addr::LOCALHOST, redis.port).into());
    let state = format!(
        "directory: ./state\n  key: a key of this relay\n  store: {{url: \"redis://localhost:{}\"}}",
        redis.port
    );
    let setup = Setup::default().replace("directory: ./state", &state);
    let relay = names.relay(setup).await;
    let began = Instant::now();
    while !redis.ask(&["KEYS", "*"]).contains("authrelay:key") {
        assert!(began.elapsed() < SOON, "the store is not used");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    relay.session(Imap).await;
}

/// A name whose DNS says nothing holds up nobody else, whoever waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_a_silent_name_holds_up_nobody_else() {
    // A server of names that never answers; the port takes privileges.
    let _silent =
        UdpSocket::bind("127.0.0.153:53").expect("port 53: run as root, as tests/run does");
    let names = Names::new();
    std::fs::write(names.resolver.path(), "nameserver 127.0.0.153\n").unwrap();
    let setup = Setup::limits("sessions_per_client: 2000")
        .unlimited()
        .replace("imap: {host: localhost", "imap: {host: mail.silent.example");
    let relay = names.relay(setup).await;
    // The token is there, and so are the threads that logins need.
    relay.session(Pop3).await;
    let before = relay.threads();
    let mut waiting = Vec::new();
    for _ in 0..900 {
        let mut client = relay.connect(Imap).await;
        client
            .send(format!("a LOGIN \"{LOGIN}\" \"{PASSWORD}\"\r\n"))
            .await;
        waiting.push(client);
    }
    let began = Instant::now();
    relay.session(Pop3).await;
    relay.session(Smtp).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let threads = relay.threads();
    assert!(threads < before + 50, "{threads} threads, {before} before");
    let _: Option<Client> = waiting.pop();
}

/// An egress proxy that hangs is named, since the mail service has not been asked.
#[test]
fn an_egress_proxy_that_hangs_is_named() {
    still(|clock| async move {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = proxy.local_addr().unwrap();
        let egress = format!("    ca: ca.pem\n    egress: {{url: 'http://{address}'}}\n");
        let relay = Setup::default()
            .replace("    ca: ca.pem\n", &egress)
            .start()
            .await;
        let mut client = relay.connect(Imap).await;
        let login = client.log_in(LOGIN, PASSWORD);
        let reply = clock.until_ready(Duration::from_secs(30), login).await;
        assert!(reply.contains("NO [UNAVAILABLE]"), "{reply}");
        relay.log.wait_for("fault").await;
        let fault = relay.log.named("fault").remove(0);
        let detail = fault["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("egress proxy {address}")),
            "{detail}"
        );
    });
}
