//! Reads `admin.users`.

use url::{Host, Url};

use super::super::field::Field;
use super::super::keys::UsersKeys;
use super::super::users::{AddressClaim, Member, Users, is_entra};
use super::super::value::https;
use super::providers::egress;

/// Reads the section; `public_url` is the listener's, if it is valid.
pub(super) fn users(field: &Field, keys: UsersKeys, public_url: Option<&Url>) -> Option<Users> {
    check_public_url(field, public_url);
    let issuer = keys.issuer.required();
    let issuer = issuer.and_then(|text| Some((self::issuer(&field.at("issuer"), &text)?, text)));
    let egress = match keys.egress.optional() {
        Some(Some(keys)) => egress(&field.at("egress"), keys).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let are_absent = keys.viewers.is_absent() && keys.operators.is_absent();
    if are_absent {
        field.problem("lets no one in: write viewers or operators, each a list of groups' object ids or people's addresses");
    }
    let viewers = keys.viewers.or(Vec::new());
    let operators = keys.operators.or(Vec::new());
    if let (Some(viewers), Some(operators)) = (&viewers, &operators) {
        check_twice(field, viewers, operators);
    }
    let (url, text) = issuer?;
    Some(Users {
        issuer: text,
        client_id: keys.client_id.required()?,
        client_secret: keys.client_secret.required()?,
        address_claim: keys.address_claim.or(AddressClaim::usual(&url))?,
        viewers: viewers?,
        operators: operators?,
        authorities: keys.ca.optional()?.map(|ca| ca.0).unwrap_or_default(),
        egress: egress?,
    })
}

/// Checks that browsers return over TLS: the redirect to `public_url` contains the code.
fn check_public_url(field: &Field, public_url: Option<&Url>) {
    let Some(url) = public_url else {
        return;
    };
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !is_loopback {
        field.problem(format_args!(
            "signs people in at admin.public_url ({url}), which must begin with https:// off loopback"
        ));
    }
}

/// Checks an issuer identifier (OpenID Connect Core §2): no query, no fragment, one tenant.
fn issuer(field: &Field, text: &str) -> Option<Url> {
    let url = match https(text, "") {
        Ok(url) => url,
        Err(why) => return field.reject(why),
    };
    if url.query().is_some() || url.fragment().is_some() || text.contains('{') {
        return field.reject(
            "must be only the issuer, as in https://login.microsoftonline.com/TENANT-ID/v2.0",
        );
    }
    let tenant = url.path_segments().and_then(|mut parts| parts.next());
    if is_entra(&url) && matches!(tenant, Some("" | "common" | "organizations" | "consumers")) {
        return field.reject(
            "would take people of every tenant: name yours, as in https://login.microsoftonline.com/TENANT-ID/v2.0",
        );
    }
    Some(url)
}

/// Checks that each member is in only one list, and only once.
fn check_twice(field: &Field, viewers: &[Member], operators: &[Member]) {
    for (key, list) in [("viewers", viewers), ("operators", operators)] {
        for (index, member) in list.iter().enumerate() {
            let at = || item(field, key, index);
            if list.iter().take(index).any(|other| other == member) {
                at().problem("is in the list twice; keep one");
            } else if key == "viewers" && operators.contains(member) {
                at().problem(
                    "is in operators too, who may do all that viewers may; keep it in one list",
                );
            }
        }
    }
}

fn item(field: &Field, key: &str, index: usize) -> Field {
    let list = field.at(key);
    let items = list.list().unwrap_or_default();
    items.into_iter().nth(index).unwrap_or(list)
}
