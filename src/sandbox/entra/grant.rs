//! The grants, and the credentials of clients.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::error::{Error, app_unknown, secret_wrong};
use super::{Entra, Parameters, field, s256};
use crate::sandbox::{CLIENT_ID, CLIENT_SECRET, MAILBOX, PASSWORD, TENANT, clock};

/// RFC 7523 §2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) fn grant(entra: &Entra, tenant: &str, form: &Parameters) -> Result<Value, Error> {
    if ![TENANT, "contoso.test", "common", "organizations"].contains(&tenant) {
        return Err(Error::new(
            400,
            "invalid_request",
            90_002,
            &format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
            ),
        ));
    }
    let grant = field(form, "grant_type")?;
    if grant == JWT_BEARER {
        return service_account(entra, field(form, "assertion")?);
    }
    let id = field(form, "client_id")?;
    if id != CLIENT_ID {
        return Err(app_unknown(id));
    }
    if form.contains_key("client_secret") || form.contains_key("client_assertion") {
        authenticate(form)?;
    } else if grant == "client_credentials" {
        return Err(Error::new(
            401,
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ));
    }
    let scope = form.get("scope").cloned();
    match grant {
        "client_credentials" => {
            let scope = field(form, "scope")?;
            if !scope.ends_with("/.default") || scope.contains(' ') {
                return Err(Error::new(
                    400,
                    "invalid_scope",
                    1_002_012,
                    &format!(
                        "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
                    ),
                ));
            }
            entra.answer(scope, None, false)
        }
        "password" => {
            let user = field(form, "username")?;
            if field(form, "password")? != PASSWORD {
                return Err(Error::new(
                    400,
                    "invalid_grant",
                    50_126,
                    "Error validating credentials due to invalid username or password.",
                ));
            }
            entra.answer(&scope.unwrap_or_default(), Some(user), true)
        }
        "authorization_code" => {
            let code = entra.take(field(form, "code")?, Error::new(400, "invalid_grant", 54_005, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."))?;
            if code.redirect.as_ref() != form.get("redirect_uri") {
                return Err(Error::new(
                    400,
                    "invalid_request",
                    50_011,
                    "The redirect URI specified in the request does not match the one the code was issued for.",
                ));
            }
            let verifier = form.get("code_verifier").map(|verifier| s256(verifier));
            if code.challenge != verifier {
                return Err(Error::new(
                    400,
                    "invalid_grant",
                    501_481,
                    "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
                ));
            }
            entra.answer(&code.scope, Some(MAILBOX), true)
        }
        "refresh_token" => {
            // Replaced at each use; the old one stays good for a while.
            let code = entra
                .codes
                .lock()
                .get(field(form, "refresh_token")?)
                .cloned();
            let code = code.ok_or_else(|| Error::new(400, "invalid_grant", 70_008, "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.").suberror("bad_token"))?;
            entra.answer(&scope.unwrap_or(code.scope), Some(MAILBOX), true)
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            let device = field(form, "device_code")?;
            if let Some(code) = entra.codes.lock().get_mut(device)
                && code.pending > 0
            {
                code.pending -= 1;
                return Err(Error::new(
                    400,
                    "authorization_pending",
                    70_016,
                    "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
                ));
            }
            let code = entra.take(device, Error::new(400, "bad_verification_code", 70_018, "Invalid verification code due to User typing in wrong user code for device code flow."))?;
            entra.answer(&code.scope, Some(MAILBOX), true)
        }
        _ => Err(Error::new(
            400,
            "unsupported_grant_type",
            70_003,
            &format!("The app requested an unsupported grant type '{grant}'."),
        )),
    }
}

/// Google's grant, not Entra's: a service account acts for a mailbox of its domain. The signature
/// is not checked.
fn service_account(entra: &Entra, jwt: &str) -> Result<Value, Error> {
    let refused = |why: &str| Error::new(400, "invalid_grant", 0, why);
    let (head, claims) = assertion(jwt).ok_or_else(|| refused("Invalid JWT"))?;
    let text = |value: &Value, key: &str| {
        let value = value.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let now = clock::now();
    let time = |key: &str| claims.get(key).and_then(Value::as_u64);
    let times = (time("iat"), time("exp"));
    let in_time =
        matches!(times, (Some(iat), Some(exp)) if iat <= now && exp > now && exp - iat <= 3600);
    if text(&head, "alg") != "RS256" || text(&head, "kid").is_empty() {
        return Err(refused("Invalid JWT Signature."));
    }
    if !in_time || !text(&claims, "aud").ends_with("/token") {
        return Err(refused(
            "Invalid JWT: check your iat and exp values in the JWT claim.",
        ));
    }
    if text(&claims, "iss").is_empty() || entra.shared.mailbox(&text(&claims, "sub")).is_none() {
        return Err(refused("Invalid email or User ID"));
    }
    entra.answer(&text(&claims, "scope"), Some(&text(&claims, "sub")), false)
}

/// By secret, or by an assertion that has the right shape; its signature is not checked.
fn authenticate(form: &Parameters) -> Result<(), Error> {
    if let Some(secret) = form.get("client_secret") {
        return if secret == CLIENT_SECRET {
            Ok(())
        } else {
            Err(secret_wrong())
        };
    }
    let bad = |why: &str| {
        Error::new(
            401,
            "invalid_client",
            700_027,
            &format!(
                "The certificate with identifier used to sign the client assertion is not registered on application. {why}"
            ),
        )
    };
    let kind = field(form, "client_assertion_type")?;
    if kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
        return Err(bad("Wrong client_assertion_type."));
    }
    let (head, claims) =
        assertion(field(form, "client_assertion")?).ok_or_else(|| bad("No JWT."))?;
    let text = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    // A federated assertion is issued by another party, without a thumbprint.
    let federated = text(&claims, "iss") != CLIENT_ID;
    if !federated {
        if !["PS256", "RS256"].contains(&text(&head, "alg").as_str()) {
            return Err(bad("Wrong alg."));
        }
        if head.get("x5t#S256").or_else(|| head.get("x5t")).is_none() {
            return Err(bad("No thumbprint."));
        }
        if text(&claims, "sub") != CLIENT_ID
            || !text(&claims, "aud").ends_with("/oauth2/v2.0/token")
        {
            return Err(bad("Wrong sub or aud."));
        }
    }
    match claims.get("exp").and_then(Value::as_u64) {
        Some(exp) if exp > clock::now() => Ok(()),
        _ => Err(Error::new(
            401,
            "invalid_client",
            700_024,
            "Client assertion is not within its valid time range.",
        )),
    }
}

pub(super) fn assertion(jwt: &str) -> Option<(Value, Value)> {
    let mut parts = jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let (head, claims, signature) = (parts.next()??, parts.next()??, parts.next()??);
    if signature.is_empty() || parts.next().is_some() {
        return None;
    }
    Some((
        serde_json::from_slice(&head).ok()?,
        serde_json::from_slice(&claims).ok()?,
    ))
}
