//! `accounts`: logins, the mailboxes they open and the passwords they want.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::field::{Field, Section};
use super::super::hash::{Cost, cost};
use super::super::{
    Account, CertificateName, Grant, Listener, LoginPattern, Mailbox, Password, PasswordCheck,
    Protocols,
};
use super::Reader;
use super::registrations::Registrations;
use super::smtp::{check_from, check_sender, policy};
use crate::wire::Protocol;
use crate::wire::sasl::{CREDENTIAL_CAP, Credentials};

/// The accounts that are good.
#[derive(Debug, Default)]
pub(super) struct Accounts<'t> {
    /// Each with where the file has it.
    pub(super) placed: Vec<(Field<'t>, Arc<Account>)>,
    /// Others are not, and that was said.
    pub(super) incomplete: bool,
}

impl<'t> Accounts<'t> {
    /// That of a login in lower case, an exact one before a wildcard, and where the file has it.
    pub(super) fn find(&self, login: &str) -> Option<&(Field<'t>, Arc<Account>)> {
        let is =
            |pattern: &LoginPattern| matches!(pattern, LoginPattern::Exact(own) if own == login);
        let covers = |pattern: &LoginPattern| match (pattern, login.rsplit_once('@')) {
            (LoginPattern::Domain(own), Some((_, domain))) => own == domain,
            _ => false,
        };
        let with = |fits: &dyn Fn(&LoginPattern) -> bool| {
            let mut placed = self.placed.iter();
            placed.find(|(_, account)| fits(&account.login))
        };
        with(&is)
            .or_else(|| with(&covers))
            .or_else(|| with(&|pattern| *pattern == LoginPattern::Any))
    }
}

