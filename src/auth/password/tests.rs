//! Cost of login attempts. A peer could only measure it; the tests count argon2 runs.

use std::path::Path;
use std::sync::atomic::Ordering;

use argon2::{Argon2, PasswordHasher as _};

use super::*;

fn hash(password: &str) -> String {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.unwrap().to_string()
}

/// Three accounts: two hashes, one hash, and a cleartext password.
fn config() -> Config {
    let text = format!(
        r#"
listeners: [{{protocol: imap, bind: "127.0.0.1:0"}}]
registrations:
  r: {{provider: microsoft365, tenant: t, client_id: c, grant: client_credentials, client_secret: s}}
accounts:
  - login: two@contoso.test
    registration: r
    passwords: [{{name: a, password: "{}"}}, {{name: b, password: "{}"}}]
  - {{login: one@contoso.test, registration: r, password: "{}"}}
  - {{login: clear@contoso.test, registration: r, password: clear}}
"#,
        hash("first"),
        hash("second"),
        hash("only"),
    );
    Config::parse(&text, Path::new("proxy.yaml"), crate::config::LoadMode::Run).unwrap()
}

fn claim(config: &Config, login: &str) -> Option<Candidate> {
    let named = |account: &&Arc<Account>| {
        account.login == crate::config::LoginPattern::Exact(login.to_owned())
    };
    let account = config.accounts.iter().find(named)?;
    Some(Candidate {
        account: account.clone(),
        login: login.to_owned(),
        mailbox: login.to_owned(),
        passwords: account.passwords.clone(),
    })
}

/// Returns whether the password was right, and the argon2 runs of the attempt.
async fn check(
    checker: &PasswordChecker,
    config: &Config,
    login: &str,
    password: &str,
) -> (bool, usize) {
    let before = checker.counted.load(Ordering::Relaxed);
    let verified = checker
        .check(claim(config, login), &Secret::from(password))
        .await;
    let runs = checker.counted.load(Ordering::Relaxed) - before;
    (verified.is_some(), runs)
}

/// Unknown login or wrong password, with one password or two, hashed or not, cost the same.
#[tokio::test]
async fn every_failure_costs_the_same() {
    let config = config();
    let checker = PasswordChecker::new(&config).unwrap();
    for login in [
        "two@contoso.test",
        "one@contoso.test",
        "clear@contoso.test",
        "nobody@contoso.test",
    ] {
        for _ in 0..2 {
            let cost = check(&checker, &config, login, "guess").await;
            assert_eq!(cost, (false, 2), "{login}");
        }
    }
}

/// A polling client pays for argon2 once, while its password is remembered.
#[tokio::test(start_paused = true)]
async fn only_the_right_password_is_remembered() {
    let config = config();
    let checker = PasswordChecker::new(&config).unwrap();
    let (login, password) = ("two@contoso.test", "second");
    assert_eq!(check(&checker, &config, login, password).await, (true, 2));
    // Not even the first of the two hashes is checked again.
    assert_eq!(check(&checker, &config, login, password).await, (true, 0));
    assert_eq!(
        check(&checker, &config, "one@contoso.test", password).await,
        (false, 2)
    );
    assert_eq!(check(&checker, &config, login, "guess").await, (false, 2));
    tokio::time::advance(REMEMBERED).await;
    assert_eq!(check(&checker, &config, login, password).await, (true, 2));
    let only = ("one@contoso.test", "only");
    assert_eq!(check(&checker, &config, only.0, only.1).await, (true, 1));
    assert_eq!(check(&checker, &config, only.0, only.1).await, (true, 0));
}
