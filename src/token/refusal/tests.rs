//! Every known code and name: the class, the kind of fault, whether it counts as throttling, and a
//! word of the remedy.

use std::sync::Arc;

use super::*;
use crate::config::{Config, LoadMode};
use crate::fault::Kind;
use crate::token::failure::Class::Client;

/// A registration of each kind.
fn registrations() -> Config {
    let yaml = "
listeners: [{protocol: imap, bind: '127.0.0.1:0', provider: microsoft365}]
registrations:
  app: {provider: microsoft365, tenant: contoso.com, client_id: c, grant: client_credentials, client_secret: s}
  presented: {provider: microsoft365, tenant: contoso.com, client_id: c, grant: client_credentials, client_secret: {client: password}}
  federated: {provider: microsoft365, tenant: contoso.com, client_id: c, grant: client_credentials, federated: {file: t}}
  person: {provider: microsoft365, tenant: contoso.com, client_id: c, grant: authorization_code}
  device: {provider: microsoft365, tenant: contoso.com, client_id: c, grant: device_code}
  ropc: {provider: microsoft365, tenant: contoso.com, client_id: c, grant: password}
  google: {provider: google, client_id: c, grant: authorization_code}
  service: {provider: google, grant: service_account, key: {file: k}}
  yahoo: {provider: yahoo, client_id: c, grant: authorization_code}
accounts: [{login: a@contoso.com, registration: app, password: p}]
";
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let json = serde_json::json!({
        "client_email": "e@p.iam.gserviceaccount.com", "private_key_id": "i",
        "private_key": key.unwrap().serialize_pem(),
    });
    std::fs::write(directory.path().join("k"), json.to_string()).unwrap();
    std::fs::write(directory.path().join("t"), "token").unwrap();
    let config = Config::parse(yaml, &directory.path().join("proxy.yaml"), LoadMode::Run);
    config.unwrap_or_else(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", problems.join("\n"))
    })
}

fn of(config: &Config, name: &str) -> Arc<Registration> {
    config.registrations[name].clone()
}

fn by_code(registration: &Registration, error: &str, code: u64) -> TokenError {
    let description = format!("AADSTS{code}: Something.\r\nTrace ID: x");
    let refusal = OAuthError {
        status: 400,
        error,
        description: &description,
        ..OAuthError::default()
    };
    classify(registration, &refusal)
}

/// Codes of the table for a user's consent: class and a word of the remedy.
const PERSON: &[(Class, &str, &[u64])] = &[
    (LESS, "throttles", &[50196, 90055]),
    (
        LATER,
        "has a problem",
        &[
            90033, 90006, 90012, 90024, 50033, 90090, 50087, 50088, 50166, 50000,
        ],
    ),
    (
        Ended,
        "authorize the account again",
        &[70008, 700_082, 70043, 50173, 50132, 50133, 700_084],
    ),
    (Attention, "does not exist", &[50034]),
    (Attention, "password", &[50126, 50055, 50144]),
    (Attention, "client secret", &[7_000_215, 7_000_222]),
    (Attention, "client_id", &[700_016, 70000]),
    (Attention, "Enterprise applications", &[7_000_112, 50105]),
    (Attention, "service principal", &[7_000_229]),
    (Attention, "certificate", &[700_027]),
    (Attention, "clock", &[700_024, 50012, 500_133]),
    (Attention, "Allow public client flows", &[7_000_218]),
    (Attention, "client_secret", &[700_025]),
    (
        Attention,
        "tenant",
        &[90002, 90038, 900_439, 900_023, 50194, 9_002_332, 9_001_023],
    ),
    (Attention, "personal account", &[50020, 500_200]),
    (Attention, "locked", &[50053]),
    (Attention, "disabled", &[50057]),
    (
        Attention,
        "Conditional Access",
        &[
            50076, 50079, 50072, 50074, 50158, 53000, 53001, 53002, 53003, 53004, 53011, 530_003,
            530_031, 530_032, 530_034, 530_035, 50097, 500_571, 500_212,
        ],
    ),
    (Attention, "device", &[700_003]),
    (Attention, "administrator", &[65001, 90094, 90095]),
    (Attention, "declined", &[65004]),
    (Attention, "API permissions", &[650_057]),
    (
        Attention,
        "scope",
        &[500_011, 70011, 28002, 700_022, 1_002_012],
    ),
    (
        Attention,
        "start the consent again",
        &[54005, 501_481, 70018, 70019],
    ),
    (LATER, "not entered the code yet", &[70016]),
    (Attention, "redirect URI", &[50011]),
    (Attention, "malformed", &[9_002_313, 900_144, 90014]),
    // An unknown code.
    (Attention, "look the error up", &[999_999]),
];

