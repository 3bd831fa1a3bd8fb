//! Client of the identity provider (relying party): sends users there, and redeems the codes that
//! they bring back.

use std::sync::Arc;
use std::time::SystemTime;

use ::http::HeaderValue;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessToken, AuthType, AuthorizationCode, ClaimsVerificationError, Client, ClientId,
    ClientSecret, CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    IdToken, IdTokenFields, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, StandardErrorResponse, StandardTokenResponse,
    SubjectIdentifier, TokenResponse as _,
};
use url::Url;

use super::http::{self, Unanswered};
use super::identity::{Identity, InfoClaims, MoreClaims, TokenClaims};
use super::metadata::Metadata;
use super::sign_in::{LIFETIME, SignIn, seconds};
use crate::config::{IpPreference, Users};
use crate::fault::{Fault, Kind, cut_secrets};
use crate::outbound::http::Client as HttpClient;
use crate::tls;

type Fields = IdTokenFields<
    MoreClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

type Token = IdToken<
    MoreClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

type Refusal = StandardErrorResponse<CoreErrorResponseType>;

type RelyingParty = Client<
    MoreClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    Refusal,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Accepted signatures: only those with a key that only the identity provider has. Tokens without
/// signature, or signed with the client secret, prove nothing.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Identity provider of `admin.users`.
pub struct Provider {
    users: Arc<Users>,
    redirect: RedirectUrl,
    client: HttpClient,
    metadata: Metadata,
}

impl Provider {
    /// Creates the client with the redirect URI registered at the identity provider. Sends no
    /// request.
    ///
    /// # Errors
    ///
    /// The authorities of `admin.users.ca` cannot be used.
    pub fn new(users: Arc<Users>, redirect: Url) -> Result<Self, rustls::Error> {
        let verifying = tls::client(&users.ca.0)?;
        let client = HttpClient::new(verifying, users.egress.clone(), IpPreference::Any);
        Ok(Self {
            users,
            redirect: RedirectUrl::from_url(redirect),
            client,
            metadata: Metadata::default(),
        })
    }

    /// Host of the identity provider, to be shown.
    pub fn host(&self) -> String {
        let url = Url::parse(&self.users.issuer).ok();
        let host = url.as_ref().and_then(Url::host_str);
        host.unwrap_or_default().to_owned()
    }

    /// Begins a sign-in. Returns the URL to which to send the browser, and the values that it must
    /// bring back. With `select_account` the identity provider asks which account to use.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`]: the identity provider does not respond.
    pub async fn begin(
        &self,
        select_account: bool,
        now: SystemTime,
    ) -> Result<(Url, SignIn), Fault> {
        let metadata = self.current().await?;
        let party = self.relying_party(&metadata);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = party
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .set_pkce_challenge(challenge)
            .add_scope(Scope::new("profile".into()))
            .add_scope(Scope::new("email".into()));
        if select_account {
            request = request.add_prompt(CoreAuthPrompt::SelectAccount);
        }
        let (url, state, nonce) = request.url();
        let sign_in = SignIn {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
            ends: seconds(now + LIFETIME),
        };
        Ok((url, sign_in))
    }

