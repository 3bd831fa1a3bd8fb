//! Faults of the identity provider and of the mail service while a client logs in.

use std::time::Duration;

use authrelay::sandbox::{Fault, LOGIN, PASSWORD, Seen};
use authrelay::wire::Protocol;

use super::{assert_end, closes, of};
use crate::clock::{Clock, patient, still};
use crate::stage::{Relay, Setup, is_success};

/// What a client of one protocol meets.
#[derive(Clone, Copy)]
enum Cell {
    LogsIn,
    /// The fault in the log, and how the reply begins.
    Fails(&'static str, &'static str),
}

use Cell::{Fails, LogsIn};

/// What a login costs others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    token_requests: u64,
    connections: u64,
    /// XOAUTH2 payloads that were presented: credentials that left the relay.
    attempts: u64,
}

const fn cost(token_requests: u64, connections: u64, attempts: u64) -> Cost {
    Cost {
        token_requests,
        connections,
        attempts,
    }
}

/// The price of a login that works.
const LOGIN_COST: Cost = cost(1, 1, 1);

/// What to see before time may pass; `None`: no time passes.
type Stuck = Option<fn(&Seen) -> bool>;

struct Row {
    fault: Fault,
    cells: [Cell; 3],
    cost: Cost,
    stuck: Stuck,
}

const UNAVAILABLE: [Cell; 3] = same(
    "identity_provider: unavailable",
    "a NO [UNAVAILABLE] ",
    "-ERR [SYS/TEMP] ",
    "454 4.7.0 ",
);
const GRANT_REFUSED: [Cell; 3] = same(
    "identity_provider: refused",
    "a NO [CONTACTADMIN] ",
    "-ERR [SYS/PERM] ",
    "454 4.7.0 ",
);
const UNREACHABLE: [Cell; 3] = same(
    "upstream: unreachable",
    "a NO [UNAVAILABLE] ",
    "-ERR [SYS/TEMP] ",
    "454 4.7.0 ",
);

const fn busy(smtp: &'static str) -> [Cell; 3] {
    same(
        "upstream: busy",
        "a NO [UNAVAILABLE] ",
        "-ERR [SYS/TEMP] ",
        smtp,
    )
}

const fn refused(smtp: &'static str) -> [Cell; 3] {
    same(
        "upstream: refused",
        "a NO [AUTHORIZATIONFAILED] ",
        "-ERR [SYS/PERM] ",
        smtp,
    )
}

const fn same(
    kind: &'static str,
    imap: &'static str,
    pop3: &'static str,
    smtp: &'static str,
) -> [Cell; 3] {
    [Fails(kind, imap), Fails(kind, pop3), Fails(kind, smtp)]
}

const REFUSED: &str = "535 5.7.3 Authentication unsuccessful [";
const POLICY: &str = "535 5.7.139 Authentication unsuccessful, ";

