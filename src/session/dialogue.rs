//! Login dialogue with a client: TLS, commands before the credentials, and why a client left
//! without any.

use super::login::{Login, LoginEnd, LoginResult, briefly, overdue};
use crate::accept::{self, proxy_protocol};
use crate::config::ListenerTls;
use crate::fault::{Fault, Kind};
use crate::login::Step;
use crate::login::front::{self, Advertised, Front, Request};
use crate::relay::draining;

impl Login<'_> {
    /// Drives the dialogue until the client is logged in or the connection must end.
    pub(super) async fn dialogue(&mut self) -> Result<(LoginResult, Box<dyn Front>), LoginEnd> {
        let mut encrypted = matches!(self.served.listener.tls, ListenerTls::Implicit(_));
        if encrypted {
            Box::pin(self.encrypt()).await?;
        }
        let mut front = self.front(encrypted, true);
        // First octets from the client.
        let mut head = Vec::new();
        let mut refused = None;
        loop {
            let step = front.next();
            if let Some(refused) = front.take_refused() {
                let suspected = refused.suspected;
                let suspected = suspected.is_some_and(|login| self.service.find(&login).is_some());
                self.record.on_dialogue_fault(refused.fault, suspected);
            }
            match step {
                Step::Read => {
                    self.read(&mut *front, &mut head).await?;
                    if !encrypted && proxy_protocol::begins_with_header(&head) {
                        return Err(LoginEnd::Fault(proxy_protocol::unexpected()));
                    }
                    if !encrypted
                        && let Some(fault) = accept::unexpected_tls(&head, &self.served.listener)
                    {
                        let reply = fault.reply(self.record.protocol(), None);
                        briefly(&self.service, self.client.write(&reply.text)).await;
                        return Err(LoginEnd::Fault(fault));
                    }
                }
                Step::Write(bytes) => {
                    if self.client.write(&bytes).await.is_err() {
                        return Err(self.on_close(&*front));
                    }
                }
                Step::StartTls => {
                    Box::pin(self.encrypt()).await?;
                    encrypted = true;
                    front = self.front(encrypted, false);
                }
                Step::Done(request) => match self.answer(request).await? {
                    Ok(result) => return Ok((result, front)),
                    Err(fault) => {
                        front.reject(&fault);
                        refused = Some(fault);
                    }
                },
                Step::Failed(fault) if refused.as_ref() == Some(&fault) => {
                    return Err(LoginEnd::Refused);
                }
                Step::Failed(fault) => return Err(LoginEnd::Fault(fault)),
            }
        }
    }

    /// Receives once; `head` collects the first octets of the connection.
    async fn read(&mut self, front: &mut dyn Front, head: &mut Vec<u8>) -> Result<(), LoginEnd> {
        let receive = self.client.receive(|bytes| {
            let wanted = proxy_protocol::HEAD - head.len().min(proxy_protocol::HEAD);
            head.extend(bytes.iter().take(wanted));
            front.receive(bytes);
        });
        let received = tokio::select! {
            received = receive => received,
            _ = self.record.session.drain.requested() => return Err(LoginEnd::Fault(draining())),
        };
        match received {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(self.on_close(front)),
        }
    }

    /// Handles a request of the client. The inner error is the fault of a refused attempt.
    async fn answer(&mut self, request: Request) -> Result<Result<LoginResult, Fault>, LoginEnd> {
        let attempt = match request {
            Request::Quit => {
                briefly(&self.service, self.client.finish()).await;
                return Err(LoginEnd::ClientLeft);
            }
            Request::Login(attempt) => Some(attempt),
            Request::Unauthenticated => None,
        };
        let attempt = attempt.as_ref();
        // An attempt ends when its client leaves, and then costs neither a token nor a connection.
        let (gone, drain) = (self.client.reset(), self.record.session.drain.clone());
        let result = tokio::select! {
            biased;
            _ = gone => return Err(LoginEnd::ClientLeft),
            result = Box::pin(self.authenticate(attempt)) => result,
            () = overdue(&drain) => return Err(LoginEnd::Fault(draining())),
        };
        if let Err(fault) = &result {
            let method = attempt.map_or("unauthenticated", |attempt| attempt.method);
            self.record.on_login_refused(Some(method), fault);
        }
        Ok(result)
    }

    async fn encrypt(&mut self) -> Result<(), LoginEnd> {
        let Some(tls) = &self.served.tls else {
            return Err(LoginEnd::Fault(Fault::new(
                Kind::Internal,
                "a TLS listener without TLS",
            )));
        };
        let encrypted = self
            .client
            .encrypt_as_server(tls.current(), tls.requires_client_certificates());
        let Err(failed) = encrypted.await else {
            self.record.client_tls = self.client.encryption();
            return Ok(());
        };
        // A client that sends nothing and leaves is a health check.
        let fault = match failed.error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                proxy_protocol::begins_with_header(&failed.first).then(proxy_protocol::unexpected)
            }
            _ => accept::client_fault(&failed.error, &failed.first),
        };
        Err(fault.map_or(LoginEnd::ClientLeft, LoginEnd::Fault))
    }

    fn front(&self, encrypted: bool, greet: bool) -> Box<dyn Front> {
        let listener = &self.served.listener;
        let state = &self.service.state;
        let starttls = matches!(listener.tls, ListenerTls::StartTls(_)) && !encrypted;
        front::new(
            listener.protocol,
            Advertised {
                capabilities: state.capabilities(&listener.provider, listener.protocol),
                starttls,
                credentials: !starttls || !listener.require_tls,
                unauthenticated: listener.unauthenticated.is_some(),
                greet,
                encrypted,
            },
        )
    }

    /// Handles a connection that the client closed during the dialogue.
    fn on_close(&mut self, front: &dyn Front) -> LoginEnd {
        if self.record.is_probe()
            && let Some(fault) = front.on_close()
        {
            self.record.on_dialogue_fault(fault, false);
        }
        LoginEnd::ClientLeft
    }
}
