//! A login from greeting to success, both dialogues, without IO: what the machines cost beside
//! sockets and TLS.

use std::hint::black_box;
use std::sync::Arc;

use authrelay::login::Step;
use authrelay::login::back::{self, Back, Ready, Stage, UpstreamCredentials};
use authrelay::login::front::{self, Advertised, Front, Request};
use authrelay::secret::Secret;
use authrelay::wire::Protocol;
use authrelay::wire::sasl::Mechanism;
use criterion::{Criterion, criterion_group, criterion_main};

/// What the two peers say.
struct Dialogue {
    protocol: Protocol,
    client: &'static [&'static str],
    upstream: &'static [&'static str],
    stage: Stage,
}

const DIALOGUES: [Dialogue; 3] = [
    Dialogue {
        protocol: Protocol::Imap,
        client: &[
            "a1 CAPABILITY\r\n",
            "a2 LOGIN \"tickets@contoso.test\" \"sandbox-local-7Qx2\"\r\n",
        ],
        upstream: &[
            "* OK The Microsoft Exchange IMAP4 service is ready. [UwBJADIA]\r\n",
            "* CAPABILITY IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN \
             IDLE NAMESPACE LITERAL+\r\nA1 OK CAPABILITY completed.\r\n",
            "A1 OK AUTHENTICATE completed.\r\n",
        ],
        stage: Stage::Implicit,
    },
    Dialogue {
        protocol: Protocol::Pop3,
        client: &[
            "CAPA\r\n",
            "USER tickets@contoso.test\r\n",
            "PASS sandbox-local-7Qx2\r\n",
        ],
        upstream: &[
            "+OK The Microsoft Exchange POP3 service is ready. [QwBQ]\r\n",
            "+OK\r\nTOP\r\nUIDL\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n.\r\n",
            "+ \r\n",
            "+OK User successfully authenticated.\r\n",
        ],
        stage: Stage::Implicit,
    },
    Dialogue {
        protocol: Protocol::Smtp,
        client: &[
            "EHLO client\r\n",
            "AUTH PLAIN AHRpY2tldHNAY29udG9zby50ZXN0AHNhbmRib3gtbG9jYWwtN1F4Mg==\r\n",
        ],
        upstream: &[
            "250-SY5P282CA0097.outlook.office365.com Hello [192.0.2.1]\r\n250-SIZE 157286400\r\n250-PIPELINING\r\n\
             250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250-AUTH LOGIN XOAUTH2\r\n250-8BITMIME\r\n250-BINARYMIME\r\n\
             250-CHUNKING\r\n250 SMTPUTF8\r\n",
            "334 \r\n",
            "235 2.7.0 Authentication successful\r\n",
        ],
        stage: Stage::Upgraded,
    },
];

fn login(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("login");
    let capabilities: Arc<[String]> = ["UIDPLUS", "SIZE 157286400"].map(str::to_owned).into();
    let upstream = UpstreamCredentials {
        mailbox: "tickets@contoso.test".into(),
        token: Secret::from("e".repeat(2_000)),
        mechanism: Mechanism::Xoauth2,
        host: "outlook.office365.com".into(),
        port: 993,
        client_name: "[192.0.2.1]".into(),
    };
    for dialogue in DIALOGUES {
        group.bench_function(dialogue.protocol.name(), |bencher| {
            bencher.iter(|| {
                let offer = Advertised {
                    capabilities: capabilities.clone(),
                    starttls: false,
                    credentials: true,
                    unauthenticated: false,
                    greet: true,
                    encrypted: false,
                };
                let mut front = front::new(dialogue.protocol, offer);
                let login = upstream.clone();
                let mut back = back::new(dialogue.protocol, login, dialogue.stage);
                assert!(knock(front.as_mut(), black_box(dialogue.client)));
                let ready = log_in(back.as_mut(), black_box(dialogue.upstream));
                front.accept(&ready.accepted)
            });
        });
    }
    group.finish();
}

/// The client's side up to its credentials.
fn knock(front: &mut dyn Front, client: &[&str]) -> bool {
    let mut client = client.iter();
    loop {
        match front.next() {
            Step::Write(bytes) => drop(black_box(bytes)),
            Step::Read => match client.next() {
                Some(words) => front.receive(words.as_bytes()),
                None => return false,
            },
            Step::Done(Request::Login(_)) => return true,
            Step::Done(Request::Quit | Request::Unauthenticated)
            | Step::StartTls
            | Step::Failed(_) => return false,
        }
    }
}

/// The upstream's side up to its success.
fn log_in(back: &mut dyn Back, upstream: &[&str]) -> Ready {
    let mut upstream = upstream.iter();
    loop {
        match back.next() {
            Step::Write(bytes) => drop(black_box(bytes)),
            Step::Read => {
                let words = upstream.next().expect("the dialogue is complete");
                back.receive(words.as_bytes());
            }
            Step::Done(ready) => return ready,
            other @ (Step::StartTls | Step::Failed(_)) => panic!("{other:?}"),
        }
    }
}

criterion_group!(benches, login);
criterion_main!(benches);
