//! Metrics for Prometheus.
//!
//! Every family exists from the start, with counters at 0 for all known labels. No label contains a
//! user or a client address.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::cluster::command::Command;
use crate::config::{self, Config};
use crate::fault::Kind;
use crate::wire::Protocol;

mod text;

/// Names and values of a series' labels.
type Labels = Vec<(&'static str, String)>;

/// Histogram buckets in seconds: a login with a cached token takes milliseconds, a timeout one
/// minute.
const BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0, 60.0,
];

/// The only family that may have no series.
const EXPIRY: &str = "credential_expiry_timestamp_seconds";
const EXPIRY_HELP: &str =
    "When a client secret or certificate ends, as far as the configuration says";

/// Values of the label `outcome` of sessions.
pub const OUTCOMES: [&str; 5] = ["relayed", "refused", "failed", "cancelled", "probe"];

/// Values of the label `outcome` of messages.
pub const MESSAGES: [&str; 3] = ["accepted", "rejected", "lost"];

/// Values of the label `outcome` of message permits.
pub const WAITS: [&str; 3] = ["immediate", "waited", "timeout"];

/// Values of the label `outcome` of alerts.
pub const NOTIFICATIONS: [&str; 3] = ["ok", "failed", "dropped"];

/// Values of the label `outcome` of operations of the shared store.
pub const STORE: [&str; 3] = ["ok", "error", "timeout"];

/// Commit of the build, if known.
const REVISION: &str = match option_env!("AUTHRELAY_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Values of the label `outcome` of token requests.
pub const REQUESTS: [&str; 4] = ["ok", "throttled", "unavailable", "refused"];

/// Declares a group of metrics, and their registration: `field: type => name, help` in the order of the
/// text. A type without a default is followed by how a metric is made.
macro_rules! metrics {
    ($(#[doc = $about:literal])+ struct $group:ident {
        $($field:ident: $type:ty $(as $made:expr)? => $name:expr, $help:expr;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        struct $group {
            $($field: $type,)+
        }

        impl $group {
            fn registered(registry: &mut Registry) -> Self {
                Self {
                    $($field: registered(registry, $name, $help, metrics!(@made $($made)?)),)+
                }
            }
        }
    };
    (@made) => { Default::default() };
    (@made $made:expr) => { $made };
}

metrics! {
    /// Counters and gauges that every process has.
    struct Families {
        sessions: Family<Labels, Counter> => "sessions", "Sessions that ended";
        active: Family<Labels, Gauge> => "sessions_active", "Sessions open now";
        logins: Family<Labels, Histogram> as Family::new_with_constructor(histogram) =>
            "login_duration_seconds", "From credentials to the mail service's success";
        bytes: Family<Labels, Counter> =>
            "relayed_bytes", "Octets relayed after login, counted as sessions end";
        messages: Family<Labels, Counter> =>
            "messages", "Messages submitted over SMTP, by the mail service's final reply";
        waits: Family<Labels, Counter> =>
            "smtp_waits", "Messages by how their permit to be sent came: at once, after a wait, not in time";
        faults: Family<Labels, Counter> => "faults", "Faults, by the side to blame";
        requests: Family<Labels, Counter> => "token_requests", "Requests for a token";
        request_duration: Histogram as histogram() =>
            "token_request_duration_seconds", "How long requests for a token take";
        reauthorization: Family<Labels, Gauge> =>
            "reauthorization_required", "Accounts whose owner has to consent";
        attention: Family<Labels, Gauge> =>
            "consents_attention", "Accounts whose consent is refused, but not for good";
        expiry: Family<Labels, Gauge<f64, AtomicU64>> => EXPIRY, EXPIRY_HELP;
        notifications: Family<Labels, Counter> =>
            "notifications", "Tries to deliver an alert, and alerts that were dropped";
        build: Family<Labels, Gauge> => "build_info", "What runs";
        unstored: Gauge =>
            "unstored_tokens", "Redeemed refresh tokens that are in use, but could not be written to the state directory yet";
    }
}

/// Metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    /// Present with `audit`.
    audit: Option<AuditMetrics>,
    /// Present with a shared store.
    sharing: Option<SharingMetrics>,
}

/// Gauges of the audit.
#[derive(Debug)]
struct AuditMetrics {
    up: Gauge,
    /// Present with `audit.sign`.
    head: Option<Gauge<f64, AtomicU64>>,
}

impl AuditMetrics {
    fn new(settings: &config::Audit, registry: &mut Registry) -> Self {
        Self {
            up: add(registry, "audit_up", "Whether audit records can be written"),
            head: settings.sign.as_ref().map(|_| {
                let help =
                    "When a head of the audit records was last signed; until then, the start";
                add(registry, "audit_head_timestamp_seconds", help)
            }),
        }
    }
}

metrics! {
    /// Metrics of the store shared by several relays.
    struct SharingMetrics {
        up: Gauge => "store_up", "Whether the store that several relays share answers";
        operations: Family<Labels, Counter> =>
            "store_operations", "Operations of the shared store, by what became of them";
        relays: Gauge => "relays", "Relays that share the store and are alive, this one included";
    }
}

impl SharingMetrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self::registered(registry);
        metrics.relays.set(1);
        for operation in Command::NAMES.iter().chain(&["connect"]) {
            for outcome in STORE {
                let labels = [("operation", *operation), ("outcome", outcome)];
                series(&metrics.operations, labels);
            }
        }
        metrics
    }
}

