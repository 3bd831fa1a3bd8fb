//! `doctor`: for each failure the one step that fails, its cause and its remedy.

use authrelay::doctor::{Report, TestTarget, test_connection};
use authrelay::sandbox::{Fault, LOGIN, PASSWORD};
use authrelay::session::Service;
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};

use crate::registration;
use crate::stage::{Prepared, Setup};

/// The sandbox as High Volume Email: SMTP only.
fn high_volume() -> Setup {
    Setup::limits("upstream_timeout: 1s")
        .replace("microsoft365:", "microsoft365-hve:")
        .replace("provider: microsoft365\n", "provider: microsoft365-hve\n")
        .replace("provider: microsoft365}", "provider: microsoft365-hve}")
}

/// What the doctor finds by a protocol.
async fn visit(prepared: &Prepared, protocol: Protocol) -> Report {
    let config = prepared.config();
    let service = Service::new(&config).unwrap();
    let account = service.find(LOGIN).unwrap().clone();
    let password = account.passwords.is_empty().then(|| PASSWORD.into());
    let patient = TestTarget {
        account,
        login: LOGIN.into(),
        protocol,
        password,
    };
    let mut told = Vec::new();
    let report = test_connection(&service, &patient, |step| told.push(step.name)).await;
    let names: Vec<_> = report.steps.iter().map(|step| step.name).collect();
    assert_eq!(told, names, "each step is told as it ends");
    report
}

struct Case {
    setup: Setup,
    fault: Option<Fault>,
    protocol: Protocol,
    /// The step that fails.
    step: &'static str,
    cause: &'static str,
    remedy: &'static str,
}

fn case(
    fault: Fault,
    protocol: Protocol,
    step: &'static str,
    cause: &'static str,
    remedy: &'static str,
) -> Case {
    Case {
        setup: Setup::limits("upstream_timeout: 1s"),
        fault: Some(fault),
        protocol,
        step,
        cause,
        remedy,
    }
}

/// The sandbox's token claims.
const OID: &str = "0b1d0b1d-0000-4000-8000-000000000001";
const APP: &str = "11111111-2222-3333-4444-555555555555";

