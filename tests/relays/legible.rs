//! What someone sees who can read the store.

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{Imap, Smtp};

use crate::consents::{consent, consenting};
use crate::pair::Pair;
use crate::stage::is_success;

/// A consent, messages, wrong passwords: neither names nor values of the store show a login, an
/// address, a token, a password or the key.
#[tokio::test]
async fn who_reads_the_store_sees_no_login_and_no_token() {
    let pair = Pair::start(consenting()).await;
    // Values as they are, and not compressed.
    pair.redis.ask(&["CONFIG", "SET", "rdbcompression", "no"]);
    assert_eq!(consent(&pair, 0).await.0, 200);
    for relay in [0, 1] {
        assert!(is_success(Imap, &pair.log_in(relay, Imap).await));
        assert!(is_success(Smtp, &pair.log_in(relay, Smtp).await));
        let mut guess = pair.connect(relay, Imap).await;
        guess.log_in(LOGIN, "a wrong password").await;
    }
    let keys = pair.redis.ask(&["KEYS", "*"]);
    let names: Vec<_> = keys.lines().collect();
    assert!(names.len() >= 3, "{keys}");
    let mut store = keys.clone();
    for name in names {
        store.push_str(&pair.redis.ask(&["DUMP", name]));
    }
    assert!(store.len() > 2_000, "the record of the consent is there");
    let (user, domain) = LOGIN.split_once('@').unwrap();
    for secret in [
        LOGIN,
        user,
        domain,
        PASSWORD,
        "a wrong password",
        "a key that both",
    ] {
        assert!(!store.contains(secret), "{secret} is legible in the store");
    }
    // How the emulation's refresh tokens, JWTs and records in clear begin.
    for token in ["1.AX", "eyJ0eXAi", "refresh_token", "access_token"] {
        assert!(!store.contains(token), "{token} is legible in the store");
    }
}
