//! Every row of the reply table, and the sanitizing of texts.

use super::*;
use crate::wire::Protocol::{Imap, Pop3, Smtp};

fn said(kind: Kind, protocol: crate::wire::Protocol, tag: Option<&[u8]>) -> String {
    let reply = Fault::new(kind, "x").reply(protocol, tag);
    String::from_utf8(reply.text.to_vec()).unwrap()
}

/// The sender is the client's, and people copy remedies into PowerShell.
#[test]
fn names_of_clients_are_no_commands_in_remedies() {
    let sender = "x;Remove-Mailbox@contoso.com";
    let remedy = message_remedy(
        "554 5.2.252 SendAsDenied",
        "o'neil@contoso.com",
        sender,
        false,
    );
    let command =
        "-Identity 'x;Remove-Mailbox@contoso.com' -Trustee 'o''neil@contoso.com' -AccessRights";
    assert!(remedy.contains(command), "{remedy}");
    let remedy = mailbox_remedy(Imap, "a$b@contoso.com", true);
    let command = "Add-MailboxPermission -Identity 'a$b@contoso.com' -User OBJECT_ID (that";
    assert!(remedy.contains(command), "{remedy}");
    let fault = Fault::new(Kind::Refused, "x")
        .with_remedy("Set-CASMailbox -Identity MAILBOX -ImapEnabled $true")
        .for_mailbox("a`b@contoso.com");
    let command = "Set-CASMailbox -Identity 'a`b@contoso.com' -ImapEnabled $true";
    assert_eq!(fault.remedy(), Some(command));
}

#[test]
fn a_suggested_time_is_understood() {
    for (text, expected) in [
        (
            "NO Request is throttled. Suggested Backoff Time: 299961 milliseconds",
            Some(299_961),
        ),
        ("suggested backoff time:5 seconds", Some(5_000)),
        (
            "Suggested Backoff Time: 99999999999999999999999 milliseconds",
            Some(3_600_000),
        ),
        ("Suggested Backoff Time: soon", None),
        ("Suggested Backoff Time: 0 milliseconds", None),
        ("Request is throttled.", None),
    ] {
        assert_eq!(suggested_backoff(text), expected, "{text}");
    }
}

/// Expected table: kind, IMAP, POP3, SMTP, closing.
#[test]
fn every_kind_has_the_reply_of_the_table() {
    let table = [
        (
            Kind::Credentials,
            "a NO [AUTHENTICATIONFAILED] ",
            "-ERR [AUTH] ",
            "535 5.7.8 ",
            false,
        ),
        (Kind::Sasl, "a BAD ", "-ERR ", "501 5.5.2 ", false),
        (Kind::TooLong, "a BAD ", "-ERR ", "500 5.5.6 ", true),
        (Kind::Mechanism, "a NO ", "-ERR ", "504 5.5.4 ", false),
        (
            Kind::TlsRequired,
            "a NO [PRIVACYREQUIRED] ",
            "-ERR ",
            "538 5.7.11 ",
            false,
        ),
        (Kind::Order, "a BAD ", "-ERR ", "530 5.7.0 ", false),
        (Kind::LoginTimeout, "* BYE ", "-ERR ", "421 4.4.2 ", true),
        (
            Kind::Unreachable,
            "a NO [UNAVAILABLE] ",
            "-ERR [SYS/TEMP] ",
            "454 4.7.0 ",
            false,
        ),
        (
            Kind::Refused,
            "a NO [AUTHORIZATIONFAILED] ",
            "-ERR [SYS/PERM] ",
            "535 5.7.3 ",
            false,
        ),
        (
            Kind::Busy,
            "a NO [UNAVAILABLE] ",
            "-ERR [SYS/TEMP] ",
            "454 4.7.0 ",
            false,
        ),
        (Kind::Lost, "* BYE ", "", "421 4.4.2 ", true),
        (
            Kind::Unavailable,
            "a NO [UNAVAILABLE] ",
            "-ERR [SYS/TEMP] ",
            "454 4.7.0 ",
            false,
        ),
        (
            Kind::GrantRefused,
            "a NO [CONTACTADMIN] ",
            "-ERR [SYS/PERM] ",
            "454 4.7.0 ",
            false,
        ),
        (
            Kind::Sessions,
            "a NO [LIMIT] ",
            "-ERR [IN-USE] ",
            "421 4.7.0 ",
            true,
        ),
        (
            Kind::Audit,
            "a NO [UNAVAILABLE] ",
            "-ERR [SYS/TEMP] ",
            "421 4.3.0 ",
            false,
        ),
        (Kind::Draining, "* BYE ", "", "421 4.3.2 ", true),
        (Kind::Internal, "", "", "", true),
    ];
    for (kind, imap, pop3, smtp, close) in table {
        for (protocol, start) in [(Imap, imap), (Pop3, pop3), (Smtp, smtp)] {
            let text = said(kind, protocol, Some(b"a"));
            assert!(text.starts_with(start), "{kind} over {protocol}: {text:?}");
            assert_eq!(text.is_empty(), start.is_empty(), "{kind} over {protocol}");
            assert!(text.is_empty() || text.ends_with(".\r\n"));
        }
        assert_eq!(
            Fault::new(kind, "x").reply(Imap, Some(b"a")).close,
            close,
            "{kind}"
        );
    }
}

