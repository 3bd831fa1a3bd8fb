//! Identity of a signed-in user, from verified claims.

use openidconnect::core::CoreGenderClaim;
use openidconnect::{AdditionalClaims, IdTokenClaims, UserInfoClaims};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{AddressClaim, Member, Users};

/// Longest name that is shown, in characters.
const NAME_CAP: usize = 200;

/// Maximum number of groups examined per user; Entra's ID tokens have at most 200.
const GROUPS: usize = 1_000;

/// Claims other than the standard ones. Values of unexpected type count as absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct MoreClaims {
    #[serde(default)]
    groups: Value,
    #[serde(default)]
    upn: Value,
    /// Claims that the token refers to instead of containing them (Core §5.6.2): Entra's groups
    /// over 200.
    #[serde(default, rename = "_claim_names")]
    elsewhere: Value,
}

impl AdditionalClaims for MoreClaims {}

/// Claims of a verified ID token.
pub(super) type TokenClaims = IdTokenClaims<MoreClaims, CoreGenderClaim>;

/// Claims from the UserInfo endpoint.
pub(super) type InfoClaims = UserInfoClaims<MoreClaims, CoreGenderClaim>;

/// Claims about one user from either source.
pub(super) struct Claims<'a> {
    subject: &'a str,
    preferred_username: Option<&'a str>,
    email: Option<&'a str>,
    email_verified: Option<bool>,
    more: &'a MoreClaims,
}

macro_rules! from_claims {
    ($($claims:ty),*) => {$(
        impl<'a> From<&'a $claims> for Claims<'a> {
            fn from(claims: &'a $claims) -> Self {
                Self {
                    subject: claims.subject(),
                    preferred_username: claims.preferred_username().map(|name| name.as_str()),
                    email: claims.email().map(|email| email.as_str()),
                    email_verified: claims.email_verified(),
                    more: claims.additional_claims(),
                }
            }
        }
    )*};
}
from_claims!(TokenClaims, InfoClaims);

/// Identity of a signed-in user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Claim `sub`, which the identity provider never assigns to another user.
    subject: String,
    /// Address that the identity provider vouches for, lower case.
    address: Option<String>,
    /// Name that the user may have chosen; shown only together with the subject.
    shown: Option<String>,
    /// Groups as named in the claim `groups`.
    groups: Vec<String>,
    /// Whether the token refers to more groups than it contains.
    has_groups_elsewhere: bool,
}

impl Identity {
    /// Reads the claims; `claim` is the one that contains the address.
    pub(super) fn from_claims<'a>(claims: impl Into<Claims<'a>>, claim: AddressClaim) -> Self {
        let claims = claims.into();
        let more = claims.more;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let is_verified = claims.email_verified == Some(true);
        let address = match claim {
            AddressClaim::Email => claims.email.filter(|_| is_verified),
            AddressClaim::PreferredUsername => {
                claims.preferred_username.or_else(|| more.upn.as_str())
            }
            AddressClaim::Upn => more.upn.as_str(),
        };
        let groups = match &more.groups {
            Value::String(one) => vec![one.clone()],
            Value::Array(several) => several.iter().filter_map(text).take(GROUPS).collect(),
            _ => Vec::new(),
        };
        Self {
            subject: claims.subject.to_owned(),
            address: address
                .filter(|address| address.contains('@'))
                .map(str::to_lowercase),
            shown: claims
                .preferred_username
                .or(claims.email)
                .map(str::to_owned),
            groups,
            has_groups_elsewhere: more.elsewhere.get("groups").is_some(),
        }
    }

    /// Adds the UserInfo endpoint's claims about the same user.
    pub(super) fn complete(&mut self, other: Self) {
        self.address = self.address.take().or(other.address);
        self.shown = self.shown.take().or(other.shown);
        if self.groups.is_empty() {
            self.groups = other.groups;
        }
    }

    /// Whether an entry of `admin.users` means this user. An entry with `@` is an address and never
    /// matches the name of a group, which users may choose.
    pub fn is(&self, member: &Member) -> bool {
        match member {
            Member::Address(address) => self.address.as_ref() == Some(address),
            Member::Group(group) => self.groups.iter().any(|own| is_same_group(own, group)),
        }
    }

    /// Whether both are the same user, by the subject.
    pub fn is_same_person(&self, other: &Self) -> bool {
        self.subject == other.subject
    }

    /// Whether no further claim about this user could give more rights in `users`.
    pub(super) fn has_all_rights(&self, users: &Users) -> bool {
        let highest = match users.operators.is_empty() {
            true => &users.viewers,
            false => &users.operators,
        };
        highest.iter().any(|member| self.is(member))
    }

    /// Keeps only the groups that `users` names; a session does not need the others.
    pub fn without_other_groups(mut self, users: &Users) -> Self {
        let is_named = |group: &String| {
            let mut members = users.operators.iter().chain(&users.viewers);
            members.any(|member| match member {
                Member::Group(name) => is_same_group(group, name),
                Member::Address(_) => false,
            })
        };
        self.groups.retain(is_named);
        self.groups.shrink_to_fit();
        self
    }

    /// Name for pages, log and audit records: the address, or the chosen name with the subject,
    /// which no user can choose.
    pub fn name(&self) -> String {
        let subject = || limited(&self.subject);
        match (&self.address, &self.shown) {
            (Some(address), _) => limited(address),
            (None, Some(shown)) => format!("{} (subject {})", limited(shown), subject()),
            (None, None) => format!("subject {}", subject()),
        }
    }

    /// Address that the identity provider vouches for, if any.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Groups as named in the claim `groups`.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Whether the token has no groups because there were too many.
    pub fn has_groups_elsewhere(&self) -> bool {
        self.has_groups_elsewhere && self.groups.is_empty()
    }
}