fn rows() -> Vec<Row> {
    let row = |fault, cells, cost| Row {
        fault,
        cells,
        cost,
        stuck: None,
    };
    let mut rows = vec![
        row(Fault::TokenUnreachable, UNAVAILABLE, cost(0, 0, 0)),
        row(Fault::Token429, UNAVAILABLE, cost(1, 0, 0)),
        row(Fault::Token500, UNAVAILABLE, cost(1, 0, 0)),
        row(Fault::TokenHtml, UNAVAILABLE, cost(1, 0, 0)),
        row(Fault::TokenGarbage, UNAVAILABLE, cost(1, 0, 0)),
        row(Fault::TokenTruncated, UNAVAILABLE, cost(1, 0, 0)),
        row(Fault::TokenRedirect, UNAVAILABLE, cost(1, 0, 0)),
        row(Fault::TokenThrottled, UNAVAILABLE, cost(1, 0, 0)),
        row(Fault::TokenTransient, UNAVAILABLE, cost(1, 0, 0)),
        Row {
            stuck: Some(|seen| seen.token_requests == 1),
            ..row(Fault::TokenSlow, UNAVAILABLE, cost(1, 0, 0))
        },
        row(Fault::SecretWrong, GRANT_REFUSED, cost(1, 0, 0)),
        row(Fault::SecretExpired, GRANT_REFUSED, cost(1, 0, 0)),
        row(Fault::AppUnknown, GRANT_REFUSED, cost(1, 0, 0)),
        row(Fault::ConsentMissing, GRANT_REFUSED, cost(1, 0, 0)),
        row(Fault::MfaRequired, GRANT_REFUSED, cost(1, 0, 0)),
        row(Fault::ConditionalAccess, GRANT_REFUSED, cost(1, 0, 0)),
        row(Fault::RefreshRevoked, GRANT_REFUSED, cost(1, 0, 0)),
        row(Fault::UpstreamUnreachable, UNREACHABLE, cost(1, 1, 0)),
        row(Fault::UpstreamBusyGreeting, UNREACHABLE, cost(1, 1, 0)),
        row(Fault::UpstreamGarbage, UNREACHABLE, cost(1, 1, 0)),
        row(Fault::UpstreamEndless, UNREACHABLE, cost(1, 1, 0)),
        row(
            Fault::Preauth,
            [UNREACHABLE[0], LogsIn, LogsIn],
            cost(1, 1, 0),
        ),
        row(Fault::TlsSelfSigned, UNREACHABLE, cost(1, 1, 0)),
        row(Fault::TlsWrongName, UNREACHABLE, cost(1, 1, 0)),
        row(Fault::TlsExpired, UNREACHABLE, cost(1, 1, 0)),
        row(Fault::StarttlsMissing, UNREACHABLE, cost(1, 1, 0)),
        row(Fault::StarttlsRefused, UNREACHABLE, cost(1, 1, 0)),
        row(Fault::StarttlsInjected, UNREACHABLE, cost(1, 1, 0)),
        Row {
            stuck: Some(|seen| seen.open.total() == 1),
            ..row(Fault::UpstreamSilent, UNREACHABLE, cost(1, 1, 0))
        },
        row(Fault::AuthRefused, refused(REFUSED), cost(1, 1, 1)),
        row(Fault::AuthChallenge, refused(REFUSED), cost(1, 1, 1)),
        row(Fault::TokenNoRoles, refused(REFUSED), cost(1, 1, 1)),
        row(Fault::TokenAudience, refused(REFUSED), cost(1, 1, 1)),
        row(Fault::TokenTenant, refused(REFUSED), cost(1, 1, 1)),
        row(
            Fault::AuthThrottled,
            busy("451 4.7.0 Temporary server error."),
            cost(1, 1, 1),
        ),
        row(
            Fault::AuthBye,
            busy("421 4.3.2 Service not active\r\n"),
            cost(1, 1, 1),
        ),
        row(Fault::AuthDrop, UNREACHABLE, cost(1, 1, 1)),
        Row {
            stuck: Some(|seen| seen.auth_attempts.total() == 1),
            ..row(Fault::AuthHangs, UNREACHABLE, cost(1, 1, 1))
        },
    ];
    for fault in [Fault::SmtpDisabled, Fault::SecurityDefaults] {
        let cells = [LogsIn, LogsIn, Fails("upstream: refused", POLICY)];
        rows.push(row(fault, cells, cost(1, 1, 1)));
    }
    // High Volume Email's own words.
    for (fault, said) in [
        (Fault::HveTokenEnds, "535 5.7.142 "),
        (Fault::HveTokenEnded, "535 5.7.143 "),
        (Fault::HvePermission, "535 5.7.144 "),
        (Fault::HveNotListed, "550 5.7.240 "),
        (Fault::HveMalformed, "501 5.5.124 "),
    ] {
        let cells = [LogsIn, LogsIn, Fails("upstream: refused", said)];
        rows.push(row(fault, cells, cost(1, 1, 1)));
    }
    for fault in [
        Fault::TokenExpiresString,
        Fault::TokenExpiresMissing,
        Fault::TokenExpiresZero,
        Fault::TokenExpiresHuge,
        Fault::TokenOpaque,
        Fault::NotConnected,
        Fault::Dribble,
        Fault::Frontend2026,
    ] {
        rows.push(row(fault, [LogsIn; 3], LOGIN_COST));
    }
    rows.push(Row {
        stuck: Some(|seen| seen.auth_attempts.total() == 1),
        ..row(Fault::Tarpit, [LogsIn; 3], LOGIN_COST)
    });
    rows
}

/// Faults that this table leaves to `relayed.rs`: they show after login.
const AFTER_LOGIN: [Fault; 9] = [
    Fault::HveExternal,
    Fault::TokenStale,
    Fault::LostIdle,
    Fault::LostLiteral,
    Fault::ExpiredSession,
    Fault::SendAsDenied,
    Fault::SmtpConcurrency,
    Fault::SmtpQuota,
    Fault::RecipientRefused,
];

