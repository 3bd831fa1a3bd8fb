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
        /// Storage of tokens that consents bring
        pub(in crate::config) state: Key<StateKeys>: "`./state`",
        /// Format and destination of the log
        pub(in crate::config) log: Key<Log>: "JSON on stderr",
        /// Destination of [audit records](docs/audit.md)
        pub(in crate::config) audit: Key<AuditKeys>: "no audit records",
        /// Administrators' listener: status page (`/`), health (`/livez`, `/readyz`), `/metrics`, OAuth callback, API
        pub(in crate::config) admin: Key<AdminKeys>: "no listener",
        /// `watch`: compares the contents of the file, of its secrets' files and certificates every 10 s, and reloads after a change. `signal`: reloads only on SIGHUP and `authrelay reload`
        pub(in crate::config) reload: ReloadMode = "signal",
        /// Programs and URLs that get an alert when something requires a person; see [Alerts](docs/operations.md#alerts)
        pub(in crate::config) notify: Key<Each<NotifyKeys>>: "no alerts",
        /// Numbers of sessions, deadlines and the lockout
        pub(in crate::config) limits: Limits = "{}",
        /// Addresses on which clients connect
        pub(in crate::config) listeners: Key<Each<ListenerKeys>> => "a list of addresses and protocols",
        /// Mail services, by name. A preset's name overrides keys of the preset; a new name adds a provider
        pub(in crate::config) providers: Key<Named<ProviderKeys>>: "the presets",
        /// OAuth clients (in Entra: app registrations), by name
        pub(in crate::config) registrations: Key<Named<RegistrationKeys>> : "none",
        /// Logins that clients may use, and the mailboxes that they open
        pub(in crate::config) accounts: Key<EachOfAny<AccountKeys>>: "none, and no client can log in",
    }
}

section! {
    /// `state`.
    pub(in crate::config) struct StateKeys {
        /// Folder, mode 0700; created if absent
        pub(in crate::config) directory: Key<PathBuf>: "`$STATE_DIRECTORY`, else `./state`",
        /// Secret that encrypts the tokens, at least 16 octets; an absent file is created. `check` warns if it is in the folder of the tokens. With systemd: `{file: /run/credentials/authrelay.service/key}`
        pub(in crate::config) key: Key<Generated>: "`{file: DIRECTORY/key}`",
        /// `file`: the folder only. Otherwise a Redis or Valkey server that several relays share, in addition to the folder. See [Several relays](docs/several-relays.md)
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
        /// With TLS: PEM files of authorities that are trusted in addition to the public roots
        pub(in crate::config) ca: Option<Certificates>,
        /// Allows a server that is not on loopback without TLS. Password, names and the (encrypted) records cross the network in clear
        pub(in crate::config) insecure: bool = "false",
    }
}

section! {
    /// `log`.
    #[derive(PartialEq, Eq)]
    pub struct Log {
        /// `text`: one readable line a record; `json`: one JSON object a line
        pub format: LogFormat = "json",
        /// Least severity that is logged
        pub level: Level = "info",
        /// Log file, mode 0600; SIGHUP reopens it
        pub file: Option<PathBuf>: "stderr",
        /// With `file`: size at which the file is renamed to `FILE.1`, the one before to `FILE.2`, and so on
        pub rotate: Option<u64>: "never",
        /// With `rotate`: number of renamed files that are kept
        pub keep: Option<usize>[1..=1_000]: "7",
    }
}

section! {
    /// `audit`.
    pub(in crate::config) struct AuditKeys {
        /// File of JSON lines, mode 0600; `-` is stdout
        pub(in crate::config) path: Option<AuditPath>: "no file",
        /// Whether records include SMTP senders, recipients, sizes and final replies
        pub(in crate::config) envelope: bool = "true",
        /// If records cannot be written: `continue` keeps 8 MiB of them, then drops and counts further ones; `refuse` refuses logins
        pub(in crate::config) on_full: OnFull = "continue",
        /// Syslog server (RFC 5424) that gets the records in addition to `path`
        pub(in crate::config) syslog: Option<SyslogKeys>: "none",
        /// Collector that gets the records by POST, in batches of NDJSON, in addition to `path`
        pub(in crate::config) http: Option<AuditHttpKeys>: "none",
        /// Signs the head of the hash chain each hour and at the end; `audit verify --public-key` checks the signatures
        pub(in crate::config) sign: Option<AuditSignKeys>: "no signed heads",
    }
}

section! {
    /// `audit.http`.
    pub(in crate::config) struct AuditHttpKeys {
        /// URL of the collector: https, or http to loopback
        pub(in crate::config) url: String => "the collector's URL",
        /// Headers of the request, for example `Authorization`
        pub(in crate::config) headers: Key<Named<Secret>>: "none",
        /// PEM files of authorities that are trusted in addition to the public roots
        pub(in crate::config) ca: Key<Certificates>: "none",
    }
}

