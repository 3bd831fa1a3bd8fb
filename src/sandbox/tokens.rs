//! Access tokens: issued at random, remembered, revocable.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{CLIENT_ID, Fault, TENANT, clock};

/// Maximum number of valid tokens; the oldest become invalid.
const KEPT: usize = 10_000;

/// Valid token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    serial: u64,
    good: bool,
    pub expires: Instant,
}

#[derive(Default)]
pub(super) struct Tokens(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    issued: u64,
    /// Tokens up to this serial are refused while `token-stale` is set.
    stale: u64,
    known: HashMap<String, Token>,
    order: VecDeque<String>,
}

impl Tokens {
    /// Issues a token of about `size` octets. Some faults change its claims.
    pub fn issue(
        &self,
        size: usize,
        lifetime: Duration,
        scope: &str,
        upn: Option<&str>,
        fault: Option<Fault>,
    ) -> io::Result<String> {
        let text = match fault {
            Some(Fault::TokenOpaque) => {
                format!("EwB{}", random_text(size.saturating_sub(3).max(32))?)
            }
            _ => jwt(size, lifetime, scope, upn, fault)?,
        };
        let mut inner = self.0.lock();
        inner.issued += 1;
        let token = Token {
            serial: inner.issued,
            good: !matches!(
                fault,
                Some(Fault::TokenNoRoles | Fault::TokenAudience | Fault::TokenTenant)
            ),
            expires: Instant::now() + lifetime,
        };
        inner.known.insert(text.clone(), token);
        inner.order.push_back(text.clone());
        if inner.order.len() > KEPT
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.known.remove(&oldest);
        }
        Ok(text)
    }

    /// Returns the token if it is valid now.
    pub fn check(&self, text: &str, fault: Option<Fault>) -> Option<Token> {
        let inner = self.0.lock();
        let token = *inner.known.get(text)?;
        let stale = fault == Some(Fault::TokenStale) && token.serial <= inner.stale;
        (token.good && !stale && token.expires > Instant::now()).then_some(token)
    }

    pub fn mark_stale(&self) {
        let mut inner = self.0.lock();
        inner.stale = inner.issued;
    }

    pub fn revoke_all(&self) {
        let mut inner = self.0.lock();
        inner.known.clear();
        inner.order.clear();
    }
}

/// Token in the form of Entra's: the same claims, and a signature that nobody can check.
fn jwt(
    size: usize,
    lifetime: Duration,
    scope: &str,
    upn: Option<&str>,
    fault: Option<Fault>,
) -> io::Result<String> {
    let tenant = match fault {
        Some(Fault::TokenTenant) => "99999999-8888-7777-6666-555555555555",
        _ => TENANT,
    };
    let audience = match fault {
        Some(Fault::TokenAudience) => "https://graph.microsoft.com",
        _ if scope.contains("ps.outlook.com") => "https://ps.outlook.com",
        _ if scope.contains("outlook.office.com") => "https://outlook.office.com",
        _ => "https://outlook.office365.com",
    };
    let now = clock::now();
    let mut claims = json!({
        "aud": audience, "iss": format!("https://sts.windows.net/{tenant}/"),
        "iat": now, "nbf": now, "exp": now.saturating_add(lifetime.as_secs()),
        "app_displayname": "authrelay sandbox", "appid": CLIENT_ID, "appidacr": "1",
        "oid": "0b1d0b1d-0000-4000-8000-000000000001", "tid": tenant,
        "uti": random_text(22)?, "ver": "1.0",
    });
    let mut claim = |key: &str, value| {
        if let Some(claims) = claims.as_object_mut() {
            claims.insert(key.to_owned(), value);
        }
    };
    let roles = fault != Some(Fault::TokenNoRoles);
    match upn {
        Some(upn) => {
            claim("upn", json!(upn));
            let scopes = "IMAP.AccessAsUser.All POP.AccessAsUser.All SMTP.Send";
            claim("scp", json!(if roles { scopes } else { "openid profile" }));
        }
        None => {
            claim("idtyp", json!("app"));
            if roles {
                let roles = ["IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp"];
                claim("roles", json!(roles));
            }
        }
    }
    let header = json!({
        "typ": "JWT", "nonce": random_text(43)?, "alg": "RS256",
        "x5t": "c2FuZGJveC1zYW5kYm94LXNhbmQ", "kid": "c2FuZGJveC1zYW5kYm94LXNhbmQ",
    });
    let signature = random_text(342)?;
    let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let bare = encoded(&header).len() + encoded(&claims).len() + signature.len() + 2;
    if let Some(missing) = size.checked_sub(bare + 20) {
        let padding = json!(random_text(missing * 3 / 4)?);
        claims
            .as_object_mut()
            .map(|claims| claims.insert("xms_ftd".to_owned(), padding));
    }
    Ok(format!(
        "{}.{}.{signature}",
        encoded(&header),
        encoded(&claims)
    ))
}

/// Random characters of the base64url alphabet.
pub(super) fn random_text(length: usize) -> io::Result<String> {
    let mut bytes = vec![0; length * 3 / 4 + 1];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    let mut text = URL_SAFE_NO_PAD.encode(bytes);
    text.truncate(length);
    Ok(text)
}
