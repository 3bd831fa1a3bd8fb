//! Fields of a record, in the order of its keys. Keys without a value are absent.

use serde::Serialize;

/// Event that a record describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A login attempt has ended.
    Login,
    /// A session has ended, with or without a login.
    Session,
    /// SMTP messages of a continuing session: more than one record should hold.
    Messages,
    /// Records were dropped at this point.
    Dropped,
    /// An administrator's action.
    Action,
    /// A signed head of the chain.
    Head,
}

impl Event {
    /// Name of the event in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Session => "session",
            Self::Messages => "messages",
            Self::Dropped => "dropped",
            Self::Action => "action",
            Self::Head => "head",
        }
    }
}

/// The envelope of an SMTP message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditMessage {
    /// Reverse path in MAIL; empty for a bounce.
    pub from: String,
    /// Recipients that the mail service accepted.
    pub to: Vec<String>,
    /// Size of the message in octets.
    pub size: u64,
    /// Final reply of the mail service; Exchange's contains its queue id. Absent if the session
    /// ended before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

impl AuditMessage {
    /// Approximate size in memory, in octets.
    pub fn octets(&self) -> usize {
        let to: usize = self.to.iter().map(|to| to.len() + 24).sum();
        let reply = self.reply.as_ref().map_or(0, String::len);
        128 + self.from.len() + to + reply
    }
}

/// Declares the record with its fields after `time` and `event`; those without a value are absent.
macro_rules! record {
    ($($(#[doc = $about:literal])+ $vis:vis $field:ident: $type:ty,)+) => {
        /// One record, without `v`, `prev` and `hash`.
        #[derive(Debug, Clone, Serialize)]
        pub struct AuditRecord {
            /// Time of the event: UTC, RFC 3339, milliseconds.
            pub time: String,
            /// Event that the record describes.
            pub event: Event,
            $(
                $(#[doc = $about])+
                #[serde(skip_serializing_if = "is_absent")]
                $vis $field: $type,
            )+
        }

        impl AuditRecord {
            /// Creates a record of the current time without other fields.
            pub fn new(event: Event) -> Self {
                Self {
                    time: now(),
                    event,
                    $($field: Default::default(),)+
                }
            }
        }
    };
}

record! {
    /// Id of the session: sixteen hexadecimal digits.
    pub session: Option<String>,
    /// Name of the listener that accepted the client.
    pub listener: Option<String>,
    /// Protocol of the listener: `imap`, `pop3` or `smtp`.
    pub protocol: Option<&'static str>,
    /// Client as `address:port`; behind a load balancer, the announced one.
    pub client: Option<String>,
    /// Encryption towards the client: `TLSv1.3 CIPHER`.
    pub client_tls: Option<String>,
    /// Login as the client presented it.
    pub login: Option<String>,
    /// Name of the password that matched.
    pub credential: Option<String>,
    /// Mailbox that the login opened.
    pub mailbox: Option<String>,
    /// Registration whose token was used.
    pub registration: Option<String>,
    /// Host and port as configured.
    pub upstream: Option<String>,
    /// Address of the upstream to which the session connected.
    pub upstream_ip: Option<String>,
    /// Encryption towards the upstream: `TLSv1.3 CIPHER`.
    pub upstream_tls: Option<String>,
    /// `accepted`, `relayed`, `refused`, `failed` or `cancelled`.
    pub outcome: Option<&'static str>,
    /// Fault that ended the attempt: `side: kind`.
    pub fault: Option<String>,
    /// Phase in which the session ended.
    pub phase: Option<&'static str>,
    /// Octets sent from the client to the upstream.
    pub bytes_up: Option<u64>,
    /// Octets sent from the upstream to the client.
    pub bytes_down: Option<u64>,
    /// Duration of the attempt, in milliseconds.
    pub login_ms: Option<u64>,
    /// Duration of the session, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Side that closed the session: `client`, `upstream` or `authrelay`.
    pub closed_by: Option<&'static str>,
    /// Messages sent over SMTP.
    pub messages: Vec<AuditMessage>,
    /// Administrator who acted: `token`, `viewer_token`, or the user who signed in.
    pub person: Option<String>,
    /// The action: `test`, `authorize`, `forget`, `reload`, `sign_in` or `sign_out`.
    pub action: Option<&'static str>,
    /// Number of dropped records.
    pub records: Option<u64>,
    /// Signature of a head: Ed25519 over `time`, LF and `prev`, in base64.
    pub signature: Option<String>,
    /// Name of the relay that wrote the record, if it is one of several.
    pub relay: Option<String>,
}

/// Whether a field has no value.
fn is_absent<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl AuditRecord {
    /// Creates the record of `count` dropped records.
    pub(super) fn dropped(count: u64) -> Self {
        Self {
            fault: Some("policy: audit".into()),
            records: Some(count),
            ..Self::new(Event::Dropped)
        }
    }

    /// Whether the record belongs to a successful login. With `on_full: refuse` such records may
    /// use the reserve.
    pub(super) fn admitted(&self) -> bool {
        self.event == Event::Messages || matches!(self.outcome, Some("accepted" | "relayed"))
    }

    /// Whether a client was refused or something failed.
    pub(super) fn warns(&self) -> bool {
        self.event == Event::Dropped || matches!(self.outcome, Some("refused" | "failed"))
    }

    /// Approximate size in memory, in octets.
    pub(super) fn octets(&self) -> usize {
        1024 + self
            .messages
            .iter()
            .map(AuditMessage::octets)
            .sum::<usize>()
    }
}

/// Formats the current time: UTC, RFC 3339, milliseconds.
fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    let (date, clock) = (now.date(), now.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.millisecond()
    )
}
