//! `entra`: the set-up of each grant, with this account's names.

use std::process::Command;

/// What `authrelay entra` prints for one registration.
fn guide(provider: &str, keys: &str, account: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.yaml");
    let password = if keys.contains("grant: password") {
        ""
    } else {
        ", password: p"
    };
    let text = format!(
        "admin: {{bind: '127.0.0.1:0', public_url: 'https://relay.contoso.com', token: sixteen-octets-x}}\n\
         listeners: [{{protocol: imap, bind: '127.0.0.1:0', provider: microsoft365}}]\n\
         registrations: {{r: {{provider: {provider}, {keys}}}}}\n\
         accounts: [{{login: me@contoso.com, registration: r{password}{account}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["entra", "Me@contoso.com", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

const APP: &str = "tenant: contoso.com, client_id: 11111111-2222-3333-4444-555555555555";

#[test]
fn f47_each_grant_has_its_own_steps() {
    for (provider, keys, account, has, lacks) in [
        (
            "microsoft365",
            format!("{APP}, grant: client_credentials, client_secret: s"),
            "",
            &[
                "Office 365 Exchange Online > Application permissions",
                "IMAP.AccessAsApp, POP.AccessAsApp, SMTP.SendAsApp",
                "New-ServicePrincipal -AppId 11111111-2222-3333-4444-555555555555 -ObjectId OBJECT_ID",
                "Add-MailboxPermission -Identity me@contoso.com -User OBJECT_ID -AccessRights FullAccess",
                "not that under App registrations",
                "Application SMTP.SendAsApp",
                "Certificates & secrets > New client secret",
            ][..],
            &["Redirect URI", "authorize", "public client"][..],
        ),
        (
            "microsoft365",
            format!("{APP}, grant: authorization_code, client_secret: s"),
            ", protocols: [imap], mailbox: shared@contoso.com",
            &[
                "Delegated permissions",
                "   IMAP.AccessAsUser.All, offline_access",
                "Web: https://relay.contoso.com/oauth/callback",
                "Add-MailboxPermission -Identity shared@contoso.com -User me@contoso.com -AccessRights FullAccess",
                "Set-CASMailbox -Identity shared@contoso.com -ImapEnabled $true",
                "authrelay authorize me@contoso.com",
            ][..],
            &["SMTP", "New-ServicePrincipal"][..],
        ),
        (
            "microsoft365",
            format!("{APP}, grant: password"),
            "",
            &[
                "Allow public client flows: Yes",
                "cannot use a second factor",
            ][..],
            &["Redirect URI", "authorize me"][..],
        ),
        (
            "outlook",
            "client_id: c, grant: device_code".into(),
            "",
            &[
                "Personal Microsoft accounts",
                "Let devices and apps use POP and IMAP",
            ][..],
            &["Set-CASMailbox", "Redirect URI"][..],
        ),
        // An application that only sends: the role first, and no permission for every mailbox.
        (
            "microsoft365",
            format!("{APP}, grant: client_credentials, client_secret: s"),
            ", protocols: [smtp]",
            &[
                "Permission to send: an RBAC role in Exchange, and none in Entra",
                "New-ManagementRoleAssignment -Role 'Application SMTP.SendAsApp' -App OBJECT_ID -CustomResourceScope relay",
                "New-ServicePrincipal -AppId 11111111-2222-3333-4444-555555555555 -ObjectId OBJECT_ID",
                "Set-CASMailbox -Identity me@contoso.com -SmtpClientAuthenticationDisabled $false",
            ][..],
            &["FullAccess", "ImapEnabled"][..],
        ),
        (
            "microsoft365-hve",
            format!("{APP}, grant: client_credentials, client_secret: s"),
            "",
            &[
                "Office 365 Exchange Online > Application permissions",
                "   Mail.Send\n",
                "Add-HVEAppAccess -Identity me@contoso.com -AppIds OBJECT_ID",
                "the object id under Enterprise applications",
                "authrelay doctor me@contoso.com",
            ][..],
            &["FullAccess", "Set-CASMailbox", "SMTP.SendAsApp", "IMAP"][..],
        ),
        (
            "microsoft365",
            format!("{APP}, grant: authorization_code"),
            "",
            &["Then: Grant admin consent. In most tenants users may not consent"][..],
            &["let the mailbox's owner consent"][..],
        ),
        (
            "microsoft365",
            "grant: managed_identity".into(),
            "",
            &["experimental", "New-ServicePrincipal"][..],
            &["Client secret"][..],
        ),
    ] {
        let (code, text) = guide(provider, &keys, account);
        assert_eq!(code, Some(0), "{text}");
        for part in has {
            assert!(text.contains(part), "{keys}: {part}\n{text}");
        }
        for part in lacks {
            assert!(!text.contains(part), "{keys}: {part}\n{text}");
        }
    }
}

/// Names go into commands that people copy into PowerShell, which interprets quotes, `;` and `$`.
#[test]
fn names_that_powershell_interprets_are_quoted_in_the_steps() {
    let app = format!("{APP}, grant: client_credentials, client_secret: s");
    let person = format!("{APP}, grant: authorization_code, client_secret: s");
    for (provider, keys, account, has) in [
        (
            "microsoft365",
            &app,
            ", mailbox: \"o'neil@contoso.com\"",
            &[
                "Add-MailboxPermission -Identity 'o''neil@contoso.com' -User OBJECT_ID",
                "Set-CASMailbox -Identity 'o''neil@contoso.com' -ImapEnabled $true",
            ][..],
        ),
        (
            "microsoft365",
            &app,
            ", protocols: [smtp], mailbox: 'a;b@contoso.com'",
            &["Set-Mailbox -Identity 'a;b@contoso.com' -CustomAttribute1 relay"],
        ),
        (
            "microsoft365",
            &person,
            ", mailbox: '$x@contoso.com'",
            &["Add-RecipientPermission -Identity '$x@contoso.com' -Trustee me@contoso.com"],
        ),
        (
            "microsoft365-hve",
            &app,
            ", mailbox: 'a|b@contoso.com'",
            &["Add-HVEAppAccess -Identity 'a|b@contoso.com' -AppIds OBJECT_ID"],
        ),
    ] {
        let (code, text) = guide(provider, keys, account);
        assert_eq!(code, Some(0), "{account}: {text}");
        for part in has {
            assert!(text.contains(part), "{account}: {part}\n{text}");
        }
    }
}

/// Names of the registration are one argument in commands for PowerShell.
#[test]
fn an_odd_client_id_is_quoted_for_powershell() {
    let keys =
        "tenant: contoso.com, client_id: 'a$(b);c', grant: client_credentials, client_secret: s";
    let (code, text) = guide("microsoft365", keys, "");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("New-ServicePrincipal -AppId 'a$(b);c' -ObjectId"),
        "{text}"
    );
}

/// The commands that `init` and `entra` name are copied into a shell, with the login and the file.
#[test]
fn names_that_a_shell_interprets_are_quoted_in_commands() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("my relay");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("proxy.yaml");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authrelay"));
        let output = command.args(arguments).current_dir(&folder).output();
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let path = path.to_str().unwrap();
    let login = "o'neil@contoso.com";
    let (code, text) = run(&[
        "init",
        "--output",
        path,
        "--provider",
        "microsoft365",
        "--tenant",
        "contoso.com",
        "--client-id",
        "11111111-2222-3333-4444-555555555555",
        "--grant",
        "device_code",
        "--login",
        login,
        "--protocols",
        "imap",
    ]);
    assert_eq!(code, Some(0), "{text}");
    for command in ["entra", "authorize", "doctor"] {
        let part = format!("authrelay {command} \"{login}\" --config \"{path}\"");
        assert!(text.contains(&part), "{part}\n{text}");
    }
    let (code, text) = run(&["entra", login, "--config", path]);
    assert_eq!(code, Some(0), "{text}");
    for command in ["authorize", "doctor"] {
        let part = format!("authrelay {command} \"{login}\"\n");
        assert!(text.contains(&part), "{part}\n{text}");
    }
}

