//! `doctor`: for each failure the one step that fails, its cause and its remedy.

use authrelay::doctor::{Patient, Report, examine};
use authrelay::sandbox::{Fault, LOGIN, PASSWORD};
use authrelay::session::Service;
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};

use crate::registration;
use crate::stage::{Prepared, Setup};

/// What the doctor finds by a protocol.
async fn visit(prepared: &Prepared, protocol: Protocol) -> Report {
    let config = prepared.config();
    let service = Service::new(&config).unwrap();
    let account = service.find(LOGIN).unwrap().clone();
    let password = account.passwords.is_empty().then(|| PASSWORD.into());
    let patient = Patient {
        account,
        login: LOGIN.into(),
        protocol,
        password,
    };
    let mut told = Vec::new();
    let report = examine(&service, &patient, |step| told.push(step.name)).await;
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
            "has trouble; wait",
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
            "wants the secret's value, not its ID",
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
            "of the tenant 99999999-8888-7777-6666-555555555555",
            "check the registration's tenant",
        ),
        case(Fault::UpstreamUnreachable, Imap, "tls", reached, "firewall"),
        case(
            Fault::UpstreamSilent,
            Smtp,
            "tls",
            reached,
            "slow or swallows packets",
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
            "give its CA as the provider's ca",
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
            "strips STARTTLS",
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
        "over SMTP a delegate logs in as himself",
        "smtp: tickets@contoso.test}; the application sends MAIL FROM helpdesk@contoso.test",
    ));
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
