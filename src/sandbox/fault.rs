//! Faults that the sandbox emulates, by name.

use std::fmt;
use std::str::FromStr;

macro_rules! faults {
    ($($variant:ident $name:literal $about:literal)*) => {
        /// Fault for new connections and for those that are open.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Fault {
            $(#[doc = $about] $variant,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name, as `--fault` takes it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Description in one line.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }
        }
    };
}

faults! {
    TokenUnreachable "token-unreachable" "the token endpoint closes every connection"
    TokenSlow "token-slow" "the token endpoint never answers"
    Token429 "token-429" "the token endpoint answers 429 in plain text, Retry-After: 60"
    Token500 "token-500" "the token endpoint answers 500 with a page"
    TokenHtml "token-html" "the token endpoint answers 200 with a page, as captive portals do"
    TokenGarbage "token-garbage" "the token endpoint answers 200 with JSON that holds no token"
    TokenTruncated "token-truncated" "the token endpoint answers 200 with JSON that breaks off"
    TokenRedirect "token-redirect" "the token endpoint redirects elsewhere"
    SecretWrong "secret-wrong" "AADSTS7000215: the client secret is wrong"
    SecretExpired "secret-expired" "AADSTS7000222: the client secret has expired"
    AppUnknown "app-unknown" "AADSTS700016: the application is not in the tenant"
    ConsentMissing "consent-missing" "AADSTS65001: nobody consented"
    MfaRequired "mfa-required" "AADSTS50076: multi-factor authentication is wanted"
    ConditionalAccess "conditional-access" "AADSTS53003: Conditional Access blocks the token"
    RefreshRevoked "refresh-revoked" "AADSTS50173: the grant was revoked, sign in again"
    TokenThrottled "token-throttled" "AADSTS50196: throttling that looks like invalid_grant"
    TokenTransient "token-transient" "AADSTS90033: a transient error, temporarily_unavailable"
    TokenExpiresString "token-expires-string" "expires_in is a string"
    TokenExpiresMissing "token-expires-missing" "expires_in is absent"
    TokenExpiresZero "token-expires-zero" "expires_in is 0"
    TokenExpiresHuge "token-expires-huge" "expires_in is beyond any calendar"
    TokenNoRoles "token-no-roles" "tokens come without roles, and the mail services refuse them"
    TokenAudience "token-audience" "tokens are for Microsoft Graph, and the mail services refuse them"
    TokenTenant "token-tenant" "tokens are of another tenant, and the mail services refuse them"
    TokenOpaque "token-opaque" "tokens are opaque, as those of personal accounts"
    TokenStale "token-stale" "tokens issued before this fault was set are refused, later ones are good"
    UpstreamUnreachable "upstream-unreachable" "the mail services close every connection at once"
    UpstreamSilent "upstream-silent" "the mail services accept connections and say nothing"
    UpstreamBusyGreeting "upstream-busy-greeting" "the mail services greet with 421, BYE or -ERR"
    UpstreamGarbage "upstream-garbage" "the mail services greet with something else"
    UpstreamEndless "upstream-endless" "the greeting is a line that never ends"
    Preauth "preauth" "IMAP greets with PREAUTH"
    TlsSelfSigned "tls-self-signed" "the mail services' certificate is self-signed"
    TlsWrongName "tls-wrong-name" "the mail services' certificate is for another host"
    TlsExpired "tls-expired" "the mail services' certificate has expired"
    StarttlsMissing "starttls-missing" "STARTTLS is neither offered nor taken"
    StarttlsRefused "starttls-refused" "STARTTLS is offered, then refused"
    StarttlsInjected "starttls-injected" "bytes in clear follow the answer to STARTTLS"
    AuthRefused "auth-refused" "XOAUTH2 is refused"
    AuthChallenge "auth-challenge" "XOAUTH2 is refused after a JSON challenge that wants an empty line"
    AuthThrottled "auth-throttled" "XOAUTH2 is refused for now: throttled"
    AuthHangs "auth-hangs" "XOAUTH2 is never answered"
    AuthDrop "auth-drop" "the connection ends during XOAUTH2"
    AuthBye "auth-bye" "XOAUTH2 is answered with BYE or 421, and the end"
    SmtpDisabled "smtp-disabled" "535 5.7.139: SMTP AUTH is disabled for the tenant"
    SecurityDefaults "security-defaults" "535 5.7.139: the tenant's security defaults lock the user"
    HveTokenEnds "hve-token-ends" "535 5.7.142: High Volume Email refuses a token that ends soon"
    HveTokenEnded "hve-token-ended" "535 5.7.143: High Volume Email refuses a token that has ended"
    HvePermission "hve-permission" "535 5.7.144: High Volume Email refuses a token without Mail.Send"
    HveNotListed "hve-not-listed" "550 5.7.240: the application is not on the High Volume Email account's list"
    HveMalformed "hve-malformed" "501 5.5.124: High Volume Email cannot read the XOAUTH2 data"
    HveExternal "hve-external" "550 5.5.105: High Volume Email takes no external recipient"
    NotConnected "not-connected" "authenticated but not connected: the first mailbox command fails"
    LostIdle "lost-idle" "the connection ends after the first full answer that follows the login"
    LostLiteral "lost-literal" "the connection ends inside a FETCH literal, a RETR body or DATA"
    ExpiredSession "expired-session" "IMAP sessions end: AccessTokenExpired"
    SendAsDenied "send-as-denied" "554 5.2.252 after DATA: not allowed to send as this sender"
    SmtpConcurrency "smtp-concurrency" "432 4.3.2 at DATA: too many connections"
    SmtpQuota "smtp-quota" "554 5.2.0 after DATA: the day's quota is used up"
    RecipientRefused "recipient-refused" "550 5.1.10: every recipient is unknown"
    Tarpit "tarpit" "refusals come five seconds late, as Exchange's do"
    Dribble "dribble" "everything comes in writes of one byte"
    Frontend2026 "frontend-2026" "IMAP greets and lists capabilities as the front end of 2026 does"
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not one of [`Fault::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no fault is named {0:?}; `--fault list` names them")]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        Self::ALL
            .iter()
            .copied()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| UnknownFault(name.to_owned()))
    }
}