section! {
    /// `audit.sign`.
    pub(in crate::config) struct AuditSignKeys {
        /// Ed25519 private key in PEM (PKCS #8), as `openssl genpkey -algorithm ed25519` prints it
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
        /// Host and port of the server, as in `127.0.0.1:6514`
        pub(in crate::config) address: HostPort => "the server's host and port, as in 127.0.0.1:6514",
        /// Transport to the server
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
        /// Address and port. An address that is not loopback requires `tls`
        pub(in crate::config) bind: Key<std::net::SocketAddr> => "an address and port, as in 127.0.0.1:8025",
        /// URL by which browsers reach the listener, including the path if a web server in front adds one. The redirect URI is `/oauth/callback` below it
        pub(in crate::config) public_url: Key<BaseUrl>: "`http://localhost:PORT`",
        /// HTTPS, with a certificate chain and its key in PEM
        pub(in crate::config) tls: Key<TlsFiles>: "none",
        /// Token of administrators, at least 16 octets; an absent file is created
        pub(in crate::config) token: Key<Generated>: "`{file: STATE/admin-token}`",
        /// Token that allows requests that change nothing: the pages, `GET /api/…`, `/metrics`; at least 16 octets
        pub(in crate::config) viewer_token: Key<Generated>: "none",
        /// People who [sign in](docs/operations.md#people) by OpenID Connect. The redirect URI is `/oidc/callback` below `public_url`
        pub(in crate::config) users: Key<UsersKeys>: "none",
        /// Whether `/metrics` is open without a token, under any `Host`
        pub(in crate::config) metrics_public: bool = "true",
    }
}

section! {
    /// `admin.users`.
    pub(in crate::config) struct UsersKeys {
        /// Issuer of the identity provider, exactly as it names itself: https, or http to loopback. Entra: `https://login.microsoftonline.com/TENANT-ID/v2.0`
        pub(in crate::config) issuer: Key<String> => "the identity provider's issuer, as in https://login.microsoftonline.com/TENANT-ID/v2.0",
        /// Client id of the relay's registration at the identity provider
        pub(in crate::config) client_id: Key<String> => "the client id of the relay's own registration there",
        /// Client secret of the relay's registration
        pub(in crate::config) client_secret: Key<Secret> => "the client secret of the relay's own registration there",
        /// Groups (as in the claim `groups`; Entra: object ids) and addresses of people who may look
        pub(in crate::config) viewers: Key<Vec<Member>>: "none",
        /// Groups and addresses of people who may also test, authorize, forget and reload
        pub(in crate::config) operators: Key<Vec<Member>>: "none",
        /// Claim with a person's address. `email` counts only with `email_verified`; use another claim only if people cannot choose its value
        pub(in crate::config) address_claim: Key<AddressClaim>: "`preferred_username` at Entra, else `email`",
        /// PEM files of authorities that are trusted in addition to the public roots
        pub(in crate::config) ca: Key<Certificates>: "none",
        /// The proxy that everything towards the identity provider goes through
        pub(in crate::config) egress: Key<EgressKeys>: "none",
    }
}

impl Value for Member {
    const NONE: &'static str = "is empty; name groups or people, or remove the key";

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
        /// Most sessions of all listeners together. A further client gets a refusal
        pub sessions: usize[1..=MOST] = "10000",
        /// Most sessions of one client address; IPv6 addresses count by /64
        pub sessions_per_client: usize[1..=MOST] = "1000",
        /// Longest time from the connection to the end of the login
        pub login_timeout: Duration[LEAST_LOGIN..=YEAR] = "60s",
        /// Longest time without an octet in either direction after the login; at least 30m if there is an IMAP listener
        pub idle_timeout: Duration = "35m",
        /// Longest time for each of connection, TLS, greeting and login upstream, and for a token request
        pub upstream_timeout: Duration = "20s",
        /// Time that open sessions have to end after SIGTERM, or after a reload that removed their account
        pub drain_timeout: Duration = "30s",
        /// Lockout of a client address (IPv6 by /64) for one login; answers are delayed from the third failure on
        pub lockout: Lockout = "{}",
    }
}

section! {
    /// `limits.lockout`: what happens to clients that guess.
    #[derive(PartialEq, Eq)]
    pub struct Lockout {
        /// Failures within `window` after which the login is locked
        pub failures: u32[1..=1_000_000] = "10",
        /// Time during which a failure counts
        pub window: Duration = "10m",
        /// Duration of a lock
        pub duration: Duration = "5m",
    }
}

section! {
    /// `notify[]`.
    pub(in crate::config) struct NotifyKeys {
        /// Events that are sent
        pub(in crate::config) events: Vec<NotifyEvent> => "some of consent, credential, upstream, audit, store and reload",
        /// Program that gets one JSON object on stdin
        pub(in crate::config) command: Key<Program>: "or `url`",
        /// URL to which the same JSON is POSTed: https, or http to loopback
        pub(in crate::config) url: Key<String>: "or `command`",
        /// With `url`: headers of the request
        pub(in crate::config) headers: Key<Named<Secret>>: "none",
        /// With `url`: PEM files of authorities trusted besides the public roots
        pub(in crate::config) ca: Key<Certificates>: "none",
        /// Longest time for one attempt
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