fn cases() -> Vec<Case> {
    let provider = "the identity provider cannot be used at the moment";
    let refuses = "the identity provider refuses";
    let reached = "the mail service cannot be reached as configured";
    let mut cases = vec![
        case(
            Fault::TokenUnreachable,
            Imap,
            "token",
            provider,
            "check that this host reaches the token endpoint",
        ),
        case(
            Fault::TokenSlow,
            Imap,
            "token",
            provider,
            "check that this host reaches the token endpoint",
        ),
        case(
            Fault::Token429,
            Imap,
            "token",
            provider,
            "throttles this client",
        ),
        case(
            Fault::Token500,
            Imap,
            "token",
            provider,
            "has a problem; wait",
        ),
        case(Fault::TokenHtml, Imap, "token", provider, "captive portal"),
        case(
            Fault::TokenRedirect,
            Imap,
            "token",
            provider,
            "final address",
        ),
        case(
            Fault::SecretWrong,
            Imap,
            "token",
            refuses,
            "needs the secret's value, not its ID",
        ),
        case(
            Fault::SecretExpired,
            Imap,
            "token",
            refuses,
            "make a new one under Certificates & secrets",
        ),
        case(
            Fault::AppUnknown,
            Imap,
            "token",
            refuses,
            "check client_id and tenant",
        ),
        case(
            Fault::ConsentMissing,
            Imap,
            "token",
            refuses,
            "grant admin consent",
        ),
        case(
            Fault::ConditionalAccess,
            Imap,
            "token",
            refuses,
            "Conditional Access",
        ),
        case(
            Fault::TokenNoRoles,
            Imap,
            "claims",
            "carries no roles",
            "application permission IMAP.AccessAsApp, and grant admin consent",
        ),
        case(
            Fault::TokenNoRoles,
            Pop3,
            "claims",
            "carries no roles",
            "application permission POP.AccessAsApp",
        ),
        case(
            Fault::TokenNoRoles,
            Smtp,
            "auth",
            "no role SMTP.SendAsApp",
            "New-ManagementRoleAssignment -Role 'Application SMTP.SendAsApp' -App 0b1d0b1d",
        ),
        case(
            Fault::TokenAudience,
            Imap,
            "claims",
            "the token is for https://graph.microsoft.com",
            "https://outlook.office365.com/.default",
        ),
        case(
            Fault::TokenTenant,
            Imap,
            "claims",
            "from the tenant 99999999-8888-7777-6666-555555555555",
            "check the registration's tenant",
        ),
        case(Fault::UpstreamUnreachable, Imap, "tls", reached, "firewall"),
        case(
            Fault::UpstreamSilent,
            Smtp,
            "tls",
            reached,
            "slow or drops packets",
        ),
        case(
            Fault::UpstreamGarbage,
            Imap,
            "auth",
            reached,
            "check the provider's host, port and tls",
        ),
        case(
            Fault::TlsSelfSigned,
            Imap,
            "tls",
            reached,
            "set its CA as the provider's ca",
        ),
        case(
            Fault::TlsWrongName,
            Pop3,
            "tls",
            reached,
            "correct the provider's host",
        ),
        case(
            Fault::TlsExpired,
            Imap,
            "tls",
            reached,
            "check this machine's clock",
        ),
        case(
            Fault::StarttlsMissing,
            Smtp,
            "tls",
            reached,
            "removes STARTTLS",
        ),
        case(
            Fault::StarttlsInjected,
            Smtp,
            "tls",
            reached,
            "no credential was sent",
        ),
        case(
            Fault::AuthRefused,
            Imap,
            "auth",
            "the usual mistake is the object id of the app registration",
            "New-ServicePrincipal -AppId 11111111-2222-3333-4444-555555555555 -ObjectId 0b1d0b1d-0000-4000-8000-000000000001; Add-MailboxPermission -Identity tickets@contoso.test -User 0b1d0b1d",
        ),
        case(
            Fault::AuthChallenge,
            Pop3,
            "auth",
            "does not know the application's service principal",
            "Add-MailboxPermission -Identity tickets@contoso.test",
        ),
        case(
            Fault::AuthThrottled,
            Imap,
            "auth",
            "refuses for now",
            "poll less often",
        ),
        case(
            Fault::SmtpDisabled,
            Smtp,
            "auth",
            "the mail service refuses",
            "Set-CASMailbox -Identity tickets@contoso.test -SmtpClientAuthenticationDisabled $false",
        ),
        case(
            Fault::SecurityDefaults,
            Smtp,
            "auth",
            "the mail service refuses",
            "security defaults",
        ),
        case(
            Fault::NotConnected,
            Imap,
            "mailbox",
            "the application has no permission on tickets@contoso.test",
            "Add-MailboxPermission -Identity tickets@contoso.test -User 0b1d0b1d-0000-4000-8000-000000000001 -AccessRights FullAccess; Set-CASMailbox -Identity tickets@contoso.test -ImapEnabled $true",
        ),
    ];
    cases.push(Case {
        setup: Setup::default().upstream_hosts("host: no-such-host.invalid, port: 993,"),
        fault: None,
        protocol: Imap,
        step: "dns",
        cause: reached,
        remedy: "check this host's DNS",
    });
    cases.push(Case {
        setup: Setup::default().upstream_hosts("host: localhost, port: 1,"),
        fault: None,
        protocol: Imap,
        step: "tcp",
        cause: reached,
        remedy: "firewall",
    });
    let mine = |setup: Setup| {
        setup
            .replace(&format!("    password: \"{PASSWORD}\"\n"), "")
            .append("limits: {upstream_timeout: 1s}\n")
    };
    cases.push(Case {
        setup: mine(registration("grant: password")),
        fault: Some(Fault::MfaRequired),
        protocol: Imap,
        step: "token",
        cause: refuses,
        remedy: "multi-factor authentication",
    });
    let shared = |fault, protocol, step, cause, remedy| Case {
        setup: mine(registration("grant: password")).replace(
            "mailbox: tickets@contoso.test",
            "mailbox: helpdesk@contoso.test",
        ),
        fault: Some(fault),
        protocol,
        step,
        cause,
        remedy,
    };
    cases.push(shared(
        Fault::NotConnected,
        Imap,
        "mailbox",
        "tickets@contoso.test signed in, and has no full access to helpdesk@contoso.test",
        "Add-MailboxPermission -Identity helpdesk@contoso.test -User tickets@contoso.test",
    ));
    cases.push(shared(
        Fault::AuthRefused,
        Imap,
        "auth",
        "tickets@contoso.test signed in, and has no full access to helpdesk@contoso.test",
        "authrelay authorize tickets@contoso.test",
    ));
    cases.push(shared(
        Fault::AuthRefused,
        Smtp,
        "auth",
        "over SMTP a delegate logs in with their own account",
        "smtp: tickets@contoso.test}; the application sends MAIL FROM helpdesk@contoso.test",
    ));
    for (fault, step, remedy) in [
        (Fault::HveTokenEnds, "auth", "token_margin to 20m"),
        (Fault::HveTokenEnded, "auth", "clock"),
        (
            Fault::HvePermission,
            "auth",
            "application permission Mail.Send",
        ),
        (
            Fault::HveNotListed,
            "auth",
            "Add-HVEAppAccess -Identity tickets@contoso.test",
        ),
        (Fault::HveMalformed, "auth", "mechanism is xoauth2"),
        (
            Fault::AuthRefused,
            "auth",
            "Add-HVEAppAccess -Identity tickets@contoso.test -AppIds 0b1d0b1d-0000-4000-8000-000000000001",
        ),
    ] {
        cases.push(Case {
            setup: high_volume(),
            fault: Some(fault),
            protocol: Smtp,
            step,
            cause: "",
            remedy,
        });
    }
    cases.push(Case {
        setup: registration("grant: authorization_code"),
        fault: None,
        protocol: Imap,
        step: "token",
        cause: refuses,
        remedy: "run `authrelay authorize tickets@contoso.test`",
    });
    cases
}

