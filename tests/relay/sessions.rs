//! Sessions that stop, break, or stay open too long; and those beside them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use authrelay::sandbox::{Fault, LOGIN, MAILBOX, PASSWORD, Seen};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::clock::{patient, still};
use crate::stage::{Relay, Setup, is_success};

/// A client that has ended its direction gets everything that is still due.
#[test]
fn r29_half_closed_clients_get_what_is_theirs() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut client = relay.session(Imap).await;
        client
            .send("b SELECT INBOX\r\nc FETCH 1:3 BODY.PEEK[]\r\nd NOOP\r\n")
            .await;
        client.half_close().await;
        let said = client.rest().await;
        assert!(said.ends_with("d OK NOOP completed.\r\n"), "{said}");
        for message in relay.sandbox.messages(MAILBOX) {
            assert!(said.contains(std::str::from_utf8(&message).unwrap()));
        }
        let mut client = relay.session(Pop3).await;
        client.send("RETR 1\r\nSTAT\r\n").await;
        client.half_close().await;
        let said = client.rest().await;
        assert!(said.contains("\r\n.\r\n+OK 3 "), "{said}");
        let mut client = relay.session(Smtp).await;
        client
            .send("MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\nx\r\n.\r\n")
            .await;
        client.half_close().await;
        let said = client.rest().await;
        assert!(
            said.lines().last().unwrap().starts_with("250 2.0.0 OK <"),
            "{said}"
        );
        drop(client);
        for session in relay.log.sessions(3).await {
            assert_eq!(session["closed_by"], "client", "{session}");
            assert_eq!(session.get("fault"), None, "{session}");
        }
    });
}

/// One that has ended its direction and does not take what it asked for is given a minute.
#[test]
fn r29_half_closed_clients_that_do_not_read_are_reaped() {
    still(|clock| async move {
        let relay = Relay::start().await;
        relay.sandbox.deliver(MAILBOX, vec![b'x'; 30_000_000]);
        let mut client = relay.session(Imap).await;
        client
            .ask("b SELECT INBOX\r\n", "SELECT completed.\r\n")
            .await;
        client.send("c FETCH 4 BODY.PEEK[]\r\n").await;
        client.line().await;
        client.half_close().await;
        clock
            .until_ready(Duration::from_secs(120), relay.log.sessions(1))
            .await;
        assert!(clock.elapsed() >= Duration::from_secs(60));
        let open = relay.sandbox.wait_for(|seen| seen.open.imap == 0);
        patient("the upstream's end", open).await;
    });
}

/// An address that takes no connection and refuses none: its queue is full.
struct BlackHole {
    address: SocketAddr,
    _socket: Socket,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    async fn dig() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        // A backlog of 0 holds one connection.
        let queue = vec![TcpStream::connect(address).await.unwrap()];
        Self {
            address,
            _socket: socket,
            _queue: queue,
        }
    }
}

/// Packets that vanish on the way to the mail service: the client has its answer in time.
#[test]
fn r32_an_upstream_in_a_black_hole_is_answered_in_time() {
    for protocol in Protocol::ALL {
        for (limits, seconds) in [
            ("upstream_timeout: 20s", 20),
            ("login_timeout: 30s, upstream_timeout: 10m", 28),
        ] {
            still(|clock| async move {
                let hole = BlackHole::dig().await;
                let host = format!("host: 127.0.0.1, port: {},", hole.address.port());
                let relay = Setup::limits(limits).upstream_hosts(&host).start().await;
                let mut client = relay.connect(protocol).await;
                let mut log_in = std::pin::pin!(client.log_in(LOGIN, PASSWORD));
                tokio::select! {
                    reply = &mut log_in => panic!("{reply}"),
                    () = relay.log.wait_for("token obtained") => {}
                }
                let most = Duration::from_secs(seconds + 8);
                let reply = clock.until_ready(most, log_in).await;
                let says = ["a NO [UNAVAILABLE] ", "-ERR [SYS/TEMP] ", "454 4.7.0 "];
                assert!(reply.starts_with(says[protocol as usize]), "{reply}");
                assert!(clock.elapsed() >= Duration::from_secs(seconds));
                assert_eq!(relay.log.faults(), ["upstream: unreachable"]);
            });
        }
    }
}