    /// Redeems the code of a sign-in and verifies the ID token.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`]: the identity provider does not respond. [`Kind::GrantRefused`]: it
    /// refuses the code, or its ID token is invalid.
    pub async fn redeem(&self, sign_in: SignIn, code: &str) -> Result<Identity, Fault> {
        let metadata = self.current().await?;
        let party = self.relying_party(&metadata);
        let send = |request| http::send(self.client.clone(), self.is_clear(), request);
        let request = party
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|_| refusal("the identity provider has no token endpoint"))?
            .set_pkce_verifier(PkceCodeVerifier::new(sign_in.verifier));
        let answer = request.request_async(&send).await;
        let answer = answer
            .map_err(|error| not_redeemed(error, &[self.users.client_secret.expose(), code]))?;
        let Some(token) = answer.id_token() else {
            return Err(refusal("the identity provider sent no ID token")
                .with_remedy("its client must be allowed the scope openid"));
        };
        let claims = self.verified(&metadata, token, &sign_in.nonce).await?;
        let mut identity = Identity::from_claims(&claims, self.users.address_claim);
        if !identity.has_all_rights(&self.users)
            && let Some(more) = self.user_info(&party, answer.access_token(), &claims).await
        {
            identity.complete(more);
        }
        Ok(identity)
    }

    /// Verifies an ID token and returns its claims. Fetches the keys again if the token's key is
    /// unknown.
    async fn verified(
        &self,
        metadata: &Arc<CoreProviderMetadata>,
        token: &Token,
        nonce: &str,
    ) -> Result<TokenClaims, Fault> {
        let mut verified = self.verify(metadata, token, nonce);
        if let Err(ClaimsVerificationError::SignatureVerification(_)) = &verified {
            let issuer = &self.users.issuer;
            let newer = self.metadata.newer(&self.client, issuer, metadata);
            if let Some(newer) = newer.await {
                verified = self.verify(&newer, token, nonce);
            }
        }
        verified.map_err(|error| unverified(&error))
    }

    /// Verifies an ID token as in OpenID Connect Core §3.1.3.7.
    fn verify(
        &self,
        metadata: &CoreProviderMetadata,
        token: &Token,
        nonce: &str,
    ) -> Result<TokenClaims, ClaimsVerificationError> {
        let party = self.relying_party(metadata);
        let verifier = party.id_token_verifier().set_allowed_algs(ALGORITHMS);
        let nonce = Nonce::new(nonce.to_owned());
        let claims = token.claims(&verifier, &nonce)?;
        match claims.authorized_party() {
            Some(other) if **other != self.users.client_id => Err(
                ClaimsVerificationError::InvalidAudience("it is for another client".into()),
            ),
            _ => Ok(claims.clone()),
        }
    }

    /// Requests claims about the same user from the UserInfo endpoint (Core §5.3): some providers
    /// put only the subject into ID tokens.
    async fn user_info(
        &self,
        party: &RelyingParty,
        token: &AccessToken,
        claims: &TokenClaims,
    ) -> Option<Identity> {
        // The crate requires a token that is a valid header value.
        HeaderValue::from_str(token.secret()).ok()?;
        let subject = SubjectIdentifier::new(claims.subject().to_string());
        let request = party.user_info(token.clone(), Some(subject)).ok()?;
        let send = |request| http::send(self.client.clone(), self.is_clear(), request);
        let info: Result<InfoClaims, _> = request.request_async(&send).await;
        match info {
            Ok(info) => Some(Identity::from_claims(&info, self.users.address_claim)),
            Err(error) => {
                let detail = Fault::new(Kind::Unavailable, error.to_string());
                tracing::warn!(detail = detail.detail(), "no UserInfo of who signed in");
                None
            }
        }
    }

    async fn current(&self) -> Result<Arc<CoreProviderMetadata>, Fault> {
        let issuer = &self.users.issuer;
        self.metadata.current(&self.client, issuer).await
    }

    fn relying_party(&self, metadata: &CoreProviderMetadata) -> RelyingParty {
        let secret = self.users.client_secret.expose().to_owned();
        let client_id = ClientId::new(self.users.client_id.clone());
        let party = RelyingParty::from_provider_metadata(
            metadata.clone(),
            client_id,
            Some(ClientSecret::new(secret)),
        );
        let methods = metadata.token_endpoint_auth_methods_supported();
        let takes = |method| methods.is_none_or(|methods| methods.contains(&method));
        // RFC 6749 §2.3.1 requires every server to support Basic; some support only the other
        // method.
        let method = match takes(CoreClientAuthMethod::ClientSecretBasic) {
            true => AuthType::BasicAuth,
            false => AuthType::RequestBody,
        };
        party
            .set_auth_type(method)
            .set_redirect_uri(self.redirect.clone())
    }

    /// Whether the identity provider is on this machine and has no TLS.
    fn is_clear(&self) -> bool {
        self.users.issuer.starts_with("http://")
    }
}

fn refusal(detail: impl Into<String>) -> Fault {
    Fault::new(Kind::GrantRefused, detail.into())
}

/// Fault of a code that was not redeemed, without the request's secrets.
fn not_redeemed(error: RequestTokenError<Unanswered, Refusal>, secrets: &[&str]) -> Fault {
    match error {
        RequestTokenError::ServerResponse(said) => {
            let description = said.error_description().cloned().unwrap_or_default();
            let detail = format!(
                "the identity provider rejects the code: {} {description}",
                said.error()
            );
            let detail = cut_secrets(&detail, secrets.iter().copied());
            let is_secret = *said.error() == CoreErrorResponseType::InvalidClient;
            refusal(detail).with_remedy(match is_secret {
                true => "check admin.users.client_id and client_secret, and whether the secret has expired",
                false => "sign in again",
            })
        }
        RequestTokenError::Request(why) => Fault::new(
            Kind::Unavailable,
            format!("the identity provider's token endpoint cannot be used: {why}"),
        )
        .with_remedy(
            "sign in again; if the problem persists, check the way to the identity provider",
        ),
        RequestTokenError::Parse(why, _) => unreadable(why.inner()),
        RequestTokenError::Other(why) => unreadable(&why),
    }
}

fn unreadable(why: &dyn std::fmt::Display) -> Fault {
    refusal(format!(
        "the identity provider's answer cannot be read: {why}"
    ))
}

/// Fault of an invalid ID token.
fn unverified(error: &ClaimsVerificationError) -> Fault {
    let why = match error {
        ClaimsVerificationError::SignatureVerification(why) => why.to_string(),
        other => other.to_string(),
    };
    let fault = refusal(format!("the ID token is not valid: {why}"));
    match error {
        ClaimsVerificationError::Expired(_) => {
            fault.with_remedy("check this host's clock, then sign in again")
        }
        _ => fault.with_remedy("sign in again; if the problem persists, check admin.users"),
    }
}