#[test]
fn every_code_at_a_persons_consent() {
    let config = registrations();
    let person = of(&config, "person");
    for (class, word, codes) in PERSON {
        for code in *codes {
            for error in ["invalid_grant", "interaction_required", "invalid_client"] {
                let failure = by_code(&person, error, *code);
                assert_eq!(failure.class, *class, "{error} {code}");
                assert_eq!(failure.fault.kind(), class.kind());
                assert!(failure.asked);
                let remedy = failure.fault.remedy().unwrap();
                // Other rows apply; for an unknown code the name may add a remedy.
                let general = *code == 999_999 && error != "invalid_grant";
                assert!(general || remedy.contains(word), "{code}: {remedy}");
            }
        }
    }
    // The table contains no code that is missing here.
    let known = |code: &u64| PERSON.iter().any(|(_, _, codes)| codes.contains(code));
    for row in CODES {
        assert!(row.answers.iter().all(known), "{:?}", row.answers);
    }
}

/// Differences without a user's consent: none can end, and other remedies apply.
#[test]
fn every_code_of_an_application() {
    let config = registrations();
    for name in ["app", "federated", "presented", "service"] {
        let application = of(&config, name);
        for (class, _, codes) in PERSON {
            for code in *codes {
                let got = by_code(&application, "invalid_grant", *code).class;
                let expected = match (class, name, code) {
                    (_, "presented", 7_000_215) => Client,
                    (Ended, ..) => Attention,
                    _ => *class,
                };
                assert_eq!(got, expected, "{name} {code}");
            }
        }
    }
    for (name, code, word) in [
        ("app", 53003, "named location"),
        ("federated", 53003, "named location"),
        ("app", 50076, "no one signs in"),
        ("ropc", 50076, "cannot use a second factor"),
        ("ropc", 53003, "cannot use a second factor"),
        ("person", 53003, "interactively"),
        ("federated", 700_024, "federated.file"),
        ("federated", 50012, "federated.file"),
        ("app", 700_024, "clock"),
        ("app", 65001, "admin consent"),
        ("person", 65001, "users may not consent"),
        ("person", 90094, "users may not consent"),
        ("device", 90095, "users may not consent"),
        ("app", 1_002_012, "/.default and nothing else"),
        ("person", 70011, "offline_access"),
    ] {
        let failure = by_code(&of(&config, name), "invalid_grant", code);
        let remedy = failure.fault.remedy().unwrap();
        assert!(remedy.contains(word), "{name} {code}: {remedy}");
        assert!(
            !(name == "app" && remedy.contains("interactively")),
            "{code}: {remedy}"
        );
    }
    // The owner of the password matters.
    for (name, code, class) in [
        ("ropc", 50126, Client),
        ("ropc", 50034, Client),
        ("ropc", 50053, Attention),
        ("person", 50126, Attention),
        ("person", 50034, Attention),
        ("app", 50034, Attention),
        ("presented", 50034, Attention),
        ("presented", 7_000_222, Attention),
    ] {
        let failure = by_code(&of(&config, name), "invalid_grant", code);
        assert_eq!(failure.class, class, "{name} {code}");
    }
}

fn by_name(registration: &Registration, status: u16, error: &str, suberror: &str) -> TokenError {
    let refusal = OAuthError {
        status,
        error,
        suberror,
        ..OAuthError::default()
    };
    classify(registration, &refusal)
}

#[test]
fn every_name_whatever_its_case() {
    let config = registrations();
    let person = of(&config, "yahoo");
    for (names, class) in [
        (
            &[
                "INVALID_REFRESH_TOKEN",
                "invalid_refresh_token",
                "INVALID_GRANT",
                "invalid_grant",
                "Invalid-Grant",
                "invalidGrant",
            ][..],
            Ended,
        ),
        (
            &[
                "rate_limit_exceeded",
                "rateLimitExceeded",
                "RATE_LIMIT_EXCEEDED",
                "slow_down",
                "too_many_requests",
            ],
            LESS,
        ),
        (
            &[
                "temporarily_unavailable",
                "server_error",
                "SERVER_ERROR",
                "internal_failure",
            ],
            LATER,
        ),
        (
            &[
                "invalid_client",
                "unauthorized_client",
                "invalid_scope",
                "consent_required",
                "interaction_required",
                "login_required",
                "access_denied",
                "nobody_knows",
            ],
            Attention,
        ),
    ] {
        for name in names {
            assert_eq!(by_name(&person, 400, name, "").class, class, "{name}");
        }
    }
    for (names, about) in NAMES.iter().map(|row| (row.answers, row.about)) {
        let lower = |name: &&str| normal(name) == **name;
        assert!(names.iter().all(lower), "{names:?} {about:?}");
    }
    for (status, class) in [(429, LESS), (500, LATER), (503, LATER), (401, Ended)] {
        assert_eq!(by_name(&person, status, "invalid_grant", "").class, class);
    }
}

