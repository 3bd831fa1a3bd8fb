//! The file as a whole, `state`, `log`, `audit`, `admin`, `limits`, `notify`.

use std::path::PathBuf;
use std::time::Duration;

use super::super::key::{Key, Value, section, words};
use super::accounts::AccountKeys;
use super::listeners::ListenerKeys;
use super::providers::{EgressKeys, ProviderKeys};
use super::registrations::RegistrationKeys;
use crate::config::audit::{AuditPath, OnFull};
use crate::config::field::Field;
use crate::config::kind::Kind;
use crate::config::notify::{NotifyEvent, ReloadMode};
use crate::config::source::Generated;
use crate::config::users::{AddressClaim, Member};
use crate::config::value::certificates::Certificates;
use crate::config::value::{BaseUrl, Each, EachOfAny, HostPort, Named, Program, YEAR};
use crate::secret::Secret;
use crate::wire::address::Pattern;
use tracing::Level;

/// More sessions than a machine has ports for.
const MOST: usize = 1_000_000;

/// Less, and no login could end before the margin that is kept for its own fault.
const LEAST_LOGIN: Duration = Duration::from_secs(3);

section! {
    /// The file.
    pub(in crate::config) struct Root {
        /// Where the tokens of consents are kept
        pub(in crate::config) state: Key<StateKeys>: "`./state`",
        /// What the log looks like and where it goes
        pub(in crate::config) log: Key<Log>: "JSON on stderr",
        /// Where [audit records](docs/audit.md) go
        pub(in crate::config) audit: Key<AuditKeys>: "nowhere",
        /// The administrators' listener: the status page (`/`), health (`/livez`, `/readyz`), `/metrics`, the OAuth callback, the API
        pub(in crate::config) admin: Key<AdminKeys>: "no listener",
        /// `watch`: the file, its secrets' files and its certificates are looked at every 10 s, by content, and a change reloads. Else SIGHUP and `authrelay reload` do
        pub(in crate::config) reload: ReloadMode = "signal",
        /// Whom to tell of what needs a person; see [Alerts](docs/operations.md#alerts)
        pub(in crate::config) notify: Key<Each<NotifyKeys>>: "nobody",
        /// Sessions, deadlines and the lockout
        pub(in crate::config) limits: Limits = "{}",
        /// Addresses on which clients are served
        pub(in crate::config) listeners: Key<Each<ListenerKeys>> => "a list of addresses and protocols",
        /// Mail services: presets are there, each of their keys can be overridden, and a new name added
        pub(in crate::config) providers: Key<Named<ProviderKeys>>: "the presets",
        /// OAuth clients (Entra: app registrations), by name
        pub(in crate::config) registrations: Key<Named<RegistrationKeys>>: "none",
        /// Logins and the mailboxes that they open
        pub(in crate::config) accounts: Key<EachOfAny<AccountKeys>>: "none, and no client can log in",
    }
}

section! {
    /// `state`.
    pub(in crate::config) struct StateKeys {
        /// A directory, mode 0700; made if absent
        pub(in crate::config) directory: Key<PathBuf>: "`$STATE_DIRECTORY`, else `./state`",
        /// What seals the tokens, at least 16 octets; a file that is absent is made. `check` warns of one beside the tokens. In systemd: `{file: /run/credentials/authrelay.service/key}`
        pub(in crate::config) key: Key<Generated>: "`{file: DIRECTORY/key}`",
        /// What keeps them besides: `file` is nothing but the directory; else a Redis or Valkey server that several relays share. See [Several relays](docs/several-relays.md)
        pub(in crate::config) store: Store = "file",
    }
}

/// `state.store`.
#[derive(Debug, Clone)]
pub(in crate::config) enum Store {
    /// A file for each login, on this relay alone.
    File,
    /// Several relays as one.
    Shared(SharedStoreKeys),
}

impl Value for Store {
    fn read(field: &Field) -> Option<Self> {
        if field.is_word("file") {
            return Some(Self::File);
        }
        SharedStoreKeys::read(field).map(Self::Shared)
    }

    fn kind() -> Kind {
        Kind::words(&["file"]).or(SharedStoreKeys::kind())
    }
}

section! {
    /// `state.store` of several relays.
    pub(in crate::config) struct SharedStoreKeys {
        /// `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, with TLS `rediss://`; behind Sentinel `redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/MASTER[/DB]` or `rediss+sentinel://`: user and password are the servers'
        pub(in crate::config) url: Secret => "redis://HOST:PORT, rediss://HOST:PORT or a Sentinel's",
        /// With TLS: PEM files of authorities trusted besides the public roots
        pub(in crate::config) ca: Option<Certificates>,
        /// Without TLS off loopback: password, records and names cross the network in clear (records are sealed)
        pub(in crate::config) insecure: bool = "false",
    }
}