#[test]
fn unasked_imap_replies_are_untagged() {
    assert!(said(Kind::Sessions, Imap, None).starts_with("* BYE Too many"));
    assert!(said(Kind::TooLong, Imap, None).starts_with("* BAD "));
}

#[test]
fn the_upstreams_own_smtp_reply_goes_through_in_lines() {
    let fault =
        Fault::new(Kind::Busy, "x").smtp_reply(&["451-4.7.0 a\rb".into(), "451 4.7.0 c".into()]);
    let reply = fault.reply(Smtp, None);
    assert_eq!(&reply.text[..], b"451-4.7.0 a b\r\n451 4.7.0 c\r\n");
    assert!(fault.reply(Pop3, None).text.starts_with(b"-ERR [SYS/TEMP]"));
    // Anything like a credential is cut; the reply's code stays.
    let echo = format!("535-{}", "QUJD".repeat(20));
    let fault = Fault::new(Kind::Refused, "x").smtp_reply(&[echo, "535".into()]);
    assert_eq!(&fault.reply(Smtp, None).text[..], b"535-[cut]\r\n535\r\n");
}

#[test]
fn control_characters_and_credentials_are_cut() {
    assert_eq!(sanitize("a\r\n* OK b\u{2028}c\u{1}d\x7f"), "a  * OK b c d");
    let token = "QUJD".repeat(20);
    assert_eq!(
        sanitize(&format!(
            "500 5.3.3 Unrecognized command '{token}' [AM0PR06CA0126.eurprd06.prod.outlook.com 2024-02-14T14:50:26.590Z 08DC2D372B4C3DED]"
        )),
        "500 5.3.3 Unrecognized command '[cut]' [AM0PR06CA0126.eurprd06.prod.outlook.com 2024-02-14T14:50:26.590Z 08DC2D372B4C3DED]"
    );
    assert!(sanitize(&"x y ".repeat(1000)).len() < 420);
    assert_eq!(sanitize(&"x".repeat(100_000)), "[cut]");
}

#[test]
fn exchanges_texts_are_told_apart() {
    let table = [
        (
            "NO AUTHENTICATE failed.",
            Refusal::Final,
            Kind::Refused,
            true,
        ),
        (
            "BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds",
            Refusal::Final,
            Kind::Busy,
            false,
        ),
        (
            "NO Too many requests. Suggested Backoff Time: 1000 milliseconds",
            Refusal::Final,
            Kind::Busy,
            false,
        ),
        (
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
            Refusal::Final,
            Kind::Refused,
            false,
        ),
        (
            "451 4.7.0 Temporary server error. Please try again later. PRX4",
            Refusal::Temporary,
            Kind::Busy,
            false,
        ),
        (
            "-ERR Connection is closed. 24",
            Refusal::Final,
            Kind::Busy,
            false,
        ),
        (
            "535 5.7.142 Authentication unsuccessful, token expires too soon",
            Refusal::Final,
            Kind::Refused,
            true,
        ),
        (
            "535 5.7.143 Authentication unsuccessful, token expired",
            Refusal::Final,
            Kind::Refused,
            true,
        ),
        (
            "535 5.7.144 Authentication unsuccessful, wrong permissions",
            Refusal::Final,
            Kind::Refused,
            true,
        ),
        (
            "550 5.7.240 Application is not allowed for this account",
            Refusal::Final,
            Kind::Refused,
            false,
        ),
        (
            "501 5.5.124 Invalid XOAUTH2 data",
            Refusal::Final,
            Kind::Refused,
            false,
        ),
        (
            "504 5.7.4 Unrecognized authentication type",
            Refusal::Final,
            Kind::Refused,
            false,
        ),
    ];
    for (text, refusal, kind, suspect) in table {
        let fault = classify(text, refusal);
        assert_eq!(
            (fault.kind(), fault.allows_token_retry()),
            (kind, suspect),
            "{text}"
        );
        assert!(
            fault.remedy().is_some() && fault.detail().contains(text),
            "{text}"
        );
    }
}
