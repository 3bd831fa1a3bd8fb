//! `entra LOGIN`: prints portal steps and commands for an account's grant and protocols. Works
//! offline, with names from the configuration.

use std::path::Path;

use super::entra_script::{is_public_client, permission, redirect};
use super::setup::{Exit, load, no_account, print};
use crate::config::{Account, ClientCredential, Config, Grant, Logins};
use crate::fault::{argument, enable_protocol, full_access, shell_argument};
use crate::wire::Protocol;

pub(super) fn run(path: &Path, login: &str, script: bool) -> Result<Exit, Exit> {
    let login = login.to_lowercase();
    let config = load(path)?;
    let logins = Logins::new(&config.accounts);
    let account = logins.find(&login);
    let account = account.ok_or_else(|| Exit::Usage.with(no_account(&login)))?;
    let provider = &account.registration.provider.name;
    if !(provider.starts_with("microsoft365") || provider == "outlook") {
        return Err(Exit::Usage.with(format_args!(
            "the provider of {login} is {provider}; this command knows Microsoft's"
        )));
    }
    if !script {
        return Ok(print(guide(&config, account, &login)));
    }
    let script = super::entra_script::script(&config, account, &login).map_err(|why| {
        let grant = account.registration.grant.name();
        Exit::Usage.with(format_args!(
            "there is no script for {login}, whose grant is {grant}: {why}; without --script the steps are printed"
        ))
    })?;
    Ok(print(script))
}

/// Writer of numbered steps with their commands.
struct Guide {
    text: String,
    number: usize,
}

impl Guide {
    fn step(&mut self, title: &str) {
        self.number += 1;
        self.text.push_str(&format!("\n{}. {title}\n", self.number));
    }

    fn line(&mut self, text: impl AsRef<str>) {
        self.text.push_str(&format!("   {}\n", text.as_ref()));
    }

    fn run(&mut self, command: impl AsRef<str>) {
        self.text
            .push_str(&format!("       {}\n", command.as_ref()));
    }
}

fn guide(config: &Config, account: &Account, login: &str) -> String {
    let registration = &account.registration;
    let mut guide = Guide {
        text: format!(
            "{login}: grant {}, registration {}\n",
            registration.grant.name(),
            registration.name
        ),
        number: 0,
    };
    register(&mut guide, config, account);
    if registration.provider.is_high_volume() {
        high_volume(&mut guide, account, login);
    } else {
        permissions(&mut guide, account);
        credential(&mut guide, account);
        exchange(&mut guide, account, login);
    }
    guide.step("Test");
    if registration.grant.needs_consent() {
        guide.run(format!("authrelay authorize {}", shell_argument(login)));
    }
    guide.run(format!("authrelay doctor {}", shell_argument(login)));
    guide.text.push_str(
        "\nPortal: https://entra.microsoft.com; PowerShell: Connect-ExchangeOnline of the module\nExchangeOnlineManagement. New permissions can take up to two hours to take effect.\n",
    );
    guide.text
}

fn register(guide: &mut Guide, config: &Config, account: &Account) {
    let registration = &account.registration;
    match &registration.grant {
        Grant::ManagedIdentity { .. } => {
            guide.step("Managed identity");
            guide.line("Turn the machine's managed identity on (Identity > System assigned), or assign a user-assigned one.");
            guide.line("Whether Exchange accepts it for IMAP, POP and SMTP is not documented: treat it as experimental.");
            return;
        }
        Grant::Command { .. } => {
            guide.step("The command");
            guide.line("It prints a token for https://outlook.office365.com; whose registration that is, it knows.");
            return;
        }
        _ => {}
    }
    guide.step("App registration (Entra > App registrations > New registration)");
    let personal = registration.provider.name == "outlook";
    guide.line(match personal {
        true => "Supported account types: Personal Microsoft accounts.",
        false => "Supported account types: this organizational directory only (several for multi-tenant applications).",
    });
    match registration.client_id.as_str() {
        "" => guide.line("Put its Application (client) ID into client_id."),
        id => guide.line(format!("Its Application (client) ID is client_id: {id}")),
    }
    if !registration.tenant.is_empty() {
        guide.line(format!(
            "Its Directory (tenant) ID or domain is tenant: {}",
            registration.tenant
        ));
    }
    if let Some((uri, platform)) = redirect(config, registration) {
        guide.step("Redirect URI (Authentication > Add a platform)");
        guide.line(format!("{platform}: {uri}"));
    }
    if is_public_client(registration) {
        guide.step("Public client (Authentication > Advanced settings)");
        guide.line("Allow public client flows: Yes (there is no secret).");
    }
}

