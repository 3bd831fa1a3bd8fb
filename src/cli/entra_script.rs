//! `entra LOGIN --script`: one PowerShell script that does what the guide says, for grants by which
//! an application acts for itself.
//!
//! It changes nothing that is as it should be, shows what it will do and asks once, and takes the
//! least rights that do. Names from the configuration stand in single quotes alone.

use crate::config::{Account, ClientCredential};
use crate::wire::Protocol;

/// Office 365 Exchange Online, as every tenant has it.
const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";

/// What never depends on the account: connecting, and the functions.
const HEAD: &str = r#"#Requires -Version 7.0
#Requires -Modules Microsoft.Graph.Authentication, Microsoft.Graph.Applications, ExchangeOnlineManagement
# Written by `authrelay entra LOGIN --script`. It could not be run against a tenant when it was written: read it first.
# It may be run again at any time: what is there already stays. It needs the roles Cloud Application
# Administrator (or Application Administrator), Privileged Role Administrator for admin consent, and Exchange
# Administrator.
[CmdletBinding()]
param([switch] $Yes)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
"#;

/// As a PowerShell string without any expansion.
fn quoted(text: &str) -> String {
    // PowerShell takes typographic quotes for single quotes too.
    let is_quote = |character: char| matches!(character, '\'' | '\u{2018}'..='\u{201b}');
    let mut out = String::from("'");
    for character in text.chars().filter(|character| !character.is_control()) {
        if is_quote(character) {
            out.push(character);
        }
        out.push(character);
    }
    out.push('\'');
    out
}

fn list(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| quoted(&value)).collect();
    format!("@({})", values.join(", "))
}

/// The script; `None` where the grant needs a person and no rights of an application.
pub(super) fn script(account: &Account, login: &str) -> Option<String> {
    let registration = &account.registration;
    if !registration.grant.is_app_only()
        || registration.client_id.is_empty() && registration.tenant.is_empty()
    {
        return None;
    }
    let protocols: Vec<_> = Protocol::ALL
        .into_iter()
        .filter(|protocol| account.protocols.contain(*protocol))
        .collect();
    let high_volume = registration.provider.is_high_volume();
    let mut mailboxes: Vec<_> = protocols
        .iter()
        .map(|protocol| account.mailbox_of(*protocol, login))
        .collect();
    mailboxes.sort();
    mailboxes.dedup();
    let reads = protocols.iter().any(|protocol| *protocol != Protocol::Smtp);
    // SMTP.SendAsApp lets an application send as every mailbox: a role for these mailboxes instead.
    let roles = protocols.iter().filter_map(|protocol| match protocol {
        _ if high_volume => Some("Mail.Send"),
        Protocol::Imap => Some("IMAP.AccessAsApp"),
        Protocol::Pop3 => Some("POP.AccessAsApp"),
        Protocol::Smtp => None,
    });
    let sends = protocols.contains(&Protocol::Smtp);
    let mut text = String::from(HEAD);
    for (name, value) in [
        ("tenant", quoted(&registration.tenant)),
        ("clientId", quoted(&registration.client_id)),
        (
            "displayName",
            quoted(&format!("authrelay {}", registration.name)),
        ),
        ("exchange", quoted(EXCHANGE)),
        ("roles", list(roles.map(str::to_owned))),
        ("mailboxes", list(mailboxes)),
    ] {
        text.push_str(&format!("${name} = {value}\n"));
    }
    for (name, value) in [
        ("imap", protocols.contains(&Protocol::Imap)),
        ("pop", protocols.contains(&Protocol::Pop3)),
        ("smtp", sends && !high_volume),
        ("reads", reads),
        ("highVolume", high_volume),
        (
            "secret",
            matches!(
                registration.grant.credential(),
                Some(ClientCredential::Secret(_) | ClientCredential::ClientPassword)
            ),
        ),
    ] {
        text.push_str(&format!("${name} = ${value}\n"));
    }
    text.push_str(BODY);
    Some(text)
}

/// Plan, one question, and the steps, each of which looks before it acts.
const BODY: &str = r#"
Write-Host 'This will, where it is not done already:'
Write-Host "  - register the application '$displayName' in $tenant, with a service principal"
if ($secret) { Write-Host '  - make a client secret for it, good for a year, and show it once' }
foreach ($role in $roles) { Write-Host "  - grant it the application permission $role of Exchange Online, with admin consent" }
Write-Host '  - make it known to Exchange (New-ServicePrincipal)'
foreach ($mailbox in $mailboxes) {
    if ($reads) { Write-Host "  - give it FullAccess to $mailbox" }
    if ($smtp) { Write-Host "  - let it send as $mailbox, by the role Application SMTP.SendAsApp and no other mailbox" }
    if ($highVolume) { Write-Host "  - let it use the High Volume Email account $mailbox" }
    Write-Host "  - turn on the protocols that are needed at $mailbox"
}
if (-not $Yes) {
    $answer = Read-Host 'Go on? (yes/no)'
    if ($answer -ne 'yes') { Write-Host 'Nothing was changed.'; exit 1 }
}

Connect-MgGraph -TenantId $tenant -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All' -NoWelcome
$application = $null
if ($clientId) { $application = Get-MgApplication -Filter "appId eq '$clientId'" }
if (-not $application) {
    $application = Get-MgApplication -Filter "displayName eq '$($displayName.Replace("'", "''"))'" | Select-Object -First 1
}
if (-not $application) {
    $application = New-MgApplication -DisplayName $displayName -SignInAudience 'AzureADMyOrg'
}
$principal = Get-MgServicePrincipal -Filter "appId eq '$($application.AppId)'"
if (-not $principal) { $principal = New-MgServicePrincipal -AppId $application.AppId }

