//! Registrations to which a row of the tables applies.

use crate::config::{ClientCredential, Grant, Registration};

/// Registrations to which a row applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::token) enum For {
    Anyone,
    /// App-only tokens: no user signs in.
    Application,
    /// The identity provider checks the client's password.
    Password,
    /// The client's password is the client secret.
    Secret,
    /// A certificate signs the request.
    Certificate,
    /// Another issuer's token authenticates the client.
    Federated,
    ServiceAccount,
    ManagedIdentity,
    /// A user's consent at Google.
    GoogleConsent,
}

impl For {
    pub(in crate::token) fn is(self, registration: &Registration) -> bool {
        let grant = &registration.grant;
        match self {
            Self::Anyone => true,
            Self::Application => grant.is_app_only(),
            Self::Password => matches!(grant, Grant::Password(_)),
            Self::Secret => {
                matches!(grant.credential(), Some(ClientCredential::ClientPassword))
            }
            Self::Certificate => {
                matches!(grant.credential(), Some(ClientCredential::Certificate(_)))
            }
            Self::Federated => matches!(grant.credential(), Some(ClientCredential::Federated(_))),
            Self::ServiceAccount => matches!(grant, Grant::ServiceAccount(_)),
            Self::ManagedIdentity => matches!(grant, Grant::ManagedIdentity { .. }),
            Self::GoogleConsent => {
                grant.needs_consent()
                    && registration
                        .token_url
                        .host_str()
                        .is_some_and(|host| host.ends_with("googleapis.com"))
            }
        }
    }
}
