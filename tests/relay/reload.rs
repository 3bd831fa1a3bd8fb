//! Configurations that change while clients are served.

use authrelay::sandbox::{CLIENT_SECRET, LOGIN, MAILBOX, PASSWORD};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::clock::{patient, still};
use crate::daemon::{Daemon, authrelay};
use crate::stage::{Relay, Setup, greet, is_success};

/// A second account, for whatever happens to the first.
const OTHER: &str = "accounts:\n  - {login: other, registration: sandbox, mailbox: helpdesk@contoso.test, password: other-password}\n";

async fn try_login(relay: &Relay, protocol: Protocol, login: &str, password: &str) -> String {
    let mut client = relay.connect(protocol).await;
    client.log_in(login, password).await
}

#[test]
fn r37_a_bad_file_changes_nothing_and_says_why() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut open = relay.session(Imap).await;
        relay.rewrite(&[
            ("registration: sandbox", "registration: sandbx"),
            (PASSWORD, "new"),
        ]);
        let problems = relay.control.reload().await.unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].starts_with("accounts[0].registration: ") && problems[0].contains("(line "),
            "{problems:?}"
        );
        let said = relay.log.records();
        assert!(
            said.iter()
                .any(|line| line["message"] == format!("reload: {}", problems[0])),
            "{said:?}"
        );
        relay.session(Pop3).await;
        assert!(open.ask("b NOOP\r\n", "\r\n").await.starts_with("b OK"));
    });
}

/// An address that somebody else has is found before anything is changed.
#[test]
fn r37_an_address_that_cannot_be_had_changes_nothing() {
    still(|_| async {
        let relay = Relay::start().await;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let line = format!(
            "listeners:\n  - {{name: second, protocol: imap, bind: \"{}\", provider: microsoft365}}\n",
            taken.local_addr().unwrap()
        );
        relay.rewrite(&[("listeners:\n", &line), (PASSWORD, "new")]);
        let problems = relay.control.reload().await.unwrap_err();
        assert!(
            problems[0].contains("listener second: cannot listen on"),
            "{problems:?}"
        );
        relay.session(Imap).await;
    });
}

/// Who is logged in with what is still right stays; the token, too.
#[test]
fn r37_a_good_file_drops_nothing() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut sessions = Vec::new();
        for protocol in Protocol::ALL {
            sessions.push(relay.session(protocol).await);
        }
        relay.rewrite(&[("accounts:\n", OTHER)]);
        let applied = relay.control.reload().await.unwrap();
        assert_eq!((applied.accounts, applied.sessions_ended), (2, 0));
        assert_eq!(applied.restart, Vec::<&str>::new());
        for client in &mut sessions {
            let (command, good) = match client.protocol {
                Imap => ("b NOOP\r\n", "b OK"),
                Pop3 => ("NOOP\r\n", "+OK"),
                Smtp => ("NOOP\r\n", "250 "),
            };
            let said = client.ask(command, "\r\n").await;
            assert!(said.starts_with(good), "{said}");
        }
        let said = try_login(&relay, Imap, "other", "other-password").await;
        assert!(is_success(Imap, &said), "{said}");
        // One token serves both accounts, before and after.
        assert_eq!(relay.sandbox.seen().token_requests, 1);
    });
}

#[test]
fn r37_sessions_of_a_removed_password_are_drained() {
    still(|_| async {
        let setup = Setup::default().replace("accounts:\n", OTHER).replace(
            &format!("    password: \"{PASSWORD}\"\n"),
            "    passwords: [{name: old, password: old-password}, {name: kept, password: kept-password}]\n",
        );
        let relay = setup.start().await;
        let logged_in = async |protocol, login: &str, password: &str| {
            let mut client = relay.connect(protocol).await;
            let said = client.log_in(login, password).await;
            assert!(is_success(protocol, &said), "{said}");
            client
        };
        let mut kept = logged_in(Imap, LOGIN, "kept-password").await;
        let mut removed = logged_in(Imap, LOGIN, "old-password").await;
        let mut sending = logged_in(Smtp, LOGIN, "old-password").await;
        let mut account = logged_in(Pop3, "other", "other-password").await;
        let said = sending
            .ask(
                "MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n",
                "354 ",
            )
            .await;
        assert!(said.contains("250 "), "{said}");
        sending.line().await;
        relay.rewrite(&[
            ("{name: old, password: old-password}, ", ""),
            (OTHER, "accounts:\n"),
        ]);
        let applied = relay.control.reload().await.unwrap();
        assert_eq!(applied.sessions_ended, 3);
        let bye = removed.rest().await;
        assert!(bye.starts_with("* BYE "), "{bye}");
        assert_eq!(account.rest().await, "");
        // A message that is under way is finished first.
        let said = sending.ask("x\r\n.\r\n", "\r\n").await;
        assert!(said.starts_with("250 "), "{said}");
        assert!(sending.rest().await.starts_with("421 "));
        assert!(kept.ask("b NOOP\r\n", "\r\n").await.starts_with("b OK"));
        let said = try_login(&relay, Imap, LOGIN, "old-password").await;
        assert!(said.contains("NO [AUTHENTICATIONFAILED]"), "{said}");
        let said = try_login(&relay, Imap, "other", "other-password").await;
        assert!(said.contains("NO [AUTHENTICATIONFAILED]"), "{said}");
    });
}

