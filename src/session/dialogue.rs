//! The dialogue with a client up to its login: its TLS, what it says before it presents credentials,
//! and why it left where it presented none.

use tokio::time::Instant;

use super::record::SessionRecord;
use super::{ActiveService, LoginEnd, LoginResult, Service, draining, overdue};
use crate::accept::{self, ServedListener, proxy_protocol};
use crate::auth::ClientInfo;
use crate::config::{Listener, ListenerTls};
use crate::fault::{Fault, Kind};
use crate::login::Step;
use crate::login::front::{self, Advertised, Front, Request};
use crate::stream::Stream;

impl Service {
    /// Speaks with the client until it is logged in or has to go.
    pub(super) async fn client_dialogue(
        &self,
        newest: &ActiveService,
        door: &ServedListener,
        client: &mut Stream,
        record: &mut SessionRecord,
        deadline: Instant,
    ) -> Result<(LoginResult, Box<dyn Front>), LoginEnd> {
        let listener = &*door.listener;
        let mut encrypted = matches!(listener.tls, ListenerTls::Implicit(_));
        if encrypted {
            self.encrypt(door, client, record).await?;
        }
        let mut front = self.front(listener, encrypted, true);
        // What the client said first.
        let mut head = Vec::new();
        let mut refused = None;
        loop {
            let step = front.next();
            if let Some(fault) = front.refused() {
                let suspected = front.suspected_login();
                let suspected = suspected.is_some_and(|login| self.find(&login).is_some());
                record.on_dialogue_fault(fault, suspected);
            }
            match step {
                Step::Read => {
                    let receive = client.receive(|bytes| {
                        let wanted = proxy_protocol::HEAD - head.len().min(proxy_protocol::HEAD);
                        head.extend(bytes.iter().take(wanted));
                        front.receive(bytes);
                    });
                    let received = tokio::select! {
                        received = receive => received,
                        _ = record.drain().requested() => return Err(LoginEnd::Fault(draining())),
                    };
                    if !matches!(received, Ok(true)) {
                        return Err(left(&*front, record));
                    }
                    if !encrypted && proxy_protocol::begins_with_header(&head) {
                        return Err(LoginEnd::Fault(proxy_protocol::unexpected()));
                    }
                    if !encrypted && let Some(fault) = accept::unexpected_tls(&head, listener) {
                        let reply = fault.reply(listener.protocol, None);
                        self.briefly(client.write(&reply.text)).await;
                        return Err(LoginEnd::Fault(fault));
                    }
                }
                Step::Write(bytes) => {
                    if client.write(&bytes).await.is_err() {
                        return Err(left(&*front, record));
                    }
                }
                Step::StartTls => {
                    self.encrypt(door, client, record).await?;
                    encrypted = true;
                    front = self.front(listener, encrypted, false);
                }
                Step::Done(request) => {
                    let attempt = match request {
                        Request::Quit => {
                            self.briefly(client.finish()).await;
                            return Err(LoginEnd::Left);
                        }
                        Request::Login(attempt) => Some(attempt),
                        Request::Unauthenticated => None,
                    };
                    let attempt = attempt.as_ref();
                    let names = client.peer_certificate();
                    let names =
                        names.map_or_else(Vec::new, |shown| accept::certificate_names(&shown));
                    let visitor = ClientInfo {
                        address: record.client().ip(),
                        listener,
                        names: &names,
                    };
                    // An attempt ends with its client: it costs nobody a token or a connection then.
                    let (gone, drain) = (client.reset(), record.drain().clone());
                    let result = tokio::select! {
                        biased;
                        _ = gone => return Err(LoginEnd::Left),
                        result = newest.authenticate(visitor, attempt, record, deadline) => result,
                        () = overdue(&drain) => return Err(LoginEnd::Fault(draining())),
                    };
                    match result {
                        Ok(logged_in) => return Ok((logged_in, front)),
                        Err(fault) => {
                            let method =
                                attempt.map_or("unauthenticated", |attempt| attempt.method);
                            record.on_login_refused(Some(method), &fault);
                            front.reject(&fault);
                            refused = Some(fault);
                        }
                    }
                }
                Step::Failed(fault) if refused.as_ref() == Some(&fault) => {
                    return Err(LoginEnd::Refused);
                }
                Step::Failed(fault) => return Err(LoginEnd::Fault(fault)),
            }
        }
    }

    async fn encrypt(
        &self,
        door: &ServedListener,
        client: &mut Stream,
        record: &mut SessionRecord,
    ) -> Result<(), LoginEnd> {
        let Some(config) = &door.tls else {
            return Err(LoginEnd::Fault(Fault::new(
                Kind::Internal,
                "a TLS listener without TLS",
            )));
        };
        match client
            .encrypt_as_server(config.current(), config.requires_client_certificates())
            .await
        {
            Ok(()) => {
                record.client_tls(client.encryption());
                Ok(())
            }
            // Health checks look like this.
            Err(failed) if failed.error.kind() == std::io::ErrorKind::UnexpectedEof => {
                match proxy_protocol::begins_with_header(&failed.first) {
                    true => Err(LoginEnd::Fault(proxy_protocol::unexpected())),
                    false => Err(LoginEnd::Left),
                }
            }
            Err(failed) => Err(match accept::client_fault(&failed.error, &failed.first) {
                Some(fault) => LoginEnd::Fault(fault),
                None => LoginEnd::Left,
            }),
        }
    }

    fn front(&self, listener: &Listener, encrypted: bool, greet: bool) -> Box<dyn Front> {
        let capabilities = self.capabilities(&listener.provider, listener.protocol);
        let starttls = matches!(listener.tls, ListenerTls::StartTls(_)) && !encrypted;
        front::new(
            listener.protocol,
            Advertised {
                capabilities,
                starttls,
                credentials: !starttls || !listener.require_tls,
                unauthenticated: listener.unauthenticated.is_some(),
                greet,
                encrypted,
            },
        )
    }
}

/// The client has closed the connection in the middle of the dialogue.
fn left(front: &dyn Front, record: &mut SessionRecord) -> LoginEnd {
    if record.is_probe()
        && let Some(fault) = front.on_close()
    {
        record.on_dialogue_fault(fault, false);
    }
    LoginEnd::Left
}