/// Whatever hangs, its own fault comes 2 s before the login's deadline would.
#[test]
fn r32_every_wait_ends_before_the_login_s_deadline() {
    type Stuck = fn(&Seen) -> bool;
    let cases: [(Fault, &str, Stuck); 3] = [
        (Fault::TokenSlow, "identity_provider: unavailable", |seen| {
            seen.token_requests == 1
        }),
        (Fault::UpstreamSilent, "upstream: unreachable", |seen| {
            seen.open.total() == 1
        }),
        (Fault::AuthHangs, "upstream: unreachable", |seen| {
            seen.auth_attempts.total() == 1
        }),
    ];
    for protocol in Protocol::ALL {
        for (fault, kind, stuck) in cases {
            still(|clock| async move {
                let limits = "login_timeout: 30s, upstream_timeout: 10m";
                let relay = Setup::limits(limits).start().await;
                relay.sandbox.set_fault(Some(fault));
                let mut client = relay.connect(protocol).await;
                let mut log_in = std::pin::pin!(client.log_in(LOGIN, PASSWORD));
                tokio::select! {
                    reply = &mut log_in => panic!("{reply}"),
                    _ = relay.sandbox.wait_for(stuck) => {}
                }
                clock.advance(Duration::from_secs(27)).await;
                assert_eq!(relay.log.faults(), [""; 0], "{fault}");
                let reply = clock.until_ready(Duration::from_secs(10), log_in).await;
                assert!(!is_success(protocol, &reply), "{reply}");
                assert_eq!(relay.log.faults(), [kind], "{fault}");
            });
        }
    }
}

/// A bug in one session ends that session, and nothing else.
#[test]
fn r38_a_panic_ends_its_own_session_only() {
    still(|_| async {
        let relay = Setup::limits("sessions: 3").start().await;
        let mut beside = relay.session(Imap).await;
        let mut logging_in = relay.connect(Pop3).await;
        relay.log.panic_at("planted-bug");
        let mut broken = relay.connect(Imap).await;
        broken.send("a LOGIN planted-bug x\r\n").await;
        assert_eq!(broken.rest().await, "");
        let session = relay.log.sessions(1).await.remove(0);
        assert_eq!(session["fault"], "authrelay: internal", "{session}");
        assert_eq!(session["login"], "planted-bug", "{session}");
        // Its neighbours go on, its seat is free, and the door is open.
        let answer = beside.ask("b NOOP\r\n", "\r\n").await;
        assert_eq!(answer, "b OK NOOP completed.\r\n");
        let reply = logging_in.log_in(LOGIN, PASSWORD).await;
        assert!(is_success(Pop3, &reply), "{reply}");
        relay.session(Smtp).await;
    });
}

/// Threads that accept from one listener share its limit, its reloads and its end.
#[tokio::test]
async fn sessions_on_several_threads_belong_to_one_relay() {
    const SESSIONS: usize = 24;
    let setup = Setup::limits(&format!("sessions: {SESSIONS}"));
    let relay = setup.processors(6).start().await;
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        clients.push(relay.session(Imap).await);
    }
    let mut beyond = relay.dial(Imap).await;
    let said = beyond.rest().await;
    assert!(said.starts_with("* BYE "), "{said}");
    let other = "accounts:\n  - {login: other, registration: sandbox, mailbox: helpdesk@contoso.test, password: other-password}\n";
    relay.rewrite(&[("accounts:\n", other)]);
    let applied = relay.control.reload().await.unwrap();
    assert_eq!(applied.sessions_ended, 0);
    for client in &mut clients {
        assert_eq!(
            client.ask("b NOOP\r\n", "\r\n").await,
            "b OK NOOP completed.\r\n"
        );
    }
    relay.shut_down();
    for client in &mut clients {
        let said = client.rest().await;
        assert!(said.starts_with("* BYE "), "{said}");
    }
    relay.end().await;
}
