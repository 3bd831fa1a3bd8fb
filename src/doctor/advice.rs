//! Turns a failed step into one cause and one remedy, with the names of the account.
//!
//! Exchange replies with the same few words for many causes; the token's claims distinguish them.

use super::report::TestTarget;
use crate::fault::{
    Fault, Kind, argument, enable_protocol, full_access, message_remedy, shell_argument,
};
use crate::wire::Protocol;

#[derive(Debug, Clone, Default)]
pub(super) struct TokenClaims {
    pub(super) audience: Option<String>,
    pub(super) application: Option<String>,
    pub(super) object: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) user: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<String>,
    /// Whether the token could be read; an opaque token has no readable claims.
    pub(super) known: bool,
}

/// Cause and remedy of a failure.
pub(super) struct Advice {
    pub(super) cause: String,
    pub(super) remedy: String,
    /// Whether the mail service refuses the login or the mailbox, and not only for now.
    pub(super) is_refusal: bool,
}

impl Advice {
    pub(super) fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.into(),
            is_refusal: false,
        }
    }
}

/// Builds the advice from a fault that already names the cause.
pub(super) fn of_fault(target: &TestTarget, fault: &Fault) -> Advice {
    let fault = fault.clone().for_mailbox(&mailbox(target));
    let remedy = match fault.remedy() {
        Some(remedy) => remedy.to_owned(),
        None => "look at the detail, and at the log of the other side".into(),
    };
    Advice::new(cause(&fault), remedy)
}

fn cause(fault: &Fault) -> String {
    let side = match fault.kind() {
        Kind::Credentials => "the user or password is wrong",
        Kind::Unavailable => "the identity provider cannot be used at the moment",
        Kind::GrantRefused => "the identity provider refuses",
        Kind::Unreachable => "the mail service cannot be reached as configured",
        Kind::Busy => "the mail service refuses for now",
        Kind::Refused => "the mail service refuses",
        _ => "authrelay itself has trouble",
    };
    side.to_owned()
}

/// Explains why the mail service refused XOAUTH2.
pub(super) fn of_login(target: &TestTarget, claims: &TokenClaims, fault: &Fault) -> Advice {
    let detail = fault.detail().to_lowercase();
    // Texts of Exchange that name the cause themselves.
    let says = [
        "disabled",
        "5.7.139",
        "5.7.30",
        "5.7.142",
        "5.7.143",
        "5.7.144",
        "5.7.240",
        "5.5.12",
        "throttled",
        "unrecognized authentication",
    ];
    if fault.kind() != Kind::Refused || says.iter().any(|said| detail.contains(said)) {
        return of_fault(target, fault);
    }
    let mailbox = mailbox(target);
    if !claims.known {
        return of_fault(target, fault);
    }
    if !target.account.registration.grant.is_app_only() {
        return of_delegate(target, claims, &mailbox);
    }
    let object = claims.object.as_deref().unwrap_or("OBJECT_ID");
    let application = application(target, claims);
    if target.account.registration.provider.is_high_volume() {
        return Advice::new(
            format!(
                "the High Volume Email account {mailbox} does not accept the application with the object id {object}"
            ),
            format!(
                "in Entra add Office 365 Exchange Online, application permission Mail.Send, with admin consent; then \
                 Add-HVEAppAccess -Identity {} -AppIds {object}",
                argument(&mailbox)
            ),
        );
    }
    if target.protocol == Protocol::Smtp && !has_role(claims, "SMTP.SendAsApp") {
        return Advice::new(
            "the token has no role SMTP.SendAsApp, and no RBAC assignment lets the application send",
            format!(
                "in Entra add Office 365 Exchange Online, application permission SMTP.SendAsApp, with admin consent; or by RBAC only: \
                 New-ManagementRoleAssignment -Role 'Application SMTP.SendAsApp' -App {object} -RecipientOrganizationUnitScope OU"
            ),
        );
    }
    Advice::new(
        format!(
            "Exchange does not know the application's service principal with the object id {object}, or it has no permission on {mailbox}; \
             the usual mistake is the object id of the app registration in place of the enterprise application's, which is {object}"
        ),
        format!(
            "Connect-ExchangeOnline; New-ServicePrincipal -AppId {application} -ObjectId {object}; {}",
            full_access(&mailbox, object)
        ),
    )
}