/// Whoever has connected before and logs in after does so by the new file.
#[test]
fn r37_who_has_not_logged_in_yet_does_so_by_the_new_file() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut waiting = relay.connect(Imap).await;
        relay.rewrite(&[(PASSWORD, "new-password")]);
        relay.control.reload().await.unwrap();
        let said = waiting.log_in(LOGIN, PASSWORD).await;
        assert!(said.contains("NO [AUTHENTICATIONFAILED]"), "{said}");
        let said = waiting.log_in(LOGIN, "new-password").await;
        assert!(is_success(Imap, &said), "{said}");
    });
}

#[test]
fn r37_listeners_come_and_go_and_their_sessions_stay() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut open = relay.session(Pop3).await;
        let gone = relay.address(Pop3);
        let yaml = std::fs::read_to_string(relay.directory().join("proxy.yaml")).unwrap();
        let line = yaml
            .lines()
            .find(|line| line.contains("name: pop3"))
            .unwrap();
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let other = format!(
            "  - {{name: imap2, protocol: imap, bind: \"{address}\", provider: microsoft365}}"
        );
        relay.rewrite(&[(line, &other)]);
        let applied = relay.control.reload().await.unwrap();
        assert_eq!((applied.listeners, applied.sessions_ended), (3, 0));
        assert!(open.ask("NOOP\r\n", "\r\n").await.starts_with("+OK"));
        let refused = async {
            // The socket is closed by its own task.
            while tokio::net::TcpStream::connect(gone).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        patient("the end of a listener", refused).await;
        let mut client = Client::dial(Imap, address).await;
        greet(&mut client).await;
        let said = client.log_in(LOGIN, PASSWORD).await;
        assert!(is_success(Imap, &said), "{said}");
    });
}

/// A listener's rules are those of the new file, a registration's token is asked for anew.
#[test]
fn r37_rules_and_registrations_are_those_of_the_new_file() {
    still(|_| async {
        let relay = Relay::start().await;
        relay.session(Imap).await;
        relay.rewrite(&[
            (CLIENT_SECRET, "wrong-secret"),
            ("name: pop3, ", "allow: [10.0.0.0/8], name: pop3, "),
        ]);
        relay.control.reload().await.unwrap();
        let said = try_login(&relay, Imap, LOGIN, PASSWORD).await;
        assert!(said.contains("NO [CONTACTADMIN]"), "{said}");
        assert_eq!(relay.dial(Pop3).await.rest().await, "");
        relay.rewrite(&[("wrong-secret", CLIENT_SECRET)]);
        relay.control.reload().await.unwrap();
        // The refusal was that of the other secret.
        let said = try_login(&relay, Imap, LOGIN, PASSWORD).await;
        assert!(is_success(Imap, &said), "{said}");
    });
}

/// A reload is no way around the lockout.
#[test]
fn r37_who_is_locked_out_stays_so() {
    still(|clock| async move {
        let setup = Setup::limits("lockout: {failures: 2, window: 10m, duration: 5m}");
        let relay = setup.start().await;
        let patience = std::time::Duration::from_secs(20);
        for wrong in ["wrong", "another"] {
            let login = try_login(&relay, Imap, LOGIN, wrong);
            let said = clock.until_ready(patience, login).await;
            assert!(said.contains("AUTHENTICATIONFAILED"), "{said}");
        }
        relay.control.reload().await.unwrap();
        let login = try_login(&relay, Imap, LOGIN, PASSWORD);
        let said = clock.until_ready(patience, login).await;
        assert!(said.contains("AUTHENTICATIONFAILED"), "{said}");
        relay.assert_untouched("locked out");
    });
}