/// Requirement 28 (roles, audience, tenant) and all the others.
#[tokio::test(flavor = "multi_thread")]
async fn r28_each_failure_has_its_one_advice() {
    let cases = cases();
    assert!(cases.len() >= 30);
    for case in cases {
        let name = format!("{:?} over {}", case.fault.map(Fault::name), case.protocol);
        let prepared = case.setup.prepare().await;
        prepared.sandbox.set_fault(case.fault);
        let report = visit(&prepared, case.protocol).await;
        assert!(!report.ok, "{name}: {report:#?}");
        let (last, before) = report.steps.split_last().unwrap();
        assert!(before.iter().all(|step| step.ok), "{name}: {report:#?}");
        assert_eq!(last.name, case.step, "{name}: {report:#?}");
        let (cause, remedy) = (
            last.cause.as_deref().unwrap(),
            last.remedy.as_deref().unwrap(),
        );
        assert!(cause.contains(case.cause), "{name}: {cause}");
        assert!(remedy.contains(case.remedy), "{name}: {remedy}");
        assert!(
            !format!("{report:?}").contains("eyJ"),
            "{name}: a token is shown"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_account_passes_every_step() {
    let prepared = Setup::default().prepare().await;
    for protocol in Protocol::ALL {
        let report = visit(&prepared, protocol).await;
        assert!(report.ok, "{report:#?}");
        let names: Vec<_> = report.steps.iter().map(|step| step.name).collect();
        assert_eq!(
            names,
            ["dns", "tcp", "tls", "token", "claims", "auth", "mailbox"]
        );
        let detail = |name: &str| {
            &report
                .steps
                .iter()
                .find(|step| step.name == name)
                .unwrap()
                .detail
        };
        assert!(
            detail("tls").contains("certificate for localhost by authrelay sandbox CA until 2"),
            "{report:#?}"
        );
        assert!(
            detail("claims").contains(&format!("appid={APP} oid={OID}")),
            "{report:#?}"
        );
    }
    assert!(
        prepared.sandbox.messages(LOGIN).len() == 3,
        "nothing was sent"
    );
}

/// As a person and as a script run it.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_steps_or_json() {
    let prepared = Setup::default().prepare().await;
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"))
            .arg("doctor")
            .args(arguments)
            .arg("--config")
            .arg(prepared.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = run(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("tickets@contoso.test over pop3\n  ok   dns "),
        "{text}"
    );
    // What cannot be printed is an error, said once.
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["doctor", LOGIN, "--protocol", "imap", "--config"])
        .arg(prepared.path())
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(74));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    let (code, json) = run(&["--json"]);
    assert_eq!(code, Some(0));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
    prepared.sandbox.set_fault(Some(Fault::SmtpDisabled));
    let (code, json) = run(&["TICKETS@contoso.test", "--protocol", "smtp", "--json"]);
    assert_eq!(code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["login"], LOGIN);
    assert_eq!(json["protocol"], "smtp");
    assert_eq!(json["ok"], false);
    let (code, text) = run(&[LOGIN, "--protocol", "smtp"]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("  FAIL auth ")
            && text.contains("       do      SMTP AUTH is off for the tenant"),
        "{text}"
    );
    assert_eq!(run(&["nobody"]).0, Some(64));
}

/// An account that cannot be tested without its password, or not over this protocol, keeps no other
/// from being tested.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_login_every_account_that_can_be_is_tested() {
    let prepared = Setup::default()
        .append(
            "  - {login: old@contoso.test, registration: old}\n  - {login: reader@contoso.test, \
             registration: sandbox, password: pw, protocols: [imap]}\n",
        )
        .replace(
            "\naccounts:",
            "  old: {provider: microsoft365, tenant: t, client_id: c, grant: password}\n\naccounts:",
        )
        .prepare()
        .await;
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"));
        command.arg("doctor").args(arguments).arg("--config");
        let output = command
            .arg(prepared.path())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = run(&["--protocol", "smtp"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("tickets@contoso.test over smtp"), "{text}");
    assert!(!text.contains("reader@contoso.test"), "{text}");
    assert!(text.contains("old@contoso.test is not tested: "), "{text}");
    assert_eq!(run(&["old@contoso.test"]).0, Some(64));
}

/// A refused login over SMTP with a person's token names who signed in, and both ways out.
#[tokio::test]
async fn f44_a_refusal_over_smtp_names_the_person_of_the_token() {
    let relay = crate::consenting()
        .replace(
            "mailbox: tickets@contoso.test",
            "mailbox: helpdesk@contoso.test",
        )
        .start()
        .await;
    assert_eq!(crate::consent(&relay).await.0, 200);
    relay.sandbox.set_fault(Some(Fault::AuthRefused));
    for (protocol, is_named) in [(Smtp, true), (Imap, false)] {
        let before = relay.log.text().len();
        crate::log_in(&relay, protocol).await;
        let log = relay.log.text()[before..].to_owned();
        let named = log
            .contains("tickets@contoso.test signed in, and the mailbox is helpdesk@contoso.test")
            && log.contains("mailbox: {smtp: tickets@contoso.test}");
        assert_eq!(named, is_named, "{protocol}: {log}");
    }
    // A mail service that refuses for now says nothing about the person.
    relay.sandbox.set_fault(Some(Fault::AuthThrottled));
    let before = relay.log.text().len();
    crate::log_in(&relay, Smtp).await;
    let log = relay.log.text()[before..].to_owned();
    assert!(log.contains("busy") && !log.contains("signed in"), "{log}");
}

/// A refusal of the mailbox's own person is no delegate's.
#[tokio::test]
async fn a_refusal_over_smtp_of_the_mailboxs_own_person_names_nobody() {
    let relay = crate::consenting().start().await;
    assert_eq!(crate::consent(&relay).await.0, 200);
    relay.sandbox.set_fault(Some(Fault::AuthRefused));
    crate::log_in(&relay, Smtp).await;
    let log = relay.log.text();
    assert!(
        log.contains("refused") && !log.contains("signed in"),
        "{log}"
    );
}

/// What the environment says is no configuration, and is named where it would help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f53_the_environments_proxy_and_authorities_are_named() {
    let doctor = |prepared: &Prepared, variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"));
        command.args(["doctor", LOGIN, "--protocol", "imap", "--config"]);
        command
            .arg(prepared.path())
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let proxy = [("HTTPS_PROXY", "http://me:secret@proxy.contoso.test:3128")];
    let unreachable = Setup::default()
        .upstream_hosts("host: localhost, port: 1,")
        .prepare()
        .await;
    let text = doctor(&unreachable, &proxy);
    assert!(
        text.contains("set providers.microsoft365.egress: {url: http://proxy.contoso.test:3128}")
            && !text.contains("secret"),
        "{text}"
    );
    assert!(!doctor(&unreachable, &[]).contains("egress"));
    let unreachable = Setup::default()
        .token_url("http://127.0.0.1:1/token")
        .prepare()
        .await;
    let text = doctor(&unreachable, &proxy);
    assert!(
        text.contains("token") && text.contains("set providers.microsoft365.egress"),
        "{text}"
    );
    let private = Setup::default()
        .replace("    ca: ca.pem\n", "")
        .prepare()
        .await;
    let text = doctor(
        &private,
        &[("SSL_CERT_FILE", "/etc/contoso/ca.pem"), proxy[0]],
    );
    assert!(
        text.contains("set providers.microsoft365.ca") && text.contains("/etc/contoso/ca.pem"),
        "{text}"
    );
    assert!(!text.contains("egress: {url"), "{text}");
    // Nothing is said where all is well.
    let good = Setup::default().prepare().await;
    let text = doctor(&good, &[("SSL_CERT_FILE", "/etc/contoso/ca.pem"), proxy[0]]);
    assert!(!text.contains("providers.microsoft365"), "{text}");
}

