//! Policies for sending: senders, recipients and rates.

use super::*;
use crate::wire::address::Pattern;

const DEVICES: &str =
    "\n    allow: [10.1.7.0/24]\n    allow_cleartext: true\n    unauthenticated: ";

/// A file with a listener for devices, which the account `scanner@contoso.com` serves.
fn devices(login: &str, smtp: &str) -> String {
    format!(
        "listeners:\n  - protocol: smtp\n    bind: 10.1.0.5:25{DEVICES}{login}\n\
         registrations:\n  r:\n    provider: microsoft365\n    tenant: contoso.onmicrosoft.com\n    \
         client_id: x\n    grant: client_credentials\n    client_secret: y\n\
         accounts:\n  - login: scanner@contoso.com\n    registration: r\n    password: p\n    {smtp}\n"
    )
}

const POLICY: &str = "smtp: {senders: \"*\", recipients: [\"*@Contoso.com\", a@b.test], max_size: 35MB, messages_per_minute: 5, from: mailbox}";

#[test]
fn a_policy_a_device_and_limits() {
    let config = parsed(&devices("Scanner@contoso.com", POLICY)).unwrap();
    let open = config.listeners[0].unauthenticated.as_ref().unwrap();
    assert_eq!(open.login, "scanner@contoso.com");
    let policy = open.account.smtp.as_ref().unwrap();
    assert_eq!(policy.senders.as_deref(), Some(&[Pattern::Any][..]));
    assert_eq!(
        policy.recipients.as_deref(),
        Some(
            &[
                Pattern::Domain("contoso.com".into()),
                Pattern::Exact("a@b.test".into())
            ][..]
        )
    );
    assert_eq!(policy.max_size, Some(35_000_000));
    assert_eq!(policy.messages_per_minute, Some(5));
    assert_eq!(policy.from, SmtpFrom::Mailbox);
    assert!(policy.looks_at_commands());
    let limits = open.account.registration.provider.smtp_limits;
    assert_eq!(limits, Some(EXCHANGE));
    let binary = parsed(&devices(
        "scanner@contoso.com",
        &POLICY.replace("35MB", "35MiB"),
    ))
    .unwrap();
    let policy = binary.accounts[0].smtp.as_ref().unwrap();
    assert_eq!(policy.max_size, Some(36_700_160));
}

/// Limits of Exchange Online, which apply to every mailbox.
const EXCHANGE: SmtpLimits = SmtpLimits {
    connections: 3,
    messages_per_minute: 30,
    wait: Duration::from_secs(25),
};

#[test]
fn limits_are_the_presets_unless_said_otherwise() {
    let limits = |more: &str| {
        let text = GOOD.replace("    ip: v4\n", &format!("    ip: v4\n{more}"));
        let config = parsed(&text).unwrap();
        let of = |name: &str| config.providers[name].smtp_limits;
        (of("microsoft365"), of("own"))
    };
    assert_eq!(limits(""), (Some(EXCHANGE), None));
    let own = SmtpLimits {
        connections: 5,
        wait: Duration::from_secs(10),
        ..EXCHANGE
    };
    let given = limits("    smtp_limits: {connections: 5, wait: 10s}\n");
    assert_eq!(given, (Some(own), None));
    let presets = presets();
    assert_eq!(presets.len(), 10);
    for (name, preset) in presets {
        let exchange = name.starts_with("microsoft365") && name != "microsoft365-hve";
        assert_eq!(preset.smtp_limits.is_some(), exchange, "{name}");
    }
}

#[test]
fn mistakes_of_senders_have_their_places() {
    let good = devices("scanner@contoso.com", POLICY);
    for (from, to, expected) in [
        (
            "    allow: [10.1.7.0/24]\n    allow_cleartext: true\n",
            "    allow_cleartext: true\n",
            "listeners[0].unauthenticated: requires allow",
        ),
        (
            "unauthenticated: scanner@",
            "unauthenticated: printer@",
            "listeners[0].unauthenticated: no account has this login (line 6, column 5)",
        ),
        (
            "protocol: smtp",
            "protocol: pop3",
            "listeners[0].unauthenticated: is for SMTP only",
        ),
        (
            "senders: \"*\", ",
            "",
            "accounts[0]: must have smtp.senders, since the listener lets devices send as it without a login (line 6)",
        ),
        (
            "recipients: [\"*@Contoso.com\", a@b.test], ",
            "",
            "accounts[0]: must have smtp.recipients",
        ),
        (
            "a@b.test]",
            "\"*\"]",
            "accounts[0]: must not have \"*\" in smtp.recipients",
        ),
        (
            "grant: client_credentials\n    client_secret: y",
            "grant: password",
            "listeners[0].unauthenticated: names an account whose password the identity provider checks",
        ),
        (
            "a@b.test]",
            "b.test]",
            "accounts[0].smtp.recipients[1]: must be an address; write *@ before a domain",
        ),
        (
            "35MB",
            "35",
            "accounts[0].smtp.max_size: must be a size with its unit",
        ),
        (
            "minute: 5",
            "minute: 0",
            "accounts[0].smtp.messages_per_minute: must be a whole number from 1",
        ),
        (
            "from: mailbox",
            "from: me",
            "accounts[0].smtp.from: must be keep or mailbox",
        ),
        (
            "max_size",
            "maxsize",
            "accounts[0].smtp.maxsize: is not a known key; did you mean max_size?",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let mut text = good.replace(from, to);
        if to == "grant: password" {
            text = text.replace("    password: p\n", "");
        }
        let got = problems(&text);
        assert!(
            got.iter().any(|problem| problem.starts_with(expected)),
            "{to}: {got:#?}"
        );
        assert!(got.len() <= 2, "{to}: {got:#?}");
    }
}
