//! Literals of IMAP as they pass the relay: nothing of ours within one, and no session that waits
//! for one that never comes.

use authrelay::wire::Protocol::Imap;

use crate::client::END;
use crate::clock::{patient, still};
use crate::service::Service;

/// Part of a literal, up to the end of a line.
const HEADER: &str = "Subject: hello\r\n";

/// The mail service goes in the middle of a literal whose line is as long as this.
#[test]
fn d03_no_last_word_within_a_literal_however_long_its_line_is() {
    for length in [
        40, 90, 95, 96, 97, 98, 99, 100, 101, 102, 103, 110, 130, 4_000,
    ] {
        still(|_| async move {
            let announcement = "BODY[HEADER] {310}\r\n";
            let padding = length - announcement.len() - "* 12 FETCH () ".len() + 2;
            let line = format!("* 12 FETCH ({}) {announcement}", "x".repeat(padding));
            assert_eq!(line.len(), length + 2);
            let said = line.clone();
            let service = Service::imap(move |mut upstream| {
                let said = said.clone();
                async move {
                    upstream.line().await;
                    upstream.say(&said).await;
                    upstream.say(HEADER).await;
                }
            })
            .await;
            let relay = service.setup().start().await;
            let mut client = relay.session(Imap).await;
            client.send("b FETCH 12 BODY[HEADER]\r\n").await;
            let got = client.rest().await;
            assert_eq!(got, line + HEADER, "{length}");
            drop(client);
            relay.log.sessions(1).await;
            assert_eq!(relay.log.faults(), ["upstream: lost"]);
        });
    }
}

/// A shutdown waits for the rest of a literal, and for nothing that is over.
#[test]
fn d03_appends_with_long_lines_drain() {
    for length in [60, 96, 97, 98, 100, 102, 103, 200] {
        still(|_| async move {
            let service = Service::imap(|mut upstream| async move {
                upstream.line().await;
                upstream.exactly("abcd\r\n".len()).await;
                upstream.say("b OK appended\r\n").await;
                upstream.until_it_goes().await;
            })
            .await;
            let relay = service.setup().start().await;
            let mut client = relay.session(Imap).await;
            let name = "m".repeat(length - "b APPEND  {4+}".len());
            client
                .send(format!("b APPEND {name} {{4+}}\r\nabcd\r\n"))
                .await;
            assert_eq!(client.line().await, "b OK appended\r\n");
            relay.shut_down();
            let bye = client.until(END).await;
            assert!(bye.starts_with("* BYE "), "{length}: {bye}");
            drop(client);
            patient("the end", relay.end()).await;
        });
    }
}

/// A literal that its client waits to send is refused, also where one stood before it.
#[test]
fn d12_a_refused_literal_is_not_waited_for() {
    for before in ["", "{4+}\r\nabcd ", "{2+}\r\nab {2+}\r\ncd "] {
        still(|_| async move {
            let service = Service::imap(move |mut upstream| async move {
                for _ in before.lines() {
                    upstream.line().await;
                }
                if before.is_empty() {
                    upstream.line().await;
                }
                upstream.say("b BAD [TOOBIG] too large\r\n").await;
                upstream.until_it_goes().await;
            })
            .await;
            let relay = service.setup().start().await;
            let mut client = relay.session(Imap).await;
            let reply = client
                .ask(&format!("b APPEND {before}{{5000}}\r\n"), "\r\n")
                .await;
            assert_eq!(reply, "b BAD [TOOBIG] too large\r\n");
            relay.shut_down();
            let bye = client.until(END).await;
            assert!(bye.starts_with("* BYE "), "{before:?}: {bye}");
            drop(client);
            patient("the end", relay.end()).await;
        });
    }
}