impl Reader<'_> {
    pub(super) fn accounts<'t>(
        &self,
        field: Option<Field<'t>>,
        registrations: &Registrations,
    ) -> Accounts<'t> {
        let mut accounts = Accounts::default();
        let Some(field) = field else {
            accounts.incomplete = true;
            return accounts;
        };
        let items = field.list();
        if items.is_empty() {
            field.problem("must have at least one account");
        }
        let mut lines = HashMap::new();
        for item in items {
            let Some(account) = self.account(&item, registrations) else {
                accounts.incomplete = true;
                continue;
            };
            if let Some(line) = lines.insert(account.login.clone(), item.place.0) {
                item.problem(format_args!(
                    "another account has the same login (line {line}); give it further passwords instead"
                ));
            }
            accounts.placed.push((item, Arc::new(account)));
        }
        accounts
    }

    fn account(&self, field: &Field<'_>, registrations: &Registrations) -> Option<Account> {
        let mut section = field.section()?;
        let login = section
            .require("login", "the user name of the application, or *@domain")
            .and_then(|field| login(&field));
        let registration = section
            .require("registration", "the name of one of the registrations")
            .and_then(|field| registrations.named(&field));
        let mailbox_field = section.take("mailbox");
        let mailbox = match &mailbox_field {
            Some(field) => mailbox(field),
            None => Some(Mailbox::default()),
        };
        let protocols = section.take("protocols");
        let speaks = protocols
            .as_ref()
            .map_or(Some(Protocols::ALL), Field::protocols);
        let passwords = match registration
            .as_ref()
            .map(|registration| &registration.grant)
        {
            Some(grant) if grant.needs_client_password() => no_passwords(grant, &mut section),
            // Whether one is needed is not known.
            None if ["password", "passwords"]
                .iter()
                .all(|key| section.take(key).is_none()) =>
            {
                None
            }
            _ => self.passwords(&mut section),
        };
        let smtp_field = section.take("smtp");
        let policy = smtp_field.as_ref().map(policy);
        section.finish();
        if let (Some(field), Some(Some(policy)), Some(login), Some(mailbox)) =
            (&smtp_field, &policy, &login, &mailbox)
        {
            check_from(field, policy, login, mailbox);
        }
        if let (Some(field), Some(registration), Some(mailbox)) =
            (&mailbox_field, &registration, &mailbox)
            && mailbox.smtp_is_sender
        {
            check_sender(
                field,
                registration,
                policy.as_ref().and_then(Option::as_ref),
            );
        }
        if let (Some(field), Some(Protocols { smtp: false, .. })) = (&smtp_field, speaks) {
            field.problem("has no use, since the account's protocols do not include smtp");
        }
        let smtp = match policy {
            Some(policy) => Some(policy?),
            None => None,
        };
        let (registration, speaks) = (registration?, speaks?);
        if let Some(field) = protocols {
            for protocol in Protocol::ALL {
                if speaks.contain(protocol) && registration.provider.endpoint(protocol).is_none() {
                    field.problem(format_args!(
                        "the provider {} has no {protocol}",
                        registration.provider.name
                    ));
                }
            }
        }
        let login = login?;
        let any = |password: &Password| matches!(password.check, PasswordCheck::Any);
        if login == LoginPattern::Any && passwords.iter().flatten().any(any) {
            return field.wrong(
                "must not have `password: any`: with login \"*\" every mailbox would be open to whoever reaches the listener",
            );
        }
        Some(Account {
            login,
            registration,
            mailbox: mailbox?,
            passwords: passwords?.into_iter().map(Arc::new).collect(),
            protocols: speaks,
            smtp,
        })
    }

    fn passwords(&self, section: &mut Section<'_>) -> Option<Vec<Password>> {
        match (section.take("password"), section.take("passwords")) {
            (Some(_), Some(several)) => {
                several.wrong("stands beside password; put that one into the list")
            }
            (Some(one), None) => Some(vec![Password {
                name: None,
                check: self.check(&one)?,
                allow: None,
                protocols: Protocols::ALL,
                certificate: None,
            }]),
            (None, Some(several)) => {
                let items = several.list();
                if items.is_empty() {
                    return several.wrong("must have at least one password");
                }
                let mut names = HashSet::new();
                let read = |item: &Field<'_>| {
                    let password = self.password(item)?;
                    if !names.insert(password.name.clone()) {
                        item.problem("another password of this account has the same name");
                    }
                    Some(password)
                };
                // Every one is read before the first that is wrong counts.
                let passwords: Vec<_> = items.iter().map(read).collect();
                passwords.into_iter().collect()
            }
            (None, None) => section
                .require(
                    "password",
                    "a hash from `authrelay hash-password`, {file: PATH} or {env: NAME}",
                )
                .and(None),
        }
    }

    fn password(&self, field: &Field<'_>) -> Option<Password> {
        let mut section = field.section()?;
        let name = section
            .require("name", "what the password is for; it appears in the log")
            .and_then(|field| field.word().map(str::to_owned));
        let check = section
            .require(
                "password",
                "a hash from `authrelay hash-password`, {file: PATH} or {env: NAME}",
            )
            .and_then(|field| self.check(&field));
        let allow = section.take("allow").map(|field| field.networks());
        let protocols = section
            .take("protocols")
            .map_or(Some(Protocols::ALL), |field| field.protocols());
        let certificate = match section.take("certificate") {
            Some(field) => certificate_name(&field).map(Some),
            None => Some(None),
        };
        section.finish();
        Some(Password {
            name: Some(name?),
            check: check?,
            allow,
            protocols: protocols?,
            certificate: certificate?,
        })
    }

    fn check(&self, field: &Field<'_>) -> Option<PasswordCheck> {
        if !field.is_section() && field.text()? == "any" {
            self.warn(
                field,
                "any: whoever reaches the listener opens this mailbox, with whatever password",
            );
            return Some(PasswordCheck::Any);
        }
        let secret = self.sources.secret(field)?;
        let text = secret.expose();
        if text.is_empty() {
            // Secrets are not read.
            return Some(PasswordCheck::Plain(secret));
        }
        if text.starts_with("$argon2") {
            return match cost(text) {
                Some(_) => Some(PasswordCheck::Hash(secret)),
                None => field.wrong(
                    "is no complete argon2id, argon2i or argon2d hash; quote it as `authrelay hash-password` prints it",
                ),
            };
        }
        if [
            "$2a$", "$2b$", "$2y$", "$1$", "$5$", "$6$", "$y$", "$scrypt$", "$pbkdf2", "{SSHA",
        ]
        .iter()
        .any(|scheme| text.starts_with(scheme))
        {
            return field.wrong(
                "looks like a hash other than argon2; make one with `authrelay hash-password`",
            );
        }
        if Credentials::new(b"login", text.as_bytes()).is_err() {
            return field.wrong(
                "could never be presented: a password has 1 to 255 octets and no control characters",
            );
        }
        Some(PasswordCheck::Plain(secret))
    }

    /// Requirement 15: failures take alike long only where every hash costs the same to check.
    pub(super) fn check_costs(&self, accounts: &Accounts<'_>) {
        let mut found: Vec<(Cost, usize, &Field<'_>)> = Vec::new();
        for (field, account) in &accounts.placed {
            for password in &account.passwords {
                let PasswordCheck::Hash(phc) = &password.check else {
                    continue;
                };
                let Some(cost) = cost(phc.expose()) else {
                    continue;
                };
                match found.iter_mut().find(|(other, ..)| *other == cost) {
                    Some((_, count, _)) => *count += 1,
                    None => found.push((cost, 1, field)),
                }
            }
        }
        let most = found.iter().map(|(_, count, _)| *count).max();
        let usual = found.iter().position(|(_, count, _)| Some(*count) == most);
        let Some(usual) = usual.map(|index| found.swap_remove(index)) else {
            return;
        };
        for (cost, count, field) in found {
            self.warn(
                field,
                format_args!(
                    "{count} argon2 hashes, here the first, have the parameters {cost} and others {}: time tells a guesser which logins exist; make them alike with `authrelay hash-password`",
                    usual.0
                ),
            );
        }
    }

    /// A password that wants a certificate is good where clients are asked for one.
    pub(super) fn check_certificates(&self, accounts: &Accounts<'_>, listeners: &[Arc<Listener>]) {
        for (field, account) in &accounts.placed {
            for (index, password) in account.passwords.iter().enumerate() {
                let usable = |listener: &&Arc<Listener>| {
                    listener.wants_certificate()
                        && password.protocols.contain(listener.protocol)
                        && account.protocols.contain(listener.protocol)
                };
                if password.certificate.is_none() || listeners.iter().any(|one| usable(&one)) {
                    continue;
                }
                field.problem(format_args!(
                    "passwords[{index}] wants a certificate, and no listener of its protocols asks clients for one: set tls.client_ca there, or remove certificate"
                ));
            }
        }
    }

    /// `any` opens nothing where anybody may come.
    pub(super) fn check_any_password(&self, accounts: &Accounts<'_>, listeners: &[Arc<Listener>]) {
        let open: Vec<_> = listeners
            .iter()
            .filter(|listener| !listener.takes_any_password())
            .map(|listener| listener.name.as_str())
            .collect();
        if open.is_empty() {
            return;
        }
        let any = |password: &Arc<Password>| matches!(password.check, PasswordCheck::Any);
        for (field, account) in &accounts.placed {
            if !account.passwords.is_empty()
                && account.passwords.iter().all(any)
                && open.len() == listeners.len()
            {
                field.problem(
                    "`password: any` is accepted on listeners alone whose bind is loopback or that have allow, and there is none",
                );
            } else if account.passwords.iter().any(any) {
                self.warn(
                    field,
                    format_args!(
                        "`password: any` is not accepted on {}, which has neither a loopback bind nor allow",
                        open.join(", ")
                    ),
                );
            }
        }
    }
}

