//! Listeners: whose socket is whose, what they hold while no one comes, how they are replaced, and
//! whom they count together.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authrelay::config::LogFormat;
use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};
use tokio::net::TcpStream;
use tracing::Level;

use crate::client::Client;
use crate::clock::still;
use crate::daemon::Daemon;
use crate::processes::Process;
use crate::stage::{Relay, Setup, greet, is_success};

/// A listener of the sandbox's configuration, moved to `bind`.
fn moved(setup: Setup, name: &str, bind: &str) -> Setup {
    let listener = format!("name: {name}, protocol: {name}, bind: ");
    setup.replace(
        &format!("{listener}\"127.0.0.1:0\", provider: microsoft365"),
        &format!(
            "{listener}\"{bind}\", provider: microsoft365, allow: [127.0.0.0/8, \"::1\"], allow_cleartext: true"
        ),
    )
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A socket as systemd makes it, which the relay inherits.
fn inherited(address: SocketAddr, only_v6: bool) -> std::net::TcpListener {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(only_v6).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    socket.set_cloexec(false).unwrap();
    socket.into()
}

/// A relay started with these sockets, in this order.
async fn activated(setup: Setup, sockets: &[std::net::TcpListener]) -> Process {
    use std::os::fd::AsRawFd as _;
    // Out of the way first: the descriptors may overlap with those that they become.
    let away = sockets.iter().enumerate();
    let away = away.map(|(n, socket)| format!("{}<&{} ", 100 + n, socket.as_raw_fd()));
    let here = (0..sockets.len()).map(|n| format!("{}<&{} ", 3 + n, 100 + n));
    let script = format!(
        "exec {}; exec {}; export LISTEN_FDS={} LISTEN_PID=$$; exec \"$@\"",
        away.collect::<String>(),
        here.collect::<String>(),
        sockets.len(),
    );
    Process::start_by(setup, &[&script]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_each_listener_gets_the_socket_of_its_very_address() {
    for swapped in [false, true] {
        let port = free_port();
        let setup = moved(Setup::default(), "imap", &format!("0.0.0.0:{port}"));
        let setup = moved(setup, "pop3", &format!("[::]:{port}"));
        let v4 = inherited(format!("0.0.0.0:{port}").parse().unwrap(), false);
        let v6 = inherited(format!("[::]:{port}").parse().unwrap(), true);
        let sockets = match swapped {
            false => [v4, v6],
            true => [v6, v4],
        };
        let _relay = activated(setup, &sockets).await;
        for (protocol, host) in [(Imap, "127.0.0.1"), (Pop3, "[::1]")] {
            let address = format!("{host}:{port}").parse().unwrap();
            let mut client = Client::dial(protocol, address).await;
            greet(&mut client).await;
        }
    }
}

/// A socket for both families serves a listener of IPv4 that no other socket fits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_a_dual_stack_socket_serves_ipv4_where_no_other_does() {
    let port = free_port();
    let setup = moved(Setup::default(), "imap", &format!("0.0.0.0:{port}"));
    let both = inherited(format!("[::]:{port}").parse().unwrap(), false);
    let _relay = activated(setup, &[both]).await;
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    greet(&mut Client::dial(Imap, address).await).await;
}

/// A socket unit with `Accept=yes` hands over a client's connection, from which no other client can be
/// accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_inherited_is_no_listeners_socket() {
    let listener = inherited("127.0.0.1:0".parse().unwrap(), false);
    let address = listener.local_addr().unwrap();
    let _client = std::net::TcpStream::connect(address).unwrap();
    let (connection, _) = listener.accept().unwrap();
    let inheritable = socket2::SockRef::from(&connection).set_cloexec(false);
    inheritable.unwrap();
    drop(listener);
    let setup = moved(Setup::default(), "imap", &address.to_string());
    let connection = std::os::fd::OwnedFd::from(connection);
    let _relay = activated(setup, &[connection.into()]).await;
    greet(&mut Client::dial(Imap, address).await).await;
}

/// `[::]` is IPv6 alone: each family has a listener of its own.
#[test]
fn both_families_have_listeners_on_one_port() {
    still(|_| async {
        let port = free_port();
        let setup = moved(Setup::default(), "imap", &format!("[::]:{port}"));
        let setup = moved(setup, "pop3", &format!("0.0.0.0:{port}"));
        let _relay = setup.start().await;
        for (protocol, host) in [(Pop3, "127.0.0.1"), (Imap, "[::1]")] {
            let address = format!("{host}:{port}").parse().unwrap();
            greet(&mut Client::dial(protocol, address).await).await;
        }
    });
}

/// After a burst of clients that are turned away, every session can be had at any listener.
#[test]
fn d11_listeners_without_clients_hold_nothing() {
    still(|_| async {
        let relay = Setup::limits("sessions: 2")
            .log(LogFormat::Json, Level::DEBUG)
            .start()
            .await;
        let sessions = [relay.connect(Pop3).await, relay.connect(Pop3).await];
        let mut burst = Vec::new();
        for n in 0..32 {
            burst.push(relay.dial(Protocol::ALL[n % 3]).await);
        }
        // As many as are told at once; they keep their connections.
        for client in &mut burst {
            assert!(!client.line().await.is_empty());
        }
        drop(sessions);
        relay.log.sessions(2).await;
        drop(burst);
        relay.log.sessions(34).await;
        for protocol in Protocol::ALL {
            let ended = relay.log.named("session").len();
            let both = [relay.connect(protocol).await, relay.connect(protocol).await];
            drop(both);
            relay.log.sessions(ended + 2).await;
        }
    });
}

/// Whoever may not be here fills no log.
#[test]
fn d14_connections_that_are_turned_away_are_told_a_few_times() {
    let allow = "provider: microsoft365, allow: [10.0.0.0/8]";
    let balancers = "provider: microsoft365, proxy_protocol: [10.0.0.0/8], allow: [192.0.2.0/24], allow_cleartext: true";
    for (listener, message) in [
        (allow, "client outside the listener's allow list"),
        (balancers, "not a load balancer's connection"),
    ] {
        still(|clock| async move {
            let setup =
                Setup::default().replace("provider: microsoft365}", &format!("{listener}}}"));
            let relay = setup.start().await;
            for _ in 0..50 {
                assert_eq!(relay.dial(Imap).await.rest().await, "");
            }
            assert_eq!(relay.log.named(message).len(), 5);
            clock.advance(Duration::from_secs(60)).await;
            assert_eq!(relay.dial(Imap).await.rest().await, "");
            assert_eq!(relay.log.named(message).len(), 6);
            let again = relay.log.named("the same connections again");
            assert_eq!((again.len(), &again[0]["left_out"]), (1, &45.into()));
            assert_eq!(again[0]["client"], "127.0.0.1");
        });
    }
}

#[test]
fn d15_an_address_is_widened_and_narrowed_by_a_reload() {
    still(|_| async {
        let port = free_port();
        let narrow = format!("127.0.0.1:{port}");
        let wide = format!("0.0.0.0:{port}");
        let relay = moved(Setup::default(), "imap", &narrow).start().await;
        let mut open = Client::dial(Imap, narrow.parse().unwrap()).await;
        greet(&mut open).await;
        for (from, to) in [(&narrow, &wide), (&wide, &narrow), (&narrow, &wide)] {
            relay.rewrite(&[(from.as_str(), to.as_str())]);
            let applied = relay.control.reload().await.unwrap();
            assert_eq!(applied.listeners, 3);
            let mut client = Client::dial(Imap, narrow.parse().unwrap()).await;
            greet(&mut client).await;
            // The port is not shared with whoever comes.
            assert!(std::net::TcpListener::bind(to.as_str()).is_err(), "{to}");
        }
        open.assert_goes_on().await;
    });
}

/// Somebody else has a part of it: nothing changes.
#[test]
fn d15_an_address_that_cannot_be_widened_stays() {
    still(|_| async {
        let port = free_port();
        let narrow = format!("127.0.0.1:{port}");
        let relay = moved(Setup::default(), "imap", &narrow).start().await;
        let _other = std::net::TcpListener::bind(format!("127.0.0.2:{port}")).unwrap();
        relay.rewrite(&[(narrow.as_str(), format!("0.0.0.0:{port}").as_str())]);
        let problems = relay.control.reload().await.unwrap_err();
        assert!(problems[0].contains("cannot listen on"), "{problems:?}");
        let mut client = Client::dial(Imap, narrow.parse().unwrap()).await;
        greet(&mut client).await;
        assert!(std::net::TcpListener::bind(narrow).is_err());
    });
}

fn announcing() -> Setup {
    Setup::default().replace(
        "provider: microsoft365}",
        "provider: microsoft365, proxy_protocol: [127.0.0.1], allow: [\"2001:db8::/32\"], allow_cleartext: true}",
    )
}

/// A client at an IPv6 address, whose PROXY header has been sent.
async fn from(relay: &Relay, address: &str) -> Client {
    let mut client = relay.dial(Imap).await;
    client
        .send(format!("PROXY TCP6 {address} 2001:db8::1 4711 143\r\n"))
        .await;
    client
}

#[test]
fn d28_guesses_from_one_ipv6_network_count_together() {
    still(|clock| async move {
        let setup = announcing().append("limits: {lockout: {failures: 3}}\n");
        let relay = setup.start().await;
        let patience = Duration::from_secs(60);
        let log_in = async |address: &str, password: &str| {
            let mut client = from(&relay, address).await;
            greet(&mut client).await;
            clock
                .until_ready(patience, client.log_in(LOGIN, password))
                .await
        };
        for host in 1..=3 {
            log_in(&format!("2001:db8:0:1::{host}"), "guess").await;
        }
        let locked = log_in("2001:db8:0:1:ffff::4", PASSWORD).await;
        assert!(locked.contains("AUTHENTICATIONFAILED"), "{locked}");
        let elsewhere = log_in("2001:db8:0:2::1", PASSWORD).await;
        assert!(is_success(Imap, &elsewhere), "{elsewhere}");
    });
}

#[test]
fn d28_sessions_of_one_ipv6_network_count_together() {
    still(|_| async {
        let setup = announcing().append("limits: {sessions_per_client: 1}\n");
        let relay = setup.start().await;
        let mut first = from(&relay, "2001:db8:0:1::1").await;
        greet(&mut first).await;
        let refused = from(&relay, "2001:db8:0:1::2").await.line().await;
        assert!(refused.starts_with("* BYE "), "{refused}");
        greet(&mut from(&relay, "2001:db8:0:2::1").await).await;
        first.assert_goes_on().await;
    });
}

/// A reload waits for a secret's command that hangs; the end does not wait for the reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_the_end_does_not_wait_for_a_reload() {
    let setup = Setup::limits("drain_timeout: 9s");
    let mut relay = Daemon::start(setup).await;
    let path = relay.prepared.path();
    let begun = path.with_file_name("begun");
    let yaml = std::fs::read_to_string(&path).unwrap();
    let hanging = format!(
        "password: {{command: [sh, -c, \"sleep 600 & echo $! >{0}.new; mv {0}.new {0}; wait\"]}}",
        begun.display()
    );
    let password = format!("password: \"{PASSWORD}\"");
    assert!(yaml.contains(&password));
    std::fs::write(&path, yaml.replace(&password, &hanging)).unwrap();
    let (mut client, reply) = relay.log_in(Smtp).await;
    assert!(is_success(Smtp, &reply), "{reply}");
    relay.signal("HUP");
    while !begun.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    let address = relay.address(Imap);
    relay.signal("TERM");
    while TcpStream::connect(address).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(8), "listens on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    relay.stop().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    client.rest().await;
    // d40: nothing that was started stays behind.
    let pid = std::fs::read_to_string(&begun).unwrap();
    let is_alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    let end = Instant::now() + Duration::from_secs(30);
    while is_alive() {
        assert!(Instant::now() < end, "the command's child lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A shortage of descriptors is one warning, whichever listener and thread meets it, and so is its
/// end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f63_a_shortage_of_descriptors_is_logged_once() {
    const CANNOT: &str = "cannot accept clients for now";
    const AGAIN: &str = "clients are accepted again";
    let relay = Daemon::with_descriptors(Setup::default(), 60).await;
    let mut crowd = Vec::new();
    for number in 0..100 {
        // The kernel lets them in; the relay cannot accept all of them.
        let protocol = Protocol::ALL[number % 3];
        crowd.push(Client::dial(protocol, relay.address(protocol)).await);
    }
    relay.wait_for_count(CANNOT, 1).await;
    // Time for ten tries of each listener.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(relay.said(CANNOT).len(), 1);
    assert_eq!(relay.said(AGAIN).len(), 0);
    drop(crowd);
    let end = Instant::now() + Duration::from_secs(20);
    while relay.said(AGAIN).is_empty() {
        assert!(Instant::now() < end, "not accepted again");
        let (_, reply) = relay.log_in(Imap).await;
        assert!(is_success(Imap, &reply), "{reply}");
    }
    assert_eq!(relay.said(CANNOT).len(), 1);
    assert_eq!(relay.said(AGAIN).len(), 1);
}
