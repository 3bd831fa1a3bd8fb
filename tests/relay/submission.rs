//! What a mailbox may send, for whom, and how much at once.

use std::time::Duration;

use authrelay::sandbox::{MAILBOX, PASSWORD};
use authrelay::wire::Protocol::Smtp;

use crate::client::{Client, plain};
use crate::clock::{patient, still};
use crate::stage::{Relay, Setup, greet};

const DEVICES: &str = "  - {name: devices, protocol: smtp, bind: \"127.0.0.1:0\", provider: microsoft365, \
    allow: [\"127.0.0.0/8\"], unauthenticated: tickets@contoso.test}\n\nproviders:";

/// With a listener for devices, and `smtp` for the account.
fn devices(smtp: &str) -> Setup {
    Setup::default()
        .replace("\nproviders:", DEVICES)
        .append(&format!("    smtp: {{{smtp}}}\n"))
}

/// Sends a whole transaction and gives the four replies.
async fn send(client: &mut Client, from: &str, to: &str, message: &str) -> Vec<String> {
    let mut replies = Vec::new();
    for command in [
        format!("MAIL FROM:<{from}>\r\n"),
        format!("RCPT TO:<{to}>\r\n"),
        "DATA\r\n".to_owned(),
        format!("{message}.\r\n"),
    ] {
        client.send(command).await;
        replies.push(client.reply().await);
    }
    replies
}

#[test]
fn devices_send_by_helo_alone_as_the_mailbox() {
    still(|_| async {
        let relay =
            devices("senders: [root@localhost], recipients: [\"*@contoso.test\"], from: mailbox")
                .start()
                .await;
        let mut client = Client::dial(Smtp, relay.listener("devices")).await;
        client.line().await;
        assert!(
            client
                .ask("HELO scanner\r\n", "\r\n")
                .await
                .starts_with("250 ")
        );
        relay.assert_untouched("before MAIL");
        let message = "From: Scanner <root@localhost>\r\n\r\nx\r\n";
        let replies = send(&mut client, "root@localhost", MAILBOX, message).await;
        assert!(replies[3].starts_with("250 2.0.0 OK <"), "{replies:?}");
        let stored = relay.sandbox.messages(MAILBOX).remove(3);
        assert_eq!(
            String::from_utf8_lossy(&stored),
            format!("From: Scanner <{MAILBOX}>\r\nReply-To: Scanner <root@localhost>\r\n\r\nx\r\n")
        );
        let refused = client.ask("MAIL FROM:<evil@x.test>\r\n", "\r\n").await;
        assert!(refused.starts_with("550 5.7.1 "), "{refused}");
        client.ask("MAIL FROM:<root@localhost>\r\n", "\r\n").await;
        let refused = client.ask("RCPT TO:<a@elsewhere.test>\r\n", "\r\n").await;
        assert!(refused.starts_with("550 5.7.1 "), "{refused}");
        assert_eq!(relay.log.faults(), ["policy: message"; 2]);
        // The listener takes AUTH too.
        let mut client = Client::dial(Smtp, relay.listener("devices")).await;
        greet(&mut client).await;
        let auth = format!("AUTH PLAIN {}\r\n", plain(MAILBOX, PASSWORD));
        assert!(client.ask(&auth, "\r\n").await.starts_with("235 "));
    });
}

/// In the middle of DATA: nothing is completed upstream, and the client hears why at its end.
#[test]
fn r13_a_message_over_the_size_never_arrives() {
    still(|_| async {
        let relay = devices("senders: [\"*\"], recipients: [\"*@contoso.test\"], max_size: 1kB")
            .start()
            .await;
        let mut client = relay.session(Smtp).await;
        let large = "x".repeat(78) + "\r\n";
        let replies = send(&mut client, MAILBOX, MAILBOX, &large.repeat(20)).await;
        assert!(replies[3].starts_with("552 5.3.4 "), "{replies:?}");
        assert!(client.rest().await.starts_with("421 "));
        relay.sandbox.wait_for(|seen| seen.open.smtp == 0).await;
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3);
        let mut client = relay.session(Smtp).await;
        let said = client
            .ask(&format!("MAIL FROM:<{MAILBOX}> SIZE=1001\r\n"), "\r\n")
            .await;
        assert!(said.starts_with("552 5.3.4 "), "{said}");
    });
}

/// Ten senders on one mailbox: never more than three upstream, and all of them succeed.
#[test]
fn r39_ten_senders_take_turns_on_three_places() {
    still(|_| async {
        let relay = Relay::start().await;
        let sender = async |_n: usize| {
            let mut client = relay.session(Smtp).await;
            let replies = send(&mut client, MAILBOX, MAILBOX, "x\r\n").await;
            assert!(replies[3].starts_with("250 2.0.0 OK <"), "{replies:?}");
            client.ask("QUIT\r\n", "\r\n").await;
        };
        patient("ten senders", async {
            tokio::join!(
                sender(0),
                sender(1),
                sender(2),
                sender(3),
                sender(4),
                sender(5),
                sender(6),
                sender(7),
                sender(8),
                sender(9),
            )
        })
        .await;
        let seen = relay.sandbox.seen();
        assert_eq!(seen.logins.smtp, 10);
        assert!(
            seen.peak_connections.smtp <= 3,
            "{}",
            seen.peak_connections.smtp
        );
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 13);
    });
}

#[test]
fn a_client_that_gets_no_place_is_told_in_time() {
    still(|clock| async move {
        let relay = Relay::start().await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(relay.session(Smtp).await);
        }
        let mut client = relay.connect(Smtp).await;
        let reply = client.log_in(MAILBOX, PASSWORD);
        let reply = clock.until_ready(Duration::from_secs(30), reply).await;
        assert!(reply.starts_with("454 4.7.0 "), "{reply}");
        assert_eq!(relay.log.faults(), ["upstream: full"]);
    });
}