/// Returns the series of a family that has these labels, and creates it if there is none.
fn series<M: Clone, const N: usize>(
    family: &Family<Labels, M>,
    labels: [(&'static str, &str); N],
) -> M {
    let labels = labels.map(|(name, value)| (name, value.to_owned()));
    family.get_or_create_owned(&labels.to_vec())
}

/// Value of a gauge that counts something.
fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

/// Registers a metric under its name and help.
fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    registered(registry, name, help, M::default())
}

impl Metrics {
    /// Creates the metrics with the registrations of `config`, all at 0.
    pub fn new(config: &Config) -> Self {
        let mut registry = Registry::with_prefix("authrelay");
        let r = &mut registry;
        let metrics = Self {
            families: Families::registered(r),
            audit: config
                .audit
                .as_ref()
                .map(|settings| AuditMetrics::new(settings, r)),
            sharing: config.state.store.is_some().then(|| SharingMetrics::new(r)),
            registry,
        };
        let build = [("version", config::VERSION), ("revision", REVISION)];
        series(&metrics.families.build, build).set(1);
        metrics.begin(config);
        metrics
    }

    /// Counts an operation of the shared store.
    pub fn on_store(&self, operation: &str, outcome: &str) {
        if let Some(sharing) = &self.sharing {
            let labels = [("operation", operation), ("outcome", outcome)];
            series(&sharing.operations, labels).inc();
        }
    }

    /// Sets whether the shared store is reachable, and how many relays are alive.
    pub fn sharing(&self, up: bool, relays: usize) {
        if let Some(sharing) = &self.sharing {
            sharing.up.set(i64::from(up));
            sharing.relays.set(count(relays));
        }
    }

    /// Applies the registrations of another configuration; the counters stay.
    pub fn renew(&self, config: &Config) {
        self.families.expiry.clear();
        self.families.reauthorization.clear();
        self.families.attention.clear();
        self.begin(config);
    }

    /// Creates every series that is known.
    fn begin(&self, config: &Config) {
        let families = &self.families;
        for protocol in Protocol::ALL {
            let protocol = ("protocol", protocol.name());
            series(&families.active, [protocol]);
            series(&families.logins, [protocol]);
            for outcome in OUTCOMES {
                series(&families.sessions, [protocol, ("outcome", outcome)]);
            }
            for direction in ["up", "down"] {
                series(&families.bytes, [protocol, ("direction", direction)]);
            }
            for kind in Kind::ALL {
                let side = ("side", kind.side().name());
                series(&families.faults, [protocol, side, ("kind", kind.name())]);
            }
        }
        for (family, outcomes) in [
            (&families.notifications, NOTIFICATIONS),
            (&families.waits, WAITS),
            (&families.messages, MESSAGES),
        ] {
            for outcome in outcomes {
                series(family, [("outcome", outcome)]);
            }
        }
        for (name, registration) in &config.registrations {
            let name = ("registration", name.as_str());
            if let Some(seconds) = registration.credential_expires {
                series(&families.expiry, [name]).set(seconds as f64);
            }
            series(&families.reauthorization, [name]);
            series(&families.attention, [name]);
            for outcome in REQUESTS {
                series(&families.requests, [name, ("outcome", outcome)]);
            }
        }
    }

    /// Counts a session that begins.
    pub fn session_began(&self, protocol: Protocol) {
        series(&self.families.active, [("protocol", protocol.name())]).inc();
    }

    /// Counts a session that ended, with its octets.
    pub fn session_ended(&self, protocol: Protocol, outcome: &str, up: u64, down: u64) {
        let families = &self.families;
        let protocol = ("protocol", protocol.name());
        series(&families.active, [protocol]).dec();
        series(&families.sessions, [protocol, ("outcome", outcome)]).inc();
        for (direction, octets) in [("up", up), ("down", down)] {
            series(&families.bytes, [protocol, ("direction", direction)]).inc_by(octets);
        }
    }

    /// Counts a successful login, and its duration.
    pub fn logged_in(&self, protocol: Protocol, took: Duration) {
        let login = series(&self.families.logins, [("protocol", protocol.name())]);
        login.observe(took.as_secs_f64());
    }

    /// Counts a fault by its kind.
    pub fn fault(&self, protocol: Protocol, kind: Kind) {
        let labels = [
            ("protocol", protocol.name()),
            ("side", kind.side().name()),
            ("kind", kind.name()),
        ];
        series(&self.families.faults, labels).inc();
    }

    /// Counts messages that ended: accepted, rejected or lost.
    pub fn messages(&self, outcome: &str, count: u64) {
        series(&self.families.messages, [("outcome", outcome)]).inc_by(count);
    }

    /// Counts a request for a message permit.
    pub fn smtp_wait(&self, outcome: &str) {
        series(&self.families.waits, [("outcome", outcome)]).inc();
    }

    /// Counts an alert that was delivered, failed or dropped.
    pub fn on_notification(&self, outcome: &str) {
        series(&self.families.notifications, [("outcome", outcome)]).inc();
    }

    /// Number of tokens obtained for a registration.
    pub fn tokens(&self, registration: &str) -> u64 {
        let labels = [("registration", registration), ("outcome", "ok")];
        series(&self.families.requests, labels).get()
    }

    /// Counts a token request, and its duration.
    pub fn token_request(&self, registration: &str, outcome: &str, took: Duration) {
        let labels = [("registration", registration), ("outcome", outcome)];
        series(&self.families.requests, labels).inc();
        self.families.request_duration.observe(took.as_secs_f64());
    }

    /// Sets the number of a registration's accounts whose owner must consent, and of consents that
    /// need attention.
    pub fn consents(&self, registration: &str, needed: usize, attention: usize) {
        let labels = [("registration", registration)];
        series(&self.families.reauthorization, labels).set(count(needed));
        series(&self.families.attention, labels).set(count(attention));
    }

    /// Sets the number of redeemed tokens that are not on disk yet.
    pub fn unstored_tokens(&self, tokens: usize) {
        self.families.unstored.set(count(tokens));
    }

    /// Sets whether audit records can be written, and when a head was last signed, in seconds since
    /// 1970.
    pub fn audit(&self, up: bool, head: u64) {
        if let Some(audit) = &self.audit {
            audit.up.set(i64::from(up));
            if let Some(signed) = &audit.head {
                signed.set(head as f64);
            }
        }
    }

    /// Formats all metrics in Prometheus' text format, version 0.0.4.
    pub fn text(&self) -> String {
        let mut open = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut open, &self.registry);
        let mut text = text::classic(&open);
        if !text.contains(EXPIRY) {
            // The encoder leaves out a family without series.
            text.push_str(&format!(
                "# HELP authrelay_{EXPIRY} {EXPIRY_HELP}.\n# TYPE authrelay_{EXPIRY} gauge\n"
            ));
        }
        text.push_str(&text::process().unwrap_or_default());
        text
    }
}