/// Compares groups: object ids without regard to case, names exactly.
fn is_same_group(one: &str, other: &str) -> bool {
    let is_id = one.len() == 36 && one.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    one == other || (is_id && one.eq_ignore_ascii_case(other))
}

/// A name as one line of bounded length. Control characters and what changes the direction
/// of text are left out; unlike in texts of peers, long runs are kept, which subjects are.
fn limited(text: &str) -> String {
    let is_printable = |c: &char| c.is_alphanumeric() || c.is_ascii_graphic() || *c == ' ';
    text.chars().filter(is_printable).take(NAME_CAP).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(mut claims: Value, claim: AddressClaim) -> Identity {
        claims["sub"] = json!("subject-1");
        let json = claims.to_string();
        let claims =
            InfoClaims::from_json::<std::convert::Infallible>(json.as_bytes(), None).unwrap();
        Identity::from_claims(&claims, claim)
    }

    #[test]
    fn an_address_is_what_the_identity_provider_answers_for() {
        use AddressClaim::{Email, PreferredUsername, Upn};
        let boss = Some("boss@contoso.com");
        let verified = |value: Value| json!({"email": "Boss@contoso.com", "email_verified": value});
        let preferred = |name: &str| json!({"preferred_username": name});
        let upn = |value: Value| json!({ "upn": value });
        for (claims, claim, address) in [
            (verified(json!(true)), Email, boss),
            (verified(json!("true")), Email, boss),
            (verified(json!(false)), Email, None),
            (verified(json!(null)), Email, None),
            (preferred("boss@contoso.com"), Email, None),
            (preferred("boss@contoso.com"), PreferredUsername, boss),
            (preferred("boss"), PreferredUsername, None),
            (upn(json!("boss@contoso.com")), PreferredUsername, boss),
            (upn(json!("boss@contoso.com")), Upn, boss),
            (upn(json!(["boss@contoso.com"])), Upn, None),
            (verified(json!(true)), Upn, None),
        ] {
            let identity = identity(claims.clone(), claim);
            assert_eq!(identity.address(), address, "{claims} {claim:?}");
        }
    }

    #[test]
    fn a_group_is_no_address_and_an_address_no_group() {
        let claims = json!({"groups": ["boss@contoso.com", "ops", 7, "11111111-AAAA-3333-4444-555555555555"]});
        let person = identity(claims, AddressClaim::Email);
        assert!(!person.is(&Member::Address("boss@contoso.com".into())));
        let group = |text: &str| Member::Group(text.into());
        assert!(person.is(&group("ops")) && !person.is(&group("Ops")) && !person.is(&group("7")));
        assert!(person.is(&group("11111111-aaaa-3333-4444-555555555555")));
        let claims = json!({"groups": "ops"});
        assert!(identity(claims, AddressClaim::Email).is(&group("ops")));
    }

    #[test]
    fn names_hold_nothing_that_breaks_a_line() {
        let claims = json!({"preferred_username": "boss@contoso.com\r\n\u{202e}x"});
        let name = identity(claims, AddressClaim::Email).name();
        assert!(!name.chars().any(char::is_control), "{name:?}");
        assert_eq!(name, "boss@contoso.comx (subject subject-1)");
    }
}