$resource = Get-MgServicePrincipal -Filter "appId eq '$exchange'"
$granted = @(Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -All)
foreach ($role in $roles) {
    $known = $resource.AppRoles | Where-Object { $_.Value -eq $role -and $_.AllowedMemberTypes -contains 'Application' }
    if (-not $known) { throw "Exchange Online has no application permission $role" }
    if ($granted | Where-Object { $_.AppRoleId -eq $known.Id -and $_.ResourceId -eq $resource.Id }) { continue }
    $null = New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -PrincipalId $principal.Id -ResourceId $resource.Id -AppRoleId $known.Id
}

$password = $null
if ($secret) {
    $valid = @($application.PasswordCredentials | Where-Object { $_.EndDateTime -gt (Get-Date).AddDays(30) })
    if (-not $valid) {
        $credential = @{ displayName = 'authrelay'; endDateTime = (Get-Date).AddYears(1) }
        $password = Add-MgApplicationPassword -ApplicationId $application.Id -PasswordCredential $credential
    }
}

Connect-ExchangeOnline -ShowBanner:$false
if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $application.AppId })) {
    $null = New-ServicePrincipal -AppId $application.AppId -ObjectId $principal.Id -DisplayName $displayName
}
foreach ($mailbox in $mailboxes) {
    if ($highVolume) {
        $null = Add-HVEAppAccess -Identity $mailbox -AppIds $principal.Id
        continue
    }
    if ($reads) {
        $null = Add-MailboxPermission -Identity $mailbox -User $principal.Id -AccessRights FullAccess -AutoMapping $false
    }
    if ($imap) { Set-CASMailbox -Identity $mailbox -ImapEnabled $true }
    if ($pop) { Set-CASMailbox -Identity $mailbox -PopEnabled $true }
    if ($smtp) { Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false }
}
if ($smtp) {
    $scope = "authrelay $($application.AppId)"
    $names = @($mailboxes | ForEach-Object { (Get-Recipient -Identity $_).DistinguishedName.Replace("'", "''") })
    $filter = ($names | ForEach-Object { "DistinguishedName -eq '$_'" }) -join ' -or '
    if (Get-ManagementScope | Where-Object { $_.Name -eq $scope }) {
        Set-ManagementScope -Identity $scope -RecipientRestrictionFilter $filter
    } else {
        $null = New-ManagementScope -Name $scope -RecipientRestrictionFilter $filter
    }
    $assigned = Get-ManagementRoleAssignment -Role 'Application SMTP.SendAsApp' | Where-Object { $_.CustomResourceScope -eq $scope }
    if (-not $assigned) {
        $null = New-ManagementRoleAssignment -Role 'Application SMTP.SendAsApp' -App $principal.Id -CustomResourceScope $scope
    }
}

Write-Host ''
Write-Host 'proxy.yaml:'
Write-Host "    tenant: $tenant"
Write-Host "    client_id: $($application.AppId)"
if ($password) {
    Write-Host "    client_secret_expires: $($password.EndDateTime.ToString('yyyy-MM-dd'))"
    Write-Host 'The client secret, which is shown this once; put it into the file that client_secret names:'
    Write-Host $password.SecretText
}
Write-Host 'New permissions can take up to two hours to work. Then: authrelay doctor LOGIN'
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// What closes what; strings and comments contain neither.
    fn is_balanced(script: &str) -> bool {
        let mut open = Vec::new();
        for line in script.lines() {
            let mut quote = None;
            for character in line.chars() {
                match (quote, character) {
                    (Some(end), character) if character == end => quote = None,
                    (Some(_), _) => {}
                    (None, '#') => break,
                    (None, '\'' | '"') => quote = Some(character),
                    (None, '(' | '{' | '[') => open.push(character),
                    (None, ')' | '}' | ']') => {
                        let matching = match character {
                            ')' => '(',
                            '}' => '{',
                            _ => '[',
                        };
                        if open.pop() != Some(matching) {
                            return false;
                        }
                    }
                    (None, _) => {}
                }
            }
        }
        open.is_empty()
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(quoted("o'brien"), "'o''brien'");
        assert_eq!(quoted("a\u{2019}; rm\n"), "'a\u{2019}\u{2019}; rm'");
        assert_eq!(list(["a".into(), "b".into()]), "@('a', 'b')");
        assert_eq!(list([]), "@()");
    }

    /// Every variable that is used is set, and every bracket closes.
    #[test]
    fn the_script_reads_well() {
        assert!(is_balanced(HEAD));
        // `"… '$($x.Replace("'", "''"))'"` nests quotes, which this reader does not know.
        let plain: String = BODY
            .lines()
            .filter(|line| !line.contains("Replace(\"'\""))
            .collect::<Vec<_>>()
            .join("\n");
        assert!(is_balanced(&plain));
        let set = [
            "tenant",
            "clientId",
            "displayName",
            "exchange",
            "roles",
            "mailboxes",
            "imap",
            "pop",
            "smtp",
            "reads",
            "highVolume",
            "secret",
            "Yes",
            "true",
            "false",
            "null",
            "_",
        ];
        let whole = format!("{HEAD}{BODY}");
        for used in whole.split('$').skip(1) {
            let name: String = used
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let assigned =
                whole.contains(&format!("${name} = ")) || whole.contains(&format!("(${name} in"));
            assert!(
                name.is_empty() || set.contains(&name.as_str()) || assigned,
                "${name} is never set"
            );
        }
    }
}