#[test]
fn no_fault_is_forgotten() {
    let rows: Vec<_> = rows().into_iter().map(|row| row.fault).collect();
    for fault in Fault::ALL {
        let times = rows.iter().filter(|row| *row == fault).count();
        assert_eq!(times, usize::from(!AFTER_LOGIN.contains(fault)), "{fault}");
    }
}

async fn play(clock: Clock, row: Row, protocol: Protocol) {
    let name = format!("{} over {protocol}", row.fault);
    let relay = Setup::default()
        .starttls_upstreams_for(row.fault)
        .start()
        .await;
    relay.sandbox.set_fault(Some(row.fault));
    let mut client = relay.connect(protocol).await;
    let reply = match row.stuck {
        None => client.log_in(LOGIN, PASSWORD).await,
        Some(stuck) => {
            let log_in = client.log_in(LOGIN, PASSWORD);
            let stuck = relay.sandbox.wait_for(stuck);
            let mut log_in = std::pin::pin!(log_in);
            tokio::select! {
                reply = &mut log_in => reply,
                _ = patient(&name, stuck) => {
                    clock.until_ready(Duration::from_secs(55), log_in).await
                }
            }
        }
    };
    let seen = relay.sandbox.seen();
    let cost = cost(
        seen.token_requests,
        seen.connections.total(),
        seen.auth_attempts.total(),
    );
    match of(protocol, row.cells) {
        LogsIn => {
            assert!(is_success(protocol, &reply), "{name}: {reply}");
            assert_eq!(cost, LOGIN_COST, "{name}");
            assert_eq!(relay.log.faults(), [""; 0], "{name}");
        }
        Fails(kind, says) => {
            assert!(reply.starts_with(says), "{name}: {reply:?} is not {says:?}");
            assert_eq!(cost, row.cost, "{name}: {seen:?}");
            assert_eq!(relay.log.faults(), [kind], "{name}");
            assert_remedy(&relay, &name);
            assert_end(&mut client, closes(&reply), &name).await;
            if row.stuck.is_some() {
                assert!(clock.elapsed() >= Duration::from_secs(19), "{name}");
            }
            if !closes(&reply) && cost.connections > 0 && cost.attempts == 0 {
                // The token is good; the next attempt needs no other.
                relay.sandbox.set_fault(None);
                let again = client.log_in(LOGIN, PASSWORD).await;
                assert!(is_success(protocol, &again), "{name}, later: {again}");
                assert_eq!(relay.sandbox.seen().token_requests, 1, "{name}, later");
            }
        }
    }
}

/// The operator is told what to do.
fn assert_remedy(relay: &Relay, name: &str) {
    for record in relay.log.named("fault") {
        assert!(record["remedy"].is_string(), "{name}: {record}");
        assert!(record["detail"].is_string(), "{name}: {record}");
    }
}

fn play_all(protocol: Protocol) {
    for row in rows() {
        still(|clock| play(clock, row, protocol));
    }
}

#[test]
fn faults_at_login_over_imap() {
    play_all(Protocol::Imap);
}

#[test]
fn faults_at_login_over_pop3() {
    play_all(Protocol::Pop3);
}

#[test]
fn faults_at_login_over_smtp() {
    play_all(Protocol::Smtp);
}

/// A closed port, and a name that no server has.
#[test]
fn upstreams_that_are_not_there() {
    for protocol in Protocol::ALL {
        for (host, detail) in [
            (
                "host: localhost, port: 1,",
                "cannot connect to localhost:1: ",
            ),
            (
                "host: no-such-host.invalid, port: 1,",
                "cannot resolve no-such-host.invalid: ",
            ),
        ] {
            still(|_| not_there(protocol, host, detail));
        }
    }
}

async fn not_there(protocol: Protocol, host: &str, detail: &str) {
    let relay = Setup::default().upstream_hosts(host).start().await;
    let mut client = relay.connect(protocol).await;
    let reply = client.log_in(LOGIN, PASSWORD).await;
    let Fails(kind, says) = of(protocol, UNREACHABLE) else {
        unreachable!()
    };
    assert!(reply.starts_with(says), "{reply}");
    assert_eq!(relay.log.faults(), [kind]);
    let record = relay.log.named("fault").remove(0);
    let said = record["detail"].as_str().unwrap();
    assert!(said.starts_with(detail), "{record}");
    client.assert_goes_on().await;
}