#[test]
fn other_services_are_not_entra() {
    let (code, text) = guide("google", "client_id: c, grant: authorization_code", "");
    assert_eq!(code, Some(64), "{text}");
    assert!(
        text.contains("the provider of me@contoso.com is google"),
        "{text}"
    );
}

/// The script for a registration's accounts; its grammar is read by tests/powershell.py.
fn script(text: &str, login: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.yaml");
    let listener = "listeners: [{protocol: imap, bind: '127.0.0.1:0', provider: microsoft365}]\n";
    std::fs::write(&path, format!("{listener}{text}")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["entra", login, "--script", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn the_script_covers_all_accounts_of_the_registration_with_the_least_rights() {
    let text = format!(
        "registrations:\n  r: {{provider: microsoft365, {APP}, grant: client_credentials, client_secret: s}}\n  \
         other: {{provider: microsoft365, {APP}, grant: device_code}}\n\
         accounts:\n  - {{login: me@contoso.com, registration: r, password: p}}\n  \
         - {{login: Scanner, registration: r, password: p, protocols: [smtp], mailbox: scan@contoso.com}}\n  \
         - {{login: '*@b.test', registration: r, password: p, protocols: [imap]}}\n  \
         - {{login: you@contoso.com, registration: other, password: p}}\n"
    );
    let (code, script) = script(&text, "Me@contoso.com");
    assert_eq!(code, Some(0), "{script}");
    for line in [
        "    @{ Login = 'me@contoso.com'; Mailbox = 'me@contoso.com'; Protocols = @('imap', 'pop', 'smtp') }\n",
        "    @{ Login = 'scanner'; Mailbox = 'scan@contoso.com'; Protocols = @('smtp') }\n)\n",
        "$permissions = @('IMAP.AccessAsApp', 'POP.AccessAsApp')\n",
        "$patterns = @('*@b.test')\n$patternProtocols = @('imap')\n",
        "$credential = 'secret'\n",
        "It could not be run against a tenant",
    ] {
        assert!(script.contains(line), "{line}\n{script}");
    }
    assert!(!script.contains("you@contoso.com"), "{script}");
}

#[test]
fn what_has_no_script_says_why() {
    for (keys, why) in [
        (
            "provider: microsoft365, grant: command, command: [/bin/true]",
            "only the command knows",
        ),
        (
            "provider: outlook, client_id: c, grant: device_code",
            "personal accounts have no administrator",
        ),
    ] {
        let text = format!(
            "registrations: {{r: {{{keys}}}}}\naccounts: [{{login: me@contoso.com, registration: r, password: p}}]\n"
        );
        let (code, said) = script(&text, "me@contoso.com");
        assert_eq!(code, Some(64), "{said}");
        assert!(
            said.contains("there is no script for me@contoso.com"),
            "{said}"
        );
        assert!(said.contains(why), "{said}");
    }
}

/// High Volume Email has SMTP only: what its account shows and is tested with follows.
#[test]
fn an_account_shows_the_protocols_that_its_provider_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.yaml");
    let text = format!(
        "listeners: [{{protocol: smtp, bind: '127.0.0.1:0', provider: microsoft365-hve}}]\n\
         registrations: {{r: {{provider: microsoft365-hve, {APP}, grant: client_credentials, client_secret: s}}}}\n\
         accounts: [{{login: hve@contoso.com, registration: r, password: p}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["accounts", "--json", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let accounts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(accounts[0]["protocols"], serde_json::json!(["smtp"]));
}

/// The commands that `init` names next take what it names them with.
#[test]
fn the_next_steps_of_a_wildcard_name_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let tenant = "contoso.onmicrosoft.com";
    for (login, address) in [
        ("*@contoso.com", "info@contoso.com"),
        ("*", &format!("info@{tenant}")),
    ] {
        let client = "11111111-2222-3333-4444-555555555555";
        let (code, said) = run(&[
            "init",
            "--provider",
            "microsoft365",
            "--tenant",
            tenant,
            "--client-id",
            client,
            "--grant",
            "client_credentials",
            "--protocols",
            "SMTP",
            "--login",
            login,
        ]);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains(&format!("authrelay doctor {address} ")),
            "{said}"
        );
        let (code, said) = run(&["entra", address]);
        assert_eq!(code, Some(0), "{said}");
        for command in ["doctor", "authorize", "forget", "entra"] {
            let (code, said) = run(&[command, login]);
            assert_eq!(code, Some(64), "{said}");
            assert!(said.contains("give an address that it covers"), "{said}");
        }
        let (_, said) = run(&["doctor", address, "--protocol", "Nntp"]);
        assert!(said.contains("imap, pop3 or smtp"), "{said}");
        let (_, said) = run(&["doctor", "--protocol", "SMTP"]);
        assert!(said.contains("every account is a wildcard"), "{said}");
        for file in ["proxy.yaml", "client-secret"] {
            std::fs::remove_file(folder.path().join(file)).unwrap();
        }
    }
}