section! {
    /// `log`.
    #[derive(PartialEq, Eq)]
    pub struct Log {
        /// `text` for people, `json` for machines
        pub format: LogFormat = "json",
        /// The least severity that is written
        pub level: Level = "info",
        /// A file, mode 0600; SIGHUP opens it again
        pub file: Option<PathBuf>: "stderr",
        /// With `file`: the size at which it becomes `FILE.1`, and that `FILE.2`
        pub rotate: Option<u64>: "never",
        /// With `rotate`: files that are kept besides
        pub keep: Option<usize>[1..=1_000]: "7",
    }
}

section! {
    /// `audit`.
    pub(in crate::config) struct AuditKeys {
        /// A file of JSON lines, mode 0600; `-` is stdout
        pub(in crate::config) path: Option<AuditPath>: "no file",
        /// Records have SMTP senders, recipients, sizes and final replies
        pub(in crate::config) envelope: bool = "true",
        /// When records cannot be written: `continue` keeps 8 MiB, then drops and counts them; `refuse` refuses logins
        pub(in crate::config) on_full: OnFull = "continue",
        /// A syslog server (RFC 5424), besides `path`
        pub(in crate::config) syslog: Option<SyslogKeys>: "none",
        /// A collector to which batches of records are POSTed as NDJSON, besides `path`
        pub(in crate::config) http: Option<AuditHttpKeys>: "none",
        /// Signs a head of the chain each hour and at the end; `audit verify --public-key` checks them
        pub(in crate::config) sign: Option<AuditSignKeys>: "no signed heads",
    }
}

section! {
    /// `audit.http`.
    pub(in crate::config) struct AuditHttpKeys {
        /// Where batches are POSTed: https, or http to loopback
        pub(in crate::config) url: String => "the collector's URL",
        /// Headers of the request, as in `Authorization`
        pub(in crate::config) headers: Key<Named<Secret>>: "none",
        /// PEM files of authorities trusted besides the public roots
        pub(in crate::config) ca: Key<Certificates>: "none",
    }
}

section! {
    /// `audit.sign`.
    pub(in crate::config) struct AuditSignKeys {
        /// An Ed25519 private key in PEM (PKCS #8), as `openssl genpkey -algorithm ed25519` makes it
        pub(in crate::config) key: Secret => "an Ed25519 private key in PEM: openssl genpkey -algorithm ed25519",
    }
}

impl Value for AuditPath {
    fn read(field: &Field) -> Option<Self> {
        if field.is_word("-") {
            return Some(Self::Stdout);
        }
        PathBuf::read(field).map(Self::File)
    }

    fn kind() -> Kind {
        Kind::text("path, `-`")
    }
}

section! {
    /// `audit.syslog`.
    pub(in crate::config) struct SyslogKeys {
        /// The server, as in `127.0.0.1:6514`
        pub(in crate::config) address: HostPort => "the server's host and port, as in 127.0.0.1:6514",
        /// How it is spoken to
        pub(in crate::config) transport: Transport = "tls",
        /// With `tls`: PEM files of authorities trusted besides the public roots
        pub(in crate::config) ca: Option<Certificates>,
    }
}

words! {
    /// Transport to the syslog server, from `audit.syslog.transport`.
    pub(in crate::config) enum Transport {
        /// UDP (RFC 5426).
        Udp = "udp",
        /// TCP with octet counting (RFC 6587).
        Tcp = "tcp",
        /// TLS with octet counting (RFC 5425).
        Tls = "tls",
    }
}

section! {
    /// `admin`.
    pub(in crate::config) struct AdminKeys {
        /// Where it listens. Off loopback it needs `tls`
        pub(in crate::config) bind: Key<std::net::SocketAddr> => "an address and port, as in 127.0.0.1:8025",
        /// How browsers reach it, a path included where a web server in front has it below one; `/oauth/callback` below it is the redirect URI
        pub(in crate::config) public_url: Key<BaseUrl>: "`http://localhost:PORT`",
        /// HTTPS, by a certificate chain and its key in PEM
        pub(in crate::config) tls: Key<TlsFiles>: "none",
        /// What administrators present, at least 16 octets; a file that is absent is made
        pub(in crate::config) token: Key<Generated>: "`{file: STATE/admin-token}`",
        /// What opens whatever changes nothing: the pages, `GET /api/…`, `/metrics`; at least 16 octets
        pub(in crate::config) viewer_token: Key<Generated>: "none",
        /// People who [sign in](docs/operations.md#people) by OpenID Connect; `/oidc/callback` below `public_url` is the redirect URI
        pub(in crate::config) users: Key<UsersKeys>: "nobody",
        /// `/metrics` without a token, under any `Host`
        pub(in crate::config) metrics_public: bool = "true",
    }
}