/// Writes the exact names of the permissions.
fn permissions(guide: &mut Guide, account: &Account) {
    let registration = &account.registration;
    let application =
        registration.grant.is_app_only() || matches!(registration.grant, Grant::Command { .. });
    let names = account.served();
    let names: Vec<_> = names
        .map(|protocol| permission(protocol, application))
        .collect();
    if application && by_role(account) {
        guide.step("Permission to send: an RBAC role in Exchange, and none in Entra");
        guide.line("Leave API permissions empty: the application permission SMTP.SendAsApp would let it send as every mailbox.");
        guide.line("The role is assigned below. (If every mailbox is meant: Office 365 Exchange Online, application permission");
        guide.line("SMTP.SendAsApp, with admin consent, in place of the role.)");
    } else if application {
        guide.step("API permissions > Add > APIs my organization uses > Office 365 Exchange Online > Application permissions");
        guide.line(names.join(", "));
        guide.line("Then: Grant admin consent. Without it tokens are issued, but carry no roles.");
        if account.protocols.contains(&Protocol::Smtp) {
            guide.line("To let it send for some mailboxes only, leave SMTP.SendAsApp out and use the RBAC role below.");
        }
    } else {
        guide.step("API permissions > Add > Microsoft Graph > Delegated permissions");
        guide.line(format!("{}, offline_access", names.join(", ")));
        match registration.provider.name.as_str() {
            "outlook" => guide.line("The mailbox's owner consents."),
            _ => {
                guide.line("Then: Grant admin consent. In most tenants users may not consent to mail permissions;");
                guide.line("AADSTS65001, 90094 and 90095 mean that an administrator has to.");
            }
        }
    }
}

fn credential(guide: &mut Guide, account: &Account) {
    match account.registration.grant.credential() {
        Some(ClientCredential::Secret(_)) => {
            guide.step("Client secret (Certificates & secrets > New client secret)");
            guide.line("Put its Value, not its Secret ID, where client_secret says, and its expiry date into client_secret_expires.");
        }
        Some(ClientCredential::ClientPassword) => {
            guide.step("Client secret (Certificates & secrets > New client secret)");
            guide.line("Its Value is the password that the application is given.");
        }
        Some(ClientCredential::Certificate(key)) => {
            guide.step("Certificate (Certificates & secrets > Certificates > Upload)");
            guide.line(format!(
                "The one whose SHA-256 thumbprint is, in base64url, {}",
                key.thumbprint
            ));
        }
        Some(ClientCredential::Federated(path)) => {
            guide.step(
                "Federated credential (Certificates & secrets > Federated credentials > Add)",
            );
            guide.line(format!(
                "Issuer and subject are those of the token in {}; audience api://AzureADTokenExchange",
                path.display()
            ));
        }
        None => {}
    }
}

/// Writes the steps in Exchange.
fn exchange(guide: &mut Guide, account: &Account, login: &str) {
    let registration = &account.registration;
    if registration.provider.name == "outlook" {
        guide.step("Mailbox (outlook.com > Settings > Forwarding and IMAP)");
        guide.line("Let devices and apps use POP and IMAP.");
        return;
    }
    let mut mailboxes: Vec<String> = account
        .served()
        .map(|protocol| account.mailbox_of(protocol, login))
        .collect();
    mailboxes.dedup();
    if registration.grant.is_app_only() {
        let id = match registration.client_id.as_str() {
            "" => "CLIENT_ID",
            id => id,
        };
        if by_role(account) {
            role(guide, id, &mailboxes);
            return switches(guide, account, login);
        }
        guide.step("Service principal (PowerShell)");
        service_principal(guide, id);
        for mailbox in &mailboxes {
            guide.run(full_access(mailbox, "OBJECT_ID"));
        }
        if account.protocols.contains(&Protocol::Smtp) {
            guide.line("In place of the permission SMTP.SendAsApp, to let it send for some mailboxes only:");
            assign_role(guide);
        }
    } else {
        let foreign = mailboxes.iter().filter(|mailbox| *mailbox != login);
        for mailbox in foreign {
            if guide.number > 0 {
                guide.step("Shared mailbox (PowerShell)");
            }
            guide.line(format!("The person who signs in as {login} needs:"));
            guide.run(full_access(mailbox, login));
            guide.run(format!(
                "Add-RecipientPermission -Identity {} -Trustee {} -AccessRights SendAs",
                argument(mailbox),
                argument(login)
            ));
        }
    }
    switches(guide, account, login);
}

