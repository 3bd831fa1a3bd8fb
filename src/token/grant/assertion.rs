//! Signed assertions: client authentication (RFC 7523 §2.2, with Entra's headers), and
//! authorization of a service account (RFC 7523 §2.1, with Google's `sub`).

use base64::Engine as _;
use jsonwebtoken::{Algorithm, Header};
use serde_json::json;
use url::Url;

use super::super::failure::TokenError;
use super::super::issued::now;
use crate::config::{ServiceAccount, SigningKey};
use crate::secret::Secret;

/// Value of `client_assertion_type` (RFC 7523 §2.2).
pub(super) const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Value of `grant_type` for a JWT (RFC 7523 §2.1).
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Lifetime of a client assertion, in seconds.
const CLIENT_LIFE: u64 = 300;

/// Lifetime of a service account's assertion, in seconds; Google allows one hour.
const SERVICE_LIFE: u64 = 600;

/// Seconds by which our clock may be ahead.
const SKEW: u64 = 60;

/// Creates the client assertion of a certificate.
pub(super) fn client(
    key: &SigningKey,
    client_id: &str,
    token_url: &Url,
) -> Result<Secret, TokenError> {
    let mut header = Header::new(Algorithm::PS256);
    header.x5t_s256 = Some(key.thumbprint.clone());
    let now = now();
    let claims = json!({
        "aud": token_url.as_str(),
        "iss": client_id,
        "sub": client_id,
        "jti": unique()?,
        "iat": now,
        "nbf": now.saturating_sub(SKEW),
        "exp": now + CLIENT_LIFE - SKEW,
    });
    sign(&header, &claims, &key.key)
}

/// Creates a service account's assertion for a mailbox.
pub(super) fn service_account(
    key: &ServiceAccount,
    mailbox: &str,
    scope: &str,
    token_url: &Url,
) -> Result<Secret, TokenError> {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(key.key_id.clone());
    let now = now();
    let claims = json!({
        "iss": key.email,
        "sub": mailbox,
        "scope": scope,
        "aud": token_url.as_str(),
        "iat": now.saturating_sub(SKEW),
        "exp": now + SERVICE_LIFE - SKEW,
    });
    sign(&header, &claims, &key.key)
}

fn sign(
    header: &Header,
    claims: &serde_json::Value,
    key: &jsonwebtoken::EncodingKey,
) -> Result<Secret, TokenError> {
    jsonwebtoken::encode(header, claims, key)
        .map(Secret::from)
        .map_err(|_| TokenError::later("the registration's key cannot sign an assertion"))
}

/// Generates a unique assertion id (`jti`).
fn unique() -> Result<String, TokenError> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| TokenError::later("no random numbers"))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id))
}
