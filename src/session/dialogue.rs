//! The dialogue with a client up to its login: its TLS, what it says before it presents credentials,
//! and why it left where it presented none.

use tokio::time::Instant;

use super::record::Record;
use super::{Current, Door, Exit, LoginResult, Service, draining, overdue};
use crate::accounts::Visitor;
use crate::config::{Listener, ListenerTls};
use crate::fault::{Fault, Kind};
use crate::login::Step;
use crate::login::front::{self, Front, Offer, Request};
use crate::net::{identity, proxy_protocol, tls};
use crate::stream::Stream;

impl Service {
    /// Speaks with the client until it is logged in or has to go.
    pub(super) async fn dialogue(
        &self,
        newest: &Current,
        door: &Door,
        client: &mut Stream,
        record: &mut Record,
        deadline: Instant,
    ) -> Result<(LoginResult, Box<dyn Front>), Exit> {
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
                        _ = record.drain().requested() => return Err(Exit::Fault(draining())),
                    };
                    if !matches!(received, Ok(true)) {
                        return Err(left(&*front, record));
                    }
                    if !encrypted && proxy_protocol::begins_with_header(&head) {
                        return Err(Exit::Fault(proxy_protocol::unexpected()));
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
                            return Err(Exit::Left);
                        }
                        Request::Login(attempt) => Some(attempt),
                        Request::Unauthenticated => None,
                    };
                    let attempt = attempt.as_ref();
                    let names = client.peer_certificate();
                    let names = names.map_or_else(Vec::new, |shown| identity::names(&shown));
                    let visitor = Visitor {
                        address: record.client().ip(),
                        listener,
                        names: &names,
                    };
                    // An attempt ends with its client: it costs nobody a token or a connection then.
                    let (gone, drain) = (client.reset(), record.drain().clone());
                    let result = tokio::select! {
                        biased;
                        _ = gone => return Err(Exit::Left),
                        result = newest.attempt(visitor, attempt, record, deadline) => result,
                        () = overdue(&drain) => return Err(Exit::Fault(draining())),
                    };
                    match result {
                        Ok(logged_in) => return Ok((logged_in, front)),
                        Err(fault) => {
                            let method =
                                attempt.map_or("unauthenticated", |attempt| attempt.method);
                            record.refused(Some(method), &fault);
                            front.reject(&fault);
                            refused = Some(fault);
                        }
                    }
                }
                Step::Failed(fault) if refused.as_ref() == Some(&fault) => {
                    return Err(Exit::Refused);
                }
                Step::Failed(fault) => return Err(Exit::Fault(fault)),
            }
        }
    }

    async fn encrypt(
        &self,
        door: &Door,
        client: &mut Stream,
        record: &mut Record,
    ) -> Result<(), Exit> {
        let Some(config) = &door.tls else {
            return Err(Exit::Fault(Fault::new(
                Kind::Internal,
                "a TLS listener without TLS",
            )));
        };
        match client
            .encrypt_as_server(config.current(), config.wants_certificates())
            .await
        {
            Ok(()) => {
                record.client_tls(client.encryption());
                Ok(())
            }
            // Health checks look like this.
            Err(failed) if failed.error.kind() == std::io::ErrorKind::UnexpectedEof => {
                match proxy_protocol::begins_with_header(&failed.first) {
                    true => Err(Exit::Fault(proxy_protocol::unexpected())),
                    false => Err(Exit::Left),
                }
            }
            Err(failed) => Err(match tls::client_fault(&failed.error, &failed.first) {
                Some(fault) => Exit::Fault(fault),
                None => Exit::Left,
            }),
        }
    }

    fn front(&self, listener: &Listener, encrypted: bool, greet: bool) -> Box<dyn Front> {
        let capabilities = self.capabilities(&listener.provider, listener.protocol);
        let starttls = matches!(listener.tls, ListenerTls::StartTls(_)) && !encrypted;
        front::new(
            listener.protocol,
            Offer {
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
fn left(front: &dyn Front, record: &mut Record) -> Exit {
    if record.is_probe()
        && let Some(fault) = front.on_close()
    {
        record.on_dialogue_fault(fault, false);
    }
    Exit::Left
}