/// A host name or an address.
fn certificate_name(field: &Field<'_>) -> Option<CertificateName> {
    let text = field.word()?;
    let name = match text.contains('@') {
        true => CertificateName::address(text),
        false => CertificateName::host(text),
    };
    match name {
        Some(name) => Some(name),
        None => field.wrong(
            "must be a name as the client's certificate bears it in its subjectAltName: a host (dNSName, IDNA in its xn-- form) or an address (rfc822Name)",
        ),
    }
}

/// The identity provider checks what the client presents, and no one else.
fn no_passwords(grant: &Grant, section: &mut Section<'_>) -> Option<Vec<Password>> {
    let why = match grant {
        Grant::Password(_) => "the grant password",
        _ => "client_secret: {client: password}",
    };
    let given = ["password", "passwords"].map(|key| section.take(key));
    for field in given.iter().flatten() {
        field.problem(format_args!("has no use with {why}, where the identity provider checks what the client presents; remove it"));
    }
    given.iter().all(Option::is_none).then(Vec::new)
}

fn login(field: &Field<'_>) -> Option<LoginPattern> {
    let login = field.word()?.to_lowercase();
    if login.len() > CREDENTIAL_CAP {
        return field.wrong("must have at most 255 octets");
    }
    if login == "*" {
        return Some(LoginPattern::Any);
    }
    match login.strip_prefix("*@") {
        Some(domain) if domain.contains(['*', '@']) || domain.is_empty() => {
            field.wrong("must be *@domain, as in *@contoso.com")
        }
        Some(domain) => Some(LoginPattern::Domain(domain.to_owned())),
        None if login.contains('*') => field.wrong(
            "may have a wildcard only as *@domain, as in *@contoso.com, or as * for every address",
        ),
        None => Some(LoginPattern::Exact(login)),
    }
}

/// One mailbox, or one a protocol.
fn mailbox(field: &Field<'_>) -> Option<Mailbox> {
    if !field.is_section() {
        let name = Some(mailbox_name(field)?);
        return Some(Mailbox {
            imap: name.clone(),
            pop3: name.clone(),
            smtp: name,
            smtp_is_sender: false,
        });
    }
    let mut section = field.section()?;
    let mut mailbox = Mailbox::default();
    let mut good = true;
    for (key, of) in [
        ("imap", &mut mailbox.imap),
        ("pop3", &mut mailbox.pop3),
        ("smtp", &mut mailbox.smtp),
    ] {
        let Some(field) = section.take(key) else {
            continue;
        };
        if key == "smtp" && field.text() == Some("sender") {
            mailbox.smtp_is_sender = true;
            continue;
        }
        *of = mailbox_name(&field);
        good &= of.is_some();
    }
    section.finish();
    good.then_some(mailbox)
}

fn mailbox_name(field: &Field<'_>) -> Option<String> {
    let name = field.word()?;
    if name.len() > CREDENTIAL_CAP || name.contains([' ', '*']) {
        return field.wrong("must be one mailbox's address");
    }
    Some(name.to_owned())
}