fn service_principal(guide: &mut Guide, id: &str) {
    guide.line("OBJECT_ID is the object id under Enterprise applications, not that under App registrations");
    guide.line("(`authrelay doctor` shows the right one as oid):");
    guide.run(format!(
        "New-ServicePrincipal -AppId {} -ObjectId OBJECT_ID",
        argument(id)
    ));
}

fn assign_role(guide: &mut Guide) {
    guide.run("New-ManagementScope -Name relay -RecipientRestrictionFilter \"CustomAttribute1 -eq 'relay'\"");
    guide.run("New-ManagementRoleAssignment -Role 'Application SMTP.SendAsApp' -App OBJECT_ID -CustomResourceScope relay");
}

/// Whether the application only sends, so that an RBAC role that names the mailboxes is enough.
fn by_role(account: &Account) -> bool {
    let only_smtp = account.served().all(|protocol| protocol == Protocol::Smtp);
    only_smtp && account.registration.grant.is_app_only()
}

/// Writes the steps of RBAC for Applications, which supports SMTP but neither IMAP nor POP.
fn role(guide: &mut Guide, id: &str, mailboxes: &[String]) {
    guide.step("Role Application SMTP.SendAsApp (PowerShell)");
    service_principal(guide, id);
    for mailbox in mailboxes {
        guide.run(format!(
            "Set-Mailbox -Identity {} -CustomAttribute1 relay",
            argument(mailbox)
        ));
    }
    assign_role(guide);
    guide.line("Its tokens carry no roles, which is right.");
}

/// Writes the steps for High Volume Email.
fn high_volume(guide: &mut Guide, account: &Account, login: &str) {
    let mailbox = account.mailbox_of(Protocol::Smtp, login);
    guide.step("API permissions > Add > APIs my organization uses > Office 365 Exchange Online > Application permissions");
    guide.line("Mail.Send");
    guide.line("Then: Grant admin consent. This does not yet let the application send as anyone.");
    credential(guide, account);
    guide.step("High Volume Email account (PowerShell)");
    guide.line("OBJECT_ID is the object id under Enterprise applications, not that under App registrations");
    guide.line("(`authrelay doctor` shows the right one as oid); at most ten applications; it takes effect within 5 minutes:");
    guide.run(format!(
        "Add-HVEAppAccess -Identity {} -AppIds OBJECT_ID",
        argument(&mailbox)
    ));
    guide.line("Recipients within the organization only, 50 a message, 10 MB; SMTP AUTH of the tenant may stay off.");
}

fn switches(guide: &mut Guide, account: &Account, login: &str) {
    let registration = &account.registration;
    guide.step("Switches of the mailbox (PowerShell)");
    for protocol in account.served() {
        let mailbox = account.mailbox_of(protocol, login);
        guide.run(enable_protocol(protocol, &mailbox));
    }
    if account.protocols.contains(&Protocol::Smtp) {
        guide.line("SMTP AUTH must be on for OAuth too; for the whole tenant:");
        guide.run("Set-TransportConfig -SmtpClientAuthenticationDisabled $false");
    }
    if matches!(registration.grant, Grant::Password(_)) {
        guide.step("Sign-in policies");
        guide.line("The grant password cannot use a second factor: exclude the user from policies that require one.");
        guide.line("Federated and personal accounts cannot use it. Prefer client_credentials where you can.");
    }
}
