//! Credentials that are wrong, or cannot be right: one reply for all of them, and nothing leaves.

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};

use super::before_login::{CREDENTIALS, IMAP_NO, Row, plain_over_all, row};
use crate::client::{base64, plain};
use crate::stage::Setup;

/// Presents a login and a password in each way that the protocol has.
fn every_way(name: &'static str, login: &str, password: &str) -> Vec<Row> {
    let fault = Some(CREDENTIALS);
    let (name64, password64) = (base64(login), base64(password));
    let plain = plain(login, password);
    let (one, two) = (format!("{name64}\r\n"), format!("{password64}\r\n"));
    let response = format!("{plain}\r\n");
    let literal = format!("a LOGIN {{{}}}\r\n", login.len());
    let rest = format!("{login} {{{}+}}\r\n{password}\r\n", password.len());
    vec![
        row(
            name,
            Imap,
            fault,
            &[(&format!("a LOGIN \"{login}\" \"{password}\"\r\n"), IMAP_NO)],
        ),
        row(name, Imap, fault, &[(&literal, "+ "), (&rest, IMAP_NO)]),
        row(
            name,
            Imap,
            fault,
            &[(&format!("a AUTHENTICATE PLAIN {response}"), IMAP_NO)],
        ),
        row(
            name,
            Imap,
            fault,
            &[("a authenticate plain\r\n", "+ "), (&response, IMAP_NO)],
        ),
        row(
            name,
            Imap,
            fault,
            &[
                ("a AUTHENTICATE LOGIN\r\n", "+ VXNlcm5hbWU6"),
                (&one, "+ UGFzc3dvcmQ6"),
                (&two, IMAP_NO),
            ],
        ),
        row(
            name,
            Imap,
            fault,
            &[
                (&format!("a AUTHENTICATE login {one}"), "+ UGFzc3dvcmQ6"),
                (&two, IMAP_NO),
            ],
        ),
        row(
            name,
            Pop3,
            fault,
            &[
                (&format!("USER {login}\r\n"), "+OK"),
                (&format!("PASS {password}\r\n"), "-ERR [AUTH] "),
            ],
        ),
        row(
            name,
            Pop3,
            fault,
            &[(&format!("AUTH PLAIN {response}"), "-ERR [AUTH] ")],
        ),
        row(
            name,
            Pop3,
            fault,
            &[("auth plain\r\n", "+ "), (&response, "-ERR [AUTH] ")],
        ),
        row(
            name,
            Pop3,
            fault,
            &[
                ("AUTH LOGIN\r\n", "+ VXNlcm5hbWU6"),
                (&one, "+ UGFzc3dvcmQ6"),
                (&two, "-ERR [AUTH] "),
            ],
        ),
        row(
            name,
            Smtp,
            fault,
            &[(&format!("AUTH PLAIN {response}"), "535 5.7.8 ")],
        ),
        row(
            name,
            Smtp,
            fault,
            &[("auth plain\r\n", "334 "), (&response, "535 5.7.8 ")],
        ),
        row(
            name,
            Smtp,
            fault,
            &[
                ("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6"),
                (&one, "334 UGFzc3dvcmQ6"),
                (&two, "535 5.7.8 "),
            ],
        ),
        row(
            name,
            Smtp,
            fault,
            &[
                (&format!("AUTH LOGIN {one}"), "334 UGFzc3dvcmQ6"),
                (&two, "535 5.7.8 "),
            ],
        ),
    ]
}

/// Unknown login, wrong password, another protocol's account, another address: one reply, byte for
/// byte.
#[test]
fn wrong_credentials_cost_nothing_and_look_alike() {
    let mut replies = std::collections::BTreeMap::new();
    for (name, login, password) in [
        ("wrong password", LOGIN, "wrong"),
        ("unknown login", "nobody@contoso.test", PASSWORD),
        ("empty-handed guess", "tickets", "tickets"),
    ] {
        for row in every_way(name, login, password) {
            let protocol = row.protocol;
            let reply = row.play(Setup::default());
            assert_eq!(
                replies.entry(protocol).or_insert(reply.clone()),
                &reply,
                "{name}"
            );
        }
    }
    for (protocol, others) in [
        (Imap, "[pop3, smtp]"),
        (Pop3, "[imap, smtp]"),
        (Smtp, "[imap, pop3]"),
    ] {
        let way = every_way("forbidden protocol", LOGIN, PASSWORD);
        let row = way
            .into_iter()
            .find(|row| row.protocol == protocol)
            .unwrap();
        let setup = Setup::default().append(&format!("    protocols: {others}\n"));
        assert_eq!(row.play(setup), replies[&protocol]);
    }
    // The right password, from an address for which it is not meant.
    for protocol in Protocol::ALL {
        let way = every_way("forbidden address", LOGIN, PASSWORD);
        let row = way.into_iter().find(|row| row.protocol == protocol);
        let elsewhere = format!(
            "passwords: [{{name: office, password: \"{PASSWORD}\", allow: [10.0.0.0/8, \"::1\"]}}]"
        );
        let setup = Setup::default().replace(&format!("password: \"{PASSWORD}\""), &elsewhere);
        assert_eq!(row.unwrap().play(setup), replies[&protocol]);
    }
}

/// Requirement 7: such credentials are refused here, whatever the account says.
#[test]
fn r07_credentials_that_cannot_be_right() {
    let any = || Setup::default().replace(&format!("password: \"{PASSWORD}\""), "password: any");
    let long = "x".repeat(256);
    let mut rows = Vec::new();
    for (name, login, password) in [
        ("a control character", "tick\u{7}ets@contoso.test", "x"),
        (
            "0x01 in the login",
            "tickets@contoso.test\u{1}auth=Bearer x",
            "x",
        ),
        ("0x01 in the password", LOGIN, "x\u{1}y"),
        ("CR and LF", "tickets@contoso.test\r\nRSET", "x"),
        ("C1 controls", LOGIN, "x\u{85}y"),
        ("a login of 256 octets", &long, "x"),
        ("a password of 256 octets", LOGIN, &long),
        ("an empty login", "", "x"),
        ("an empty password", LOGIN, ""),
    ] {
        rows.extend(plain_over_all(
            name,
            &plain(login, password),
            Some(CREDENTIALS),
        ));
    }
    for (name, message) in [
        (
            "NUL in the password",
            format!("\0{LOGIN}\0x\0y").into_bytes(),
        ),
        (
            "invalid UTF-8",
            [b"\0", LOGIN.as_bytes(), b"\0\xff\xfe"].concat(),
        ),
        (
            "another identity",
            format!("boss@contoso.test\0{LOGIN}\0x").into_bytes(),
        ),
    ] {
        rows.extend(plain_over_all(name, &base64(message), Some(CREDENTIALS)));
    }
    let literal = "a LOGIN {8+}\r\na\r\nb\0c\u{1}d {1+}\r\nx\r\n";
    rows.push(row(
        "controls in a literal",
        Imap,
        Some(CREDENTIALS),
        &[(literal, IMAP_NO)],
    ));
    for row in rows {
        row.play(any());
    }
}
