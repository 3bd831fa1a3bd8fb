//! Peers that stop reading: what is on its way to them waits with whoever sends it.

use std::net::SocketAddr;
use std::time::Duration;

use authrelay::sandbox::{MAILBOX, PASSWORD};
use authrelay::wire::Protocol::{Imap, Pop3, Smtp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::processes::{MIB, Process};
use crate::stage::{Setup, greet};

/// Requirement 34: a gigabyte on its way to a client that has stopped reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_a_client_that_does_not_read_costs_no_memory() {
    let relay = Process::start(Setup::default()).await;
    let sandbox = &relay.prepared.sandbox;
    sandbox.deliver(MAILBOX, vec![b'x'; 64_000_000]);
    let fetch = async || {
        let mut client = relay.session(Imap).await;
        client
            .ask("b SELECT INBOX\r\n", "SELECT completed.\r\n")
            .await;
        for _ in 0..16 {
            client.send("c FETCH 4 BODY.PEEK[]\r\n").await;
        }
        client.exactly(4_000_000).await;
        client
    };
    let _warm = fetch().await;
    let before = relay.memory();
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(fetch().await);
    }
    let each = relay.growth(before).await / 4;
    assert!(each < MIB, "{} KiB for each", each / 1024);
    // The session is stopped, not broken.
    readers[0].exactly(10_000_000).await;
}

/// A way to a mail service on which nothing that goes up is read while it is told so.
struct Way {
    listener: TcpListener,
    stopped: watch::Sender<bool>,
}

impl Way {
    async fn bind() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            stopped: watch::Sender::new(false),
        }
    }

    /// For [`Setup::upstream_hosts`].
    fn host(&self) -> String {
        let port = self.listener.local_addr().unwrap().port();
        format!("host: localhost, port: {port},")
    }

    fn lead_to(self, upstream: SocketAddr) -> watch::Sender<bool> {
        let stopped = self.stopped.clone();
        tokio::spawn(async move {
            while let Ok((relay, _)) = self.listener.accept().await {
                let mut stopped = self.stopped.subscribe();
                let (mut from, mut to) = relay.into_split();
                let (mut answers, mut service) =
                    TcpStream::connect(upstream).await.unwrap().into_split();
                tokio::spawn(async move { tokio::io::copy(&mut answers, &mut to).await });
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while stopped.wait_for(|stopped| !stopped).await.is_ok() {
                        let octets = tokio::select! {
                            biased;
                            _ = stopped.changed() => continue,
                            octets = from.read(&mut buffer) => octets.unwrap_or(0),
                        };
                        if octets == 0 || service.write_all(&buffer[..octets]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        stopped
    }
}

/// A client that goes while its mail service takes nothing is noticed, although it is not read.
#[tokio::test]
async fn d17_a_client_that_is_gone_is_noticed_while_it_is_not_read() {
    let way = Way::bind().await;
    let relay = Setup::default().upstream_hosts(&way.host()).start().await;
    let stopped = way.lead_to(relay.sandbox.smtp());
    let mut client = Client::dial_to_reset(Smtp, relay.address(Smtp)).await;
    greet(&mut client).await;
    client.log_in(MAILBOX, PASSWORD).await;
    for command in [
        "MAIL FROM:<tickets@contoso.test>\r\n",
        "RCPT TO:<tickets@contoso.test>\r\n",
        "DATA\r\n",
    ] {
        client.ask(command, "\r\n").await;
    }
    stopped.send_replace(true);
    // More than all buffers on the way take.
    let text = ("x".repeat(70) + "\r\n").repeat(800_000);
    let sending = client.sends_unread(text);
    let _ = tokio::time::timeout(Duration::from_secs(2), sending).await;
    let session = relay.log.sessions(1).await.remove(0);
    assert_eq!(session["closed_by"], "client", "{session}");
    assert_eq!(relay.log.faults(), [""; 0]);
}

/// The same upwards, to a mail service that has stopped reading; also where a message is looked
/// into on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_an_upstream_that_does_not_read_costs_no_memory() {
    let policy = "registration: sandbox\n    smtp: {from: mailbox, max_size: 2GB}";
    let mail = &[
        "EHLO client.test\r\n",
        "MAIL FROM:<tickets@contoso.test>\r\n",
        "RCPT TO:<someone@example.com>\r\n",
        "DATA\r\n",
    ][..];
    let lines = ("x".repeat(70) + "\r\n").repeat(170_000);
    let text = format!("Subject: hello\r\n\r\n{lines}");
    let append = format!("b APPEND INBOX {{{}}}\r\n", text.len());
    let append = &[&*append][..];
    for (protocol, policy, commands, end) in [
        (Imap, None, append, "\r\n"),
        (Smtp, None, mail, ".\r\n"),
        (Smtp, Some(policy), mail, ".\r\n"),
    ] {
        let way = Way::bind().await;
        let mut setup = Setup::default().unlimited().upstream_hosts(&way.host());
        if let Some(policy) = policy {
            setup = setup.replace("registration: sandbox", policy);
        }
        let relay = Process::start(setup).await;
        let sandbox = &relay.prepared.sandbox;
        let stopped = way.lead_to(match protocol {
            Imap => sandbox.imap(),
            Pop3 | Smtp => sandbox.smtp(),
        });
        let mut clients = Vec::new();
        // As many as Exchange lets deliver at once.
        for _ in 0..3 {
            let mut client = relay.session(protocol).await;
            let mut reply = String::new();
            for command in commands {
                client.send(command).await;
                reply = client.reply().await;
            }
            assert!(reply.starts_with(['+', '3']), "{reply}");
            clients.push(client);
        }
        stopped.send_replace(true);
        let before = relay.memory();
        let mut senders = JoinSet::new();
        for mut client in clients {
            let rest = text.clone() + end;
            senders.spawn(async move {
                client.send(rest).await;
                client.reply().await
            });
        }
        let each = relay.growth(before).await / 3;
        assert!(each < MIB, "{protocol}: {} KiB for each", each / 1024);
        // The sessions were stopped, not broken: nothing is lost.
        stopped.send_replace(false);
        for reply in senders.join_all().await {
            let accepted = reply.starts_with("250 ") || reply.starts_with("b OK");
            assert!(accepted, "{protocol}: {reply}");
        }
    }
}