#[test]
fn suberrors_decide_where_a_code_is_unknown() {
    let config = registrations();
    let person = of(&config, "person");
    for (suberror, class) in [
        ("bad_token", Ended),
        ("token_expired", Ended),
        ("BAD_TOKEN", Ended),
        ("client_mismatch", Attention),
        ("consent_required", Attention),
        ("protection_policy_required", Attention),
        ("invalid_rapt", Attention),
    ] {
        assert_eq!(
            by_name(&person, 400, "invalid_grant", suberror).class,
            class
        );
        let refusal = OAuthError {
            status: 400,
            error: "invalid_grant",
            codes: &[999_999],
            suberror,
            ..OAuthError::default()
        };
        assert_eq!(classify(&person, &refusal).class, class, "{suberror}");
        // A known code decides.
        let refusal = OAuthError {
            codes: &[50196],
            ..refusal
        };
        assert_eq!(classify(&person, &refusal).class, LESS, "{suberror}");
    }
}

#[test]
fn remedies_are_the_providers() {
    let config = registrations();
    for (name, error, word) in [
        ("service", "unauthorized_client", "Domain-wide delegation"),
        ("service", "invalid_grant", "clock"),
        ("service", "invalid_scope", "https://mail.google.com/"),
        ("google", "invalid_grant", "Testing"),
        ("yahoo", "invalid_grant", "authorize the account again"),
        ("app", "unauthorized_client", "may not use this grant"),
        ("federated", "invalid_client", "federated.file"),
    ] {
        let failure = by_name(&of(&config, name), 400, error, "");
        let remedy = failure.fault.remedy().unwrap();
        assert!(remedy.contains(word), "{name} {error}: {remedy}");
    }
    let yahoo = by_name(&of(&config, "yahoo"), 400, "invalid_grant", "");
    assert!(!yahoo.fault.remedy().unwrap().contains("Testing"));
    for (name, error, class) in [
        ("presented", "invalid_client", Client),
        ("ropc", "invalid_grant", Client),
        ("app", "invalid_client", Attention),
    ] {
        assert_eq!(by_name(&of(&config, name), 401, error, "").class, class);
    }
}

#[test]
fn two_codes_and_a_clock() {
    let config = registrations();
    let app = of(&config, "app");
    let refusal = OAuthError {
        status: 400,
        error: "invalid_grant",
        description: "AADSTS70002: Error validating credentials. AADSTS50196: Loop.",
        ..OAuthError::default()
    };
    assert_eq!(classify(&app, &refusal).class, LESS);
    let federated = of(&config, "federated");
    for (skew, said) in [
        (Some(3600), Some("3600 s ahead of")),
        (Some(-3600), Some("3600 s behind")),
        (Some(30), None),
        (None, None),
    ] {
        let refusal = OAuthError {
            status: 401,
            error: "invalid_client",
            description: "AADSTS700024: Client assertion is not within its valid time range.",
            skew,
            ..OAuthError::default()
        };
        let failure = classify(&federated, &refusal);
        let remedy = failure.fault.remedy().unwrap();
        match said {
            Some(said) => assert!(remedy.contains(said), "{remedy}"),
            None => assert!(!remedy.contains("this machine's clock is 3"), "{remedy}"),
        }
        // A wrong secret does not blame the clock.
        let refusal = OAuthError {
            description: "AADSTS7000215: Invalid client secret provided.",
            ..refusal
        };
        let failure = classify(&app, &refusal);
        assert!(!failure.fault.remedy().unwrap().contains("clock"));
    }
    assert_eq!(
        by_code(&app, "invalid_grant", 50196).fault.kind(),
        Kind::Unavailable
    );
}

/// Whoever presents a password that is part of the answer does not escape the lockout.
#[test]
fn a_secret_that_is_part_of_the_answer_does_not_change_its_meaning() {
    let config = registrations();
    let ropc = of(&config, "ropc");
    for (error, description, secret) in [
        ("invalid_grant", "wrong", "grant"),
        ("invalid_grant", "AADSTS50126: Something.", "50126"),
    ] {
        let refusal = OAuthError {
            status: 400,
            error,
            description,
            secrets: &[secret],
            ..OAuthError::default()
        };
        let failure = classify(&ropc, &refusal);
        assert_eq!(failure.class, Client, "{secret}");
        assert!(!failure.fault.to_string().contains(secret), "{secret}");
    }
}
