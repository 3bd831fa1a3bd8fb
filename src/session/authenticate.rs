//! Authenticates a client, or admits one without credentials, and connects to its upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::login::{Login, LoginResult};
use super::record::SessionRecord;
use super::service::Service;
use super::upstream::{ConnectContext, delayed};
use crate::accept::certificate_names;
use crate::auth::password::VerifiedLogin;
use crate::auth::{ClientInfo, LoginRefused};
use crate::config::Listener;
use crate::fault::{Fault, Kind};
use crate::login::front::Attempt;
use crate::wire::Protocol;

/// Margin before a login's deadline at which all its waits end, so that the client gets their fault
/// instead of the deadline's.
const LOGIN_MARGIN: Duration = Duration::from_secs(2);

impl Login<'_> {
    /// Checks the credentials under the active configuration, gets a token and logs in to the
    /// upstream.
    pub(super) async fn authenticate(
        &mut self,
        attempt: Option<&Attempt>,
    ) -> Result<LoginResult, Fault> {
        let started = Instant::now();
        let deadline = self.deadline.checked_sub(LOGIN_MARGIN);
        let deadline = deadline.filter(|end| *end > started);
        let deadline = deadline.unwrap_or(self.deadline);
        let certificate = self.client.peer_certificate();
        let names = certificate.map_or_else(Vec::new, |presented| certificate_names(&presented));
        let client = ClientInfo {
            address: self.record.session.client.ip(),
            listener: &self.served.listener,
            names: &names,
        };
        let record = &mut self.record;
        let (service, verified) = loop {
            let service = self.active.active();
            let checked = match attempt {
                Some(attempt) => service.check(client, attempt, record).await,
                None => service.check_unauthenticated(client, record),
            };
            match checked {
                Ok(verified) => {
                    record.on_verified(&verified, client.names);
                    // Checked again if a reload replaced the service meanwhile: it has already
                    // drained other sessions.
                    if Arc::ptr_eq(&service, &self.active.active()) {
                        break (service, verified);
                    }
                }
                Err(refused) => return Err(delayed(refused, started, deadline).await),
            }
        };
        let session = record.session.id.clone();
        let context = ConnectContext {
            session: &session,
            protocol: client.listener.protocol,
            client: Some(client),
            started,
            deadline,
        };
        let by_sender = verified.account().mailbox.smtp_is_sender;
        let upstream = match context.protocol == Protocol::Smtp && by_sender {
            // Each MAIL opens its own.
            true => None,
            false => {
                let upstream = service.connect(context, &verified).await?;
                record.on_upstream(&upstream);
                Some(upstream)
            }
        };
        record.on_login(started);
        Ok(LoginResult { verified, upstream })
    }
}

impl Service {
    /// Finds the account that `listener` gives to clients without a login, as configured now.
    pub(super) fn unauthenticated_login(
        &self,
        listener: &Listener,
        client: SocketAddr,
    ) -> Option<VerifiedLogin> {
        let mut listeners = self.listeners.iter();
        let today = listeners
            .find(|other| other.name == listener.name && other.protocol == listener.protocol)?;
        VerifiedLogin::by_listener(today, client.ip())
    }

    /// Checks the credentials presented by the client.
    async fn check(
        &self,
        client: ClientInfo<'_>,
        attempt: &Attempt,
        record: &mut SessionRecord,
    ) -> Result<VerifiedLogin, LoginRefused> {
        let credentials = &attempt.credentials;
        let known = self.find(&credentials.login).is_some();
        record.on_attempt(&credentials.login, known);
        self.may_log_in().map_err(LoginRefused::at_once)?;
        self.authenticator.check(client, credentials).await
    }

    /// Admits a client without credentials if the listener allows it.
    fn check_unauthenticated(
        &self,
        client: ClientInfo<'_>,
        record: &mut SessionRecord,
    ) -> Result<VerifiedLogin, LoginRefused> {
        let Some(verified) = self.unauthenticated_login(client.listener, record.session.client)
        else {
            let fault = Fault::new(Kind::Order, "command before login");
            return Err(LoginRefused::at_once(fault));
        };
        record.on_attempt(verified.login(), true);
        self.may_log_in().map_err(LoginRefused::at_once)?;
        Ok(verified)
    }

    /// Refuses logins while audit records cannot be written, if the configuration requires it.
    fn may_log_in(&self) -> Result<(), Fault> {
        match &self.audit {
            Some(audit) if audit.blocks_logins() => Err(Fault::new(Kind::Audit, "audit records cannot be written")
                .with_remedy("free space where audit.path is, or repair the connection to syslog; no one can log in until then, as audit.on_full says")),
            _ => Ok(()),
        }
    }
}