/// Clients that come and go all the time notice nothing of a hundred reloads.
#[test]
fn r37_a_hundred_reloads_under_load_refuse_and_lose_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let relay = Setup::default().unlimited().start().await;
        let before = relay.sandbox.messages(MAILBOX).len();
        let done = tokio_util::sync::CancellationToken::new();
        let mut clients = JoinSet::new();
        for number in 0..6 {
            let protocol = Protocol::ALL[number % 3];
            let (address, done) = (relay.address(protocol), done.clone());
            clients.spawn(async move {
                let mut sent = 0;
                while !done.is_cancelled() {
                    let mut client = Client::dial(protocol, address).await;
                    greet(&mut client).await;
                    let said = client.log_in(LOGIN, PASSWORD).await;
                    assert!(is_success(protocol, &said), "{said}");
                    match protocol {
                        Imap => {
                            client.ask("b SELECT INBOX\r\n", "completed.\r\n").await;
                            client.ask("c LOGOUT\r\n", "c OK").await;
                        }
                        Pop3 => {
                            assert!(client.ask("STAT\r\n", "\r\n").await.starts_with("+OK"));
                            client.ask("QUIT\r\n", "+OK").await;
                        }
                        Smtp => {
                            let mail =
                                format!("MAIL FROM:<{LOGIN}>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\n");
                            client.ask(&mail, "354 ").await;
                            client.line().await;
                            let said = client.ask("x\r\n.\r\n", "\r\n").await;
                            assert!(said.starts_with("250 "), "{said}");
                            sent += 1;
                            client.ask("QUIT\r\n", "221 ").await;
                        }
                    }
                }
                sent
            });
        }
        let mut open = relay.session(Imap).await;
        for number in 0..100 {
            let (was, is) = match number % 2 {
                0 => ("accounts:\n", OTHER),
                _ => (OTHER, "accounts:\n"),
            };
            relay.rewrite(&[(was, is)]);
            let applied = relay.control.reload().await.unwrap();
            assert_eq!(applied.sessions_ended, 0);
        }
        done.cancel();
        let sent: usize = clients.join_all().await.into_iter().sum();
        assert!(sent > 0);
        let arrived = relay.sandbox.messages(MAILBOX).len() - before;
        assert_eq!(arrived, sent);
        assert!(open.ask("b NOOP\r\n", "\r\n").await.starts_with("b OK"));
        assert_eq!(relay.log.faults(), Vec::<String>::new());
    });
}

/// What the configuration warns of is on the log, as whatever else is, at start and at reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_for_machines_has_warnings_as_records() {
    let mut relay = Daemon::start(Setup::default()).await;
    relay.signal("HUP");
    relay.wait_for_count("configuration reloaded", 1).await;
    relay.stop().await;
    let log = relay.log();
    assert!(log.iter().all(serde_json::Value::is_object), "{log:#?}");
    let warned = |record: &&serde_json::Value| {
        record["level"] == "WARN"
            && record["message"]
                .to_string()
                .contains("the key lies beside")
    };
    assert_eq!(log.iter().filter(warned).count(), 2, "{log:#?}");
}

/// `check` says it to whoever asks; what other commands print is for programs too.
#[tokio::test]
async fn check_warns_and_other_commands_do_not() {
    let prepared = Setup::default().prepare().await;
    let path = prepared.path();
    let run = |command| authrelay(&[command, "--config", path.to_str().unwrap()]);
    let checked = run("check");
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.said.contains("warning: state.key: "), "{checked:?}");
    let accounts = run("accounts");
    assert_eq!(accounts.code, 0, "{accounts:?}");
    assert!(!accounts.said.contains("warning"), "{accounts:?}");
}

/// Tokens and key are read at the start only, with and without a shared store.
#[tokio::test]
async fn a_reload_with_another_state_is_refused_and_says_so() {
    let key = "  key: the-first-key-of-this-relay\n";
    let relay = Setup::default()
        .replace(
            "  directory: ./state\n",
            &format!("  directory: ./state\n{key}"),
        )
        .start()
        .await;
    relay.control.reload().await.unwrap();
    let others = [
        ("  directory: ./state\n", "  directory: ./elsewhere\n"),
        ("the-first-key", "the-second-key"),
    ];
    for (was, is) in others {
        relay.rewrite(&[(was, is)]);
        let problems = relay.control.reload().await.unwrap_err();
        assert!(problems[0].contains("takes a restart"), "{problems:?}");
        relay.rewrite(&[(is, was)]);
        relay.control.reload().await.unwrap();
    }
    assert!(!relay.directory().join("elsewhere").exists());
}
