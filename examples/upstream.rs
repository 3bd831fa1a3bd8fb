//! The sandbox's mail service and identity provider alone, in a process of their own, so that a
//! relay or a tunnel in front of them can be measured by itself.
//!
//! `upstream DIRECTORY [OCTETS]` writes `ca.pem` and a `proxy.yaml` into DIRECTORY, puts one
//! message of OCTETS (default 50,000,000) into the mailbox, prints a line of JSON with the ports
//! and a token, and serves until its stdin ends.

use std::io;
use std::path::PathBuf;

use authrelay::sandbox::{LOGIN, MAILBOX, Options, PASSWORD, Ports, Sandbox};

/// Where the whole of a message is asked for, the message is this long.
const OCTETS: usize = 50_000_000;

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || io::Error::other("usage: upstream DIRECTORY [OCTETS]");
    let directory = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let octets = match arguments.next() {
        Some(octets) => octets.parse().map_err(|_| usage())?,
        None => OCTETS,
    };
    // Each session is a descriptor.
    rlimit::increase_nofile_limit(rlimit::INFINITY)?;
    let sandbox = Sandbox::start(Options {
        smtp_connections: None,
        smtp_messages: None,
        ..Options::default()
    })
    .await?;
    sandbox.deliver(MAILBOX, message(octets));
    let number = sandbox.messages(MAILBOX).len();
    let ports = Ports {
        imap: 0,
        pop3: 0,
        smtp: 0,
    };
    let config = sandbox.proxy_yaml(&directory, ports)?;
    println!(
        "{}",
        serde_json::json!({
            "imap": sandbox.imap().port(),
            "message": number,
            "octets": octets,
            "mailbox": MAILBOX,
            "token": sandbox.issue_token()?,
            "login": LOGIN,
            "password": PASSWORD,
            "ca": directory.join("ca.pem"),
            "config": config,
        })
    );
    let stdin_ends = || io::copy(&mut io::stdin(), &mut io::sink());
    tokio::task::spawn_blocking(stdin_ends).await??;
    sandbox.stop().await;
    Ok(())
}

/// A message of about so many octets, in lines of 78.
fn message(octets: usize) -> Vec<u8> {
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    let line: Vec<_> = (b'0'..=b'z')
        .filter(u8::is_ascii_alphanumeric)
        .cycle()
        .take(76)
        .collect();
    while message.len() + 78 <= octets {
        message.extend_from_slice(&line);
        message.extend_from_slice(b"\r\n");
    }
    message
}
