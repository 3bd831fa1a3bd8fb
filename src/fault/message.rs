//! Remedies for a mail service's refusal of a message, or of a mailbox after a successful login.

use super::quoting::{argument, fill};
use crate::wire::Protocol;

/// Refusals, by lower-case parts of their text, and their remedies. `MAILBOX`, `SENDER` and
/// `TRUSTEE` are placeholders.
const REFUSALS: &[(&[&str], &str)] = &[
    (
        &[
            "5.7.60",
            "5.2.252",
            "sendasdenied",
            "not allowed to send as",
        ],
        "the user who logged in may not send as SENDER: Add-RecipientPermission -Identity SENDER -Trustee TRUSTEE \
         -AccessRights SendAs; or set smtp: {from: mailbox} for the account, so that messages come from MAILBOX",
    ),
    (
        &["5.7.708"],
        "Exchange Online does not accept mail from this tenant's address yet (a new tenant, or one with a bad reputation): \
         the tenant's administrator opens a support case with Microsoft",
    ),
    (
        &["submissionquotaexceeded", "5.1.90"],
        "MAILBOX has sent as much as Exchange Online allows in a day; wait, or send from several mailboxes or by High Volume Email",
    ),
    (
        &["5.2.2", "mailbox full", "quotaexceeded"],
        "a mailbox is full: make room in MAILBOX, or in the recipient's",
    ),
    (
        &["5.5.105"],
        "High Volume Email sends within the organization only; use the preset microsoft365 for other recipients",
    ),
    (
        &["5.7.240"],
        "Add-HVEAppAccess -Identity MAILBOX -AppIds OBJECT_ID, with the object id of the enterprise application; it takes effect within 5 minutes",
    ),
    (
        &["5.2.3", "5.3.4", "size"],
        "the message is larger than MAILBOX may send: Set-Mailbox -Identity MAILBOX -MaxSendSize 150MB, or let the application send less",
    ),
    (
        &["5.1.1", "5.1.10", "5.4.1", "recipient"],
        "the recipient does not exist, or accepts no mail from SENDER; correct it in the application",
    ),
];

/// Returns the remedy for a message from `sender` that the mail service rejected permanently with
/// the text `said`, in a session logged in as `mailbox`. With `is_app_only` the trustee is the
/// application's service principal.
pub fn message_remedy(said: &str, mailbox: &str, sender: &str, is_app_only: bool) -> String {
    let said = said.to_lowercase();
    let known = REFUSALS
        .iter()
        .find(|(texts, _)| texts.iter().any(|text| said.contains(text)));
    let remedy = known.map_or(
        "the mail service's own words say why; correct the message in the application, or the mailbox's rights",
        |(_, remedy)| *remedy,
    );
    let remedy = match is_app_only {
        true => remedy.replace("TRUSTEE", "OBJECT_ID (that of the enterprise application)"),
        false => remedy.to_owned(),
    };
    let sender = if sender.is_empty() { mailbox } else { sender };
    let names = [
        ("TRUSTEE", mailbox),
        ("MAILBOX", mailbox),
        ("SENDER", sender),
    ];
    fill(&remedy, &names)
}

/// Returns the remedy for a mailbox that stays closed after a successful login.
pub fn mailbox_remedy(protocol: Protocol, mailbox: &str, is_app_only: bool) -> String {
    let who = match is_app_only {
        true => "OBJECT_ID (that of the enterprise application)",
        false => "USER (the person who signed in)",
    };
    format!(
        "{}; {}; `authrelay doctor` shows which of them is missing",
        full_access(mailbox, "WHO").replace("-User WHO", &format!("-User {who}")),
        enable_protocol(protocol, mailbox)
    )
}

/// Returns Exchange Online's command that gives `who` access to a mailbox.
pub fn full_access(mailbox: &str, who: &str) -> String {
    let (mailbox, who) = (argument(mailbox), argument(who));
    format!("Add-MailboxPermission -Identity {mailbox} -User {who} -AccessRights FullAccess")
}

/// Returns Exchange Online's command that enables a protocol for a mailbox.
pub fn enable_protocol(protocol: Protocol, mailbox: &str) -> String {
    let switch = match protocol {
        Protocol::Imap => "-ImapEnabled $true",
        Protocol::Pop3 => "-PopEnabled $true",
        Protocol::Smtp => "-SmtpClientAuthenticationDisabled $false",
    };
    format!("Set-CASMailbox -Identity {} {switch}", argument(mailbox))
}