/// The clock is told apart from the credential by the endpoint's own Date.
#[tokio::test]
async fn f42_a_wrong_clock_is_no_wrong_credential() {
    let endpoint = crate::endpoint::Endpoint::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "assertion").unwrap();
    let file = folder.path().join("token");
    let keys = format!(
        "grant: client_credentials\nfederated: {{file: {}}}",
        file.display()
    );
    let prepared = registration(&keys)
        .token_url(&endpoint.url())
        .prepare()
        .await;
    let at = |ahead: i64| {
        let now = std::time::SystemTime::now();
        let hours = std::time::Duration::from_secs(ahead.unsigned_abs());
        httpdate::fmt_http_date(if ahead > 0 { now - hours } else { now + hours })
    };
    for (ahead, code, said, silent) in [
        (7200, 700_024, "s ahead of", ""),
        (-7200, 50012, "s behind", ""),
        (0, 700_024, "federated.file", "s ahead of"),
        (7200, 7_000_215, "the secret's value", "clock"),
    ] {
        let answer = crate::endpoint::Answer::entra("invalid_client", code);
        endpoint.always(answer.header("date", &at(ahead)));
        let report = visit(&prepared, Imap).await;
        let step = report.steps.last().unwrap();
        let remedy = step.remedy.as_deref().unwrap();
        assert_eq!(step.name, "token");
        assert!(remedy.contains(said), "{code}: {remedy}");
        if said.starts_with("s ") {
            // Time passes between the two, most where many tests run.
            let before = remedy.split(said).next().unwrap().trim_end();
            let seconds = before.rsplit(' ').next().unwrap();
            let seconds: u64 = seconds.parse().expect(remedy);
            assert!((7000..7400).contains(&seconds), "{code}: {remedy}");
        }
        assert!(
            silent.is_empty() || !remedy.contains(silent),
            "{code}: {remedy}"
        );
    }
}

/// Whoever may, sees it in time.
#[tokio::test]
async fn a_credential_that_ends_soon_is_spoken_of() {
    let day = |days: i64| {
        let when = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        when.date().to_string()
    };
    for (days, said) in [(3, Some("ends in")), (200, None)] {
        let setup = Setup::default().replace(
            "    grant: client_credentials\n",
            &format!(
                "    grant: client_credentials\n    client_secret_expires: {}\n",
                day(days)
            ),
        );
        let report = visit(&setup.prepare().await, Imap).await;
        assert!(report.ok, "{report:#?}");
        let token = report
            .steps
            .iter()
            .find(|step| step.name == "token")
            .unwrap();
        match said {
            Some(said) => assert!(
                token.detail.contains(said) && token.remedy.is_some(),
                "{token:?}"
            ),
            None => assert!(token.remedy.is_none(), "{token:?}"),
        }
    }
}
