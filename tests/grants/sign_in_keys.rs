//! `admin.users` and `admin.viewer_token`: what `check` says of them.

use crate::checks::{Folder, with};

/// A file whose `admin` has these keys besides its address.
fn file(admin: &str) -> String {
    let text = with("s3cret-of-the-app");
    format!("admin:\n  bind: '127.0.0.1:0'\n{admin}{text}")
}

const PUBLIC: &str = "  public_url: https://relay.contoso.com\n";

/// The keys of `admin.users` below a good `public_url`.
fn users(keys: &str) -> String {
    file(&format!("{PUBLIC}  users: {{{keys}}}\n"))
}

const ISSUER: &str = "issuer: 'https://login.microsoftonline.com/7a3b/v2.0'";
const CLIENT: &str = "client_id: relay, client_secret: s3cret-of-the-relay";

#[test]
fn people_are_named_by_groups_and_addresses() {
    let folder = Folder::new();
    for lists in [
        "viewers: [Ops@contoso.com], operators: 11111111-2222-3333-4444-555555555555",
        "operators: [admins, boss@contoso.com]",
        "viewers: [helpdesk]",
        "viewers: [helpdesk], address_claim: upn, egress: {url: 'http://127.0.0.1:3128'}",
    ] {
        let text = users(&format!("{ISSUER}, {CLIENT}, {lists}"));
        folder.is_silent_about(&text, "admin.");
    }
    let loopback = users(&format!(
        "issuer: 'http://127.0.0.1:9000', {CLIENT}, viewers: a"
    ));
    folder.is_silent_about(&loopback, "admin.");
}

#[test]
fn users_that_cannot_be_right_are_refused() {
    let folder = Folder::new();
    for (keys, expected) in [
        (
            format!("issuer: 'http://id.contoso.com', {CLIENT}, viewers: a"),
            "admin.users.issuer: must begin with https://",
        ),
        (
            format!("issuer: 'https://id.contoso.com?x=1', {CLIENT}, viewers: a"),
            "admin.users.issuer: must be only the issuer",
        ),
        (
            format!(
                "issuer: 'https://login.microsoftonline.com/common/v2.0', {CLIENT}, viewers: a"
            ),
            "admin.users.issuer: would admit people of every tenant",
        ),
        (
            format!("{ISSUER}, {CLIENT}"),
            "admin.users: lets no one in: write viewers or operators",
        ),
        (
            format!("{ISSUER}, {CLIENT}, viewers: []"),
            "admin.users.viewers: is empty",
        ),
        (
            format!("{ISSUER}, {CLIENT}, operators: []"),
            "admin.users.operators: is empty",
        ),
        (
            format!("{ISSUER}, {CLIENT}, viewers: ['*@contoso.com']"),
            "admin.users.viewers[0]: names no one in particular",
        ),
        (
            format!(
                "{ISSUER}, {CLIENT}, viewers: [a, Boss@contoso.com], operators: boss@Contoso.com"
            ),
            "admin.users.viewers[1]: is also in operators",
        ),
        (
            format!("{ISSUER}, {CLIENT}, operators: [a, b, a]"),
            "admin.users.operators[2]: is in the list twice",
        ),
        (
            format!("{ISSUER}, client_id: x, viewers: a"),
            "admin.users.client_secret: is missing",
        ),
        (
            format!("{ISSUER}, {CLIENT}, viewers: a, address_claim: sub"),
            "admin.users.address_claim: must be email, preferred_username or upn",
        ),
    ] {
        folder.refuses(&users(&keys), expected);
    }
}

#[test]
fn users_need_a_public_url_that_nobody_on_the_way_can_read() {
    let folder = Folder::new();
    let keys = format!("  users: {{{ISSUER}, {CLIENT}, viewers: a}}\n");
    // By default browsers find the relay on this machine.
    folder.is_silent_about(&file(&keys), "admin.");
    let elsewhere = file(&keys).replace("bind: '127.0.0.1:0'", "bind: '0.0.0.0:0'");
    folder.refuses(&elsewhere, "admin.public_url: is missing");
    for (url, is_good) in [
        ("http://relay.contoso.com", false),
        ("http://10.0.0.5:8025", false),
        ("http://localhost:8025", true),
        ("http://127.0.0.1:8025/relay", true),
        ("http://[::1]:8025", true),
        ("https://relay.contoso.com/mail", true),
    ] {
        let text = file(&format!("  public_url: '{url}'\n{keys}"));
        match is_good {
            true => folder.is_silent_about(&text, "admin."),
            false => folder.refuses(&text, "admin.users: signs people in at admin.public_url"),
        }
    }
}

#[test]
fn the_viewers_token_is_not_the_operators() {
    let folder = Folder::new()
        .with("one", "sixteen-octets-x")
        .with("other", "sixteen-octets-x\n")
        .with("third", "another-sixteen-octets");
    for (token, viewer) in [
        ("sixteen-octets-x", "sixteen-octets-x"),
        ("sixteen-octets-x", "{file: one}"),
        ("{file: one}", "{file: other}"),
        ("{file: absent}", "{file: absent}"),
    ] {
        let keys = format!("  token: {token}\n  viewer_token: {viewer}\n");
        folder.refuses(&file(&keys), "admin.viewer_token: is admin.token");
    }
    for (token, viewer) in [
        ("sixteen-octets-x", "sixteen-octets-y"),
        ("{file: one}", "{file: third}"),
        ("{file: absent}", "{file: neither}"),
    ] {
        let keys = format!("  token: {token}\n  viewer_token: {viewer}\n");
        folder.is_silent_about(&file(&keys), "viewer_token");
    }
    let short = file("  viewer_token: fifteen-octets-\n");
    folder.refuses(&short, "admin.viewer_token: has fewer than 16 octets");
}
