//! Sides, kinds and faults.

use super::quoting;
use super::text::sanitize;
use std::borrow::Cow;
use std::fmt;

/// Declares an enumeration whose variants have names, with the constant `ALL`.
macro_rules! named {
    (
        $(#[doc = $about:literal])*
        $vis:vis enum $type:ident {
            $($(#[doc = $doc:literal])* $variant:ident $(: $side:ident)? = $name:literal,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $type {
            $($(#[doc = $doc])* $variant,)*
        }

        impl $type {
            /// All values, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Name in logs, metrics and audit records; that of a kind is unique within its side.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        named! { @sides $type $($(($variant $side))?)* }
    };
    (@sides $type:ident) => {};
    (@sides $type:ident $(($variant:ident $side:ident))+) => {
        impl $type {
            /// Side that is to blame for the kind.
            pub fn side(self) -> Side {
                match self {
                    $(Self::$variant => Side::$side,)+
                }
            }
        }
    };
}

named! {
    /// Side that is to blame for a fault, in the order of a session.
    pub enum Side {
        /// The client: a legacy application or device.
        Client = "client",
        /// The operator's configuration.
        Policy = "policy",
        /// The provider's token endpoint, or another of its OAuth endpoints.
        IdentityProvider = "identity_provider",
        /// The mail service that holds the mailbox.
        Upstream = "upstream",
        /// authrelay itself, or its machine.
        Authrelay = "authrelay",
    }
}

named! {
    /// Kind of a failure; each has one row in the table of replies.
    pub enum Kind {
        /// client: wrong login or password, lockout, or access not allowed. All get the same reply.
        Credentials: Client = "credentials",
        /// client: the SASL exchange was cancelled or is not base64.
        Sasl: Client = "sasl",
        /// client: the login command cannot be parsed.
        Syntax: Client = "syntax",
        /// client: requests TLS where the listener has none, or leaves because TLS was not advertised.
        StartTls: Client = "starttls",
        /// client: sends a PROXY header to a listener without `proxy_protocol`.
        ProxyHeader: Client = "proxy_header",
        /// client: a command or SASL line exceeds the limit.
        TooLong: Client = "too_long",
        /// client: the SASL mechanism is unknown.
        Mechanism: Client = "mechanism",
        /// client: sends credentials before the TLS that the listener requires.
        TlsRequired: Client = "tls_required",
        /// client: sends an unknown command, or one that requires a login.
        Order: Client = "order",
        /// client: the TLS handshake failed, or bytes followed STARTTLS.
        Tls: Client = "tls",
        /// client: no login within `limits.login_timeout`.
        LoginTimeout: Client = "login_timeout",
        /// client: no byte in either direction within `limits.idle_timeout`.
        Idle: Client = "idle",
        /// client: sends no more of a message after a dot on a line that ends with LF only.
        LineEnds: Client = "line_ends",
        /// policy: `limits.sessions` or `limits.sessions_per_client` is reached.
        Sessions: Policy = "sessions",
        /// policy: `accounts[].smtp` refuses a sender, a recipient, a size or a rate.
        Message: Policy = "message",
        /// policy: audit records cannot be written, and `audit.on_full` is `refuse`.
        Audit: Policy = "audit",
        /// identity_provider: unreachable, slow, throttling, 5xx, or an invalid response.
        Unavailable: IdentityProvider = "unavailable",
        /// identity_provider: refuses the grant permanently.
        GrantRefused: IdentityProvider = "refused",
        /// upstream: DNS, TCP, TLS, certificate or greeting failed.
        Unreachable: Upstream = "unreachable",
        /// upstream: refuses the login for now.
        Busy: Upstream = "busy",
        /// upstream: the mailbox had its maximum of messages in flight during all of
        /// `smtp_limits.wait`.
        Full: Upstream = "full",
        /// upstream: the login succeeded, but the first replies show that the mailbox is not
        /// accessible.
        Mailbox: Upstream = "mailbox",
        /// upstream: MAIL, RCPT or a message was refused permanently, or the session cannot be
        /// followed.
        MessageRefused: Upstream = "message",
        /// upstream: refuses the login permanently.
        Refused: Upstream = "refused",
        /// upstream: the connection ended during the session.
        Lost: Upstream = "lost",
        /// authrelay: the session is drained by a shutdown or a reload.
        Draining: Authrelay = "draining",
        /// authrelay: an invariant of the program is broken.
        Internal: Authrelay = "internal",
    }
}

/// Formats a kind as `side: kind`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.side().name(), self.name())
    }
}

/// One failure. Formatted as `side: kind: detail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(super) kind: Kind,
    detail: String,
    remedy: Option<Cow<'static, str>>,
    /// SMTP reply of the upstream that replaces the table's text.
    pub(super) smtp: Option<String>,
    /// Whether another token might be accepted.
    token_suspect: bool,
    /// Whether the same failure was logged before.
    known: bool,
}

impl Fault {
    /// Creates a fault. `detail` may contain text of a peer.
    pub fn new(kind: Kind, detail: impl AsRef<str>) -> Self {
        Self {
            kind,
            detail: sanitize(detail.as_ref()),
            remedy: None,
            smtp: None,
            token_suspect: false,
            known: false,
        }
    }

    /// Sets the remedy for the operator.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Appends `more` to the detail.
    #[must_use]
    pub fn with_detail(mut self, more: &str) -> Self {
        self.detail = sanitize(&format!("{}; {more}", self.detail));
        self
    }

    /// Replaces `MAILBOX` in the remedy by the mailbox's address.
    #[must_use]
    pub fn for_mailbox(mut self, mailbox: &str) -> Self {
        if let Some(remedy) = self.remedy.take() {
            self.remedy = Some(match remedy.contains("MAILBOX") {
                true => quoting::fill(&remedy, &[("MAILBOX", mailbox)]).into(),
                false => remedy,
            });
        }
        self
    }

    /// Sets the upstream's SMTP reply to send instead of the table's text. `lines` are complete
    /// lines with their codes.
    #[must_use]
    pub fn smtp_reply(mut self, lines: &[String]) -> Self {
        let mut reply = String::new();
        for line in lines {
            // The code and separator stay, whatever is cut out of the text.
            let (code, text) = line.split_at_checked(4).unwrap_or((line, ""));
            reply.push_str(code);
            reply.push_str(&sanitize(text));
            reply.push_str("\r\n");
        }
        self.smtp = Some(reply);
        self
    }

    /// Marks a refusal that another token might resolve.
    #[must_use]
    pub fn with_token_retry(mut self) -> Self {
        self.token_suspect = true;
        self
    }

    /// Marks a failure that was logged before. A polling client repeats it endlessly.
    #[must_use]
    pub fn already_logged(mut self) -> Self {
        self.known = true;
        self
    }

    /// Whether the same failure was logged before.
    pub fn is_already_logged(&self) -> bool {
        self.known
    }

    /// Kind of the failure; decides the side and the reply.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Detail of the failure, for the log.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Remedy for the operator, if one is known.
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Whether another token might be accepted.
    pub fn allows_token_retry(&self) -> bool {
        self.token_suspect
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

impl std::error::Error for Fault {}