/// Explains why the mail service refused a delegated token for the mailbox.
fn of_delegate(target: &TestTarget, claims: &TokenClaims, mailbox: &str) -> Advice {
    let user = claims.user.as_deref().unwrap_or_default();
    if user.is_empty() || user.eq_ignore_ascii_case(mailbox) {
        return Advice::new(
            format!(
                "the mail service does not let {mailbox} use {} with this application",
                target.protocol
            ),
            enable_protocol(target.protocol, mailbox),
        );
    }
    if target.protocol == Protocol::Smtp {
        return Advice::new(
            format!(
                "{user} signed in, and over SMTP a delegate logs in with their own account, not as {mailbox}"
            ),
            format!(
                "set the account's mailbox: {{imap: {mailbox}, pop3: {mailbox}, smtp: {user}}}; the application sends MAIL FROM {mailbox}, which needs \
                 Add-RecipientPermission -Identity {} -Trustee {} -AccessRights SendAs. To log in as {mailbox} itself, {user} needs: {}",
                argument(mailbox),
                argument(user),
                full_access(mailbox, user)
            ),
        );
    }
    Advice::new(
        format!("{user} signed in, and has no full access to {mailbox}"),
        format!(
            "{}; or, if only the owner should have signed in: authrelay authorize {}",
            full_access(mailbox, user),
            shell_argument(&target.login)
        ),
    )
}

/// Explains why the first command on the mailbox failed.
pub(super) fn of_mailbox(target: &TestTarget, claims: &TokenClaims, said: &str) -> Advice {
    let mailbox = mailbox(target);
    let lower = said.to_lowercase();
    let object = claims.object.as_deref();
    if lower.contains("authenticated but not connected") {
        return of_closed_mailbox(target, claims, &mailbox);
    }
    if lower.contains("5.7.240") || lower.contains("5.5.105") {
        let remedy = message_remedy(said, &mailbox, &mailbox, true);
        return Advice::new(
            "High Volume Email refuses the message",
            remedy.replace("OBJECT_ID", object.unwrap_or("OBJECT_ID")),
        );
    }
    if lower.contains("5.7.60") || lower.contains("sendasdenied") {
        return Advice::new(
            format!("the user who logged in may not send as {mailbox}"),
            format!(
                "Add-RecipientPermission -Identity {} -Trustee {} -AccessRights SendAs",
                argument(&mailbox),
                object.unwrap_or("USER")
            ),
        );
    }
    if lower.contains("throttled") || lower.contains("backoff") || said.starts_with('4') {
        return Advice::new(
            "the mail service is throttling this mailbox",
            "let the application poll less often, and try again later",
        );
    }
    Advice::new(
        format!("the mail service refuses the first command on {mailbox}"),
        enable_protocol(target.protocol, &mailbox),
    )
}

/// Texts of refusals of the first command that are temporary: throttling, the end of the session,
/// and the response codes of RFC 5530, RFC 2449 §8.1.2 and RFC 3206 §4.
const TEMPORARY: [&str; 10] = [
    "throttled",
    "backoff",
    "* bye",
    "[unavailable]",
    "[serverbug]",
    "[limit]",
    "[inuse]",
    "[sys/temp]",
    "[in-use]",
    "[login-delay]",
];

/// Whether a refusal of the first command is only temporary.
pub(super) fn is_temporary(said: &str) -> bool {
    let lower = said.to_lowercase();
    said.starts_with('4') || TEMPORARY.iter().any(|text| lower.contains(text))
}

/// Explains why an accepted token opens no mailbox.
fn of_closed_mailbox(target: &TestTarget, claims: &TokenClaims, mailbox: &str) -> Advice {
    let object = claims.object.as_deref();
    let user = claims.user.as_deref();
    let delegate = user.filter(|user| !user.eq_ignore_ascii_case(mailbox));
    let is_app_only = target.account.registration.grant.is_app_only();
    match (is_app_only, object, delegate) {
        (true, Some(object), _) => Advice::new(
            format!(
                "the token is good, and the application has no permission on {mailbox}, or {} is off there",
                target.protocol
            ),
            format!(
                "{}; {}",
                full_access(mailbox, object),
                enable_protocol(target.protocol, mailbox)
            ),
        ),
        (_, _, Some(user)) => Advice::new(
            format!("{user} signed in, and has no full access to {mailbox}"),
            full_access(mailbox, user),
        ),
        _ => Advice::new(
            format!(
                "the token is good, and {mailbox} is not open to it: {} is off there, or there is no such mailbox",
                target.protocol
            ),
            enable_protocol(target.protocol, mailbox),
        ),
    }
}

fn has_role(claims: &TokenClaims, role: &str) -> bool {
    claims
        .roles
        .iter()
        .any(|other| other.eq_ignore_ascii_case(role))
}

fn mailbox(target: &TestTarget) -> String {
    target.account.mailbox_of(target.protocol, &target.login)
}

fn application(target: &TestTarget, claims: &TokenClaims) -> String {
    match &claims.application {
        Some(application) => application.clone(),
        None => target.account.registration.client_id.clone(),
    }
}