section! {
    /// `admin.users`.
    pub(in crate::config) struct UsersKeys {
        /// The identity provider's issuer, to the letter: https, or http to loopback. Entra: `https://login.microsoftonline.com/TENANT-ID/v2.0`
        pub(in crate::config) issuer: Key<String> => "the identity provider's issuer, as in https://login.microsoftonline.com/TENANT-ID/v2.0",
        /// The relay's client id there
        pub(in crate::config) client_id: Key<String> => "the client id of the relay's own registration there",
        /// The relay's client secret there
        pub(in crate::config) client_secret: Key<Secret> => "the client secret of the relay's own registration there",
        /// Who may look: groups as the claim `groups` has them (Entra: object ids), or people's addresses
        pub(in crate::config) viewers: Key<Vec<Member>>: "nobody",
        /// Who may also test, authorize, forget and reload
        pub(in crate::config) operators: Key<Vec<Member>>: "nobody",
        /// The claim that is a person's address. `email` counts only with `email_verified`; the others are safe only where people cannot choose them
        pub(in crate::config) address_claim: Key<AddressClaim>: "`preferred_username` at Entra, else `email`",
        /// PEM files of authorities trusted besides the public roots
        pub(in crate::config) ca: Key<Certificates>: "none",
        /// The proxy that everything towards the identity provider goes through
        pub(in crate::config) egress: Key<EgressKeys>: "none",
    }
}

impl Value for Member {
    const NONE: &'static str = "names nobody; name groups or people, or remove the key";

    fn read(field: &Field) -> Option<Self> {
        let text = field.word()?.trim();
        if text.contains('*') {
            return field.reject("names no one in particular: write a group's id or one address");
        }
        if !text.contains('@') {
            return Some(Self::Group(text.to_owned()));
        }
        match Pattern::parse(text) {
            Ok(_) => Some(Self::Address(text.to_lowercase())),
            Err(why) => field.reject(why),
        }
    }

    fn kind() -> Kind {
        Kind::text("group or address")
    }
}

section! {
    /// A certificate and its key.
    pub(in crate::config) struct TlsFiles {
        /// Chain in PEM, leaf first
        pub(in crate::config) certificate: PathBuf => "the path of a certificate chain in PEM",
        /// Private key in PEM
        pub(in crate::config) key: PathBuf => "the path of the certificate's private key in PEM",
    }
}

section! {
    /// `limits`.
    #[derive(PartialEq, Eq)]
    pub struct Limits {
        /// Sessions on all listeners together; one beyond is accepted only to be told so
        pub sessions: usize[1..=MOST] = "10000",
        /// Sessions of one client address; IPv6 counts by /64
        pub sessions_per_client: usize[1..=MOST] = "1000",
        /// From accept to the end of login, whole
        pub login_timeout: Duration[LEAST_LOGIN..=YEAR] = "60s",
        /// No byte either way after login; at least 30m beside an IMAP listener
        pub idle_timeout: Duration = "35m",
        /// Each of connection, TLS, greeting, login; and a token request
        pub upstream_timeout: Duration = "20s",
        /// From SIGTERM to the hard stop
        pub drain_timeout: Duration = "30s",
        /// For each pair of client address (IPv6 by /64) and login; from the third failure on slowed
        pub lockout: Lockout = "{}",
    }
}

section! {
    /// `limits.lockout`: what happens to clients that guess.
    #[derive(PartialEq, Eq)]
    pub struct Lockout {
        /// Failures within `window` that lock
        pub failures: u32[1..=1_000_000] = "10",
        /// How long a failure counts
        pub window: Duration = "10m",
        /// How long a lock holds
        pub duration: Duration = "5m",
    }
}

section! {
    /// `notify[]`.
    pub(in crate::config) struct NotifyKeys {
        /// What to tell of
        pub(in crate::config) events: Vec<NotifyEvent> => "some of consent, credential, upstream, audit, store and reload",
        /// A program that gets one JSON object on stdin
        pub(in crate::config) command: Key<Program>: "or `url`",
        /// Where the same JSON is POSTed: https, or http to loopback
        pub(in crate::config) url: Key<String>: "or `command`",
        /// With `url`: headers of the request
        pub(in crate::config) headers: Key<Named<Secret>>: "none",
        /// With `url`: PEM files of authorities trusted besides the public roots
        pub(in crate::config) ca: Key<Certificates>: "none",
        /// How long each try may take
        pub(in crate::config) timeout: Duration[Duration::from_millis(100)..=Duration::from_secs(60)] = "10s",
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: tracing::Level::INFO,
            file: None,
            rotate: None,
            keep: None,
        }
    }
}

words! {
    /// Format of log records, from `log.format`.
    pub enum LogFormat {
        /// One line per record, with `key=value` pairs.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}
