//! Expiry of certificates and client secrets in use.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ClientCredential;
use crate::expiry;
use crate::session::{ActiveService, Service};
use crate::tls::reload::ReloadableTls;

/// Interval between log warnings about expiring credentials. At start and reload the
/// configuration's own warnings report them.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate or secret that expires.
pub(super) struct Ending {
    /// Name of the registration, or `listener NAME`.
    pub(super) subject: String,
    pub(super) what: String,
    /// End of validity, in seconds since 1970.
    pub(super) end: i64,
    pub(super) remedy: String,
}

/// Lists the certificates and secrets in use that expire.
pub(super) fn endings(service: &Service, identities: &[Arc<ReloadableTls>]) -> Vec<Ending> {
    let registrations: BTreeMap<_, _> = service
        .accounts
        .iter()
        .map(|account| (&account.registration.name, &account.registration))
        .collect();
    let credentials = registrations.into_values().filter_map(|registration| {
        let what = match registration.grant.credential() {
            Some(ClientCredential::Certificate(_)) => "certificate",
            _ => "client secret",
        };
        Some(Ending {
            subject: registration.name.clone(),
            what: format!("the {what} of the registration {}", registration.name),
            end: registration.credential_expires?,
            remedy: format!("make a new {what}, put it into the file and reload"),
        })
    });
    let certificates = identities.iter().filter_map(|tls| {
        let path = tls.certificate().display();
        Some(Ending {
            subject: format!("listener {}", tls.name()),
            what: format!("the certificate of the listener {} ({path})", tls.name()),
            end: tls.end()?,
            remedy: format!("put a new one there: {path} is looked at every 10 s"),
        })
    });
    credentials.chain(certificates).collect()
}

/// Ends that are alerted about, without IO: by subject the end of validity, and how many days before
/// it the last alert was sent.
#[derive(Debug, Default)]
pub(super) struct ReportedEnds(HashMap<String, (i64, i64)>);

/// Change to report: an alert that is over, with the reason, or one that begins.
pub(super) enum EndAlert<'a> {
    Over(String, &'static str),
    Begins(&'a Ending),
}

impl ReportedEnds {
    /// Compares what is reported with `endings` at the time `now`, in seconds since 1970: alerts
    /// are sent 14, 7 and 1 days before an end, each once, also if the clock is set back.
    pub(super) fn look<'a>(&mut self, endings: &[&'a Ending], now: i64) -> Vec<EndAlert<'a>> {
        let mut changes = Vec::new();
        self.0.retain(|subject, (end, _)| {
            let is_same = |ending: &&Ending| ending.subject == *subject && ending.end == *end;
            let stays = endings.iter().copied().any(|ending| is_same(&ending));
            if !stays {
                changes.push(EndAlert::Over(subject.clone(), "it was replaced"));
            }
            stays
        });
        for ending in endings {
            let Some(days) = expiry::last_alert(ending.end, now) else {
                continue;
            };
            match self.0.get(&ending.subject) {
                Some((_, reported)) if *reported <= days => continue,
                Some(_) => {
                    let nearer = "the end comes nearer";
                    changes.push(EndAlert::Over(ending.subject.clone(), nearer));
                }
                None => {}
            }
            self.0.insert(ending.subject.clone(), (ending.end, days));
            changes.push(EndAlert::Begins(ending));
        }
        changes
    }

    /// Forgets a subject; returns whether it was alerted about.
    pub(super) fn forget(&mut self, subject: &str) -> bool {
        self.0.remove(subject).is_some()
    }
}

impl Ending {
    /// `… ends in 3 days` or `… has ended`; `None` if the end is not near.
    pub(super) fn near(&self) -> Option<String> {
        let when = expiry::ends_soon(self.end)?;
        Some(format!("{} {when}", self.what))
    }
}

/// Function that returns the certificates in use.
pub(super) type Certificates = Arc<dyn Fn() -> Vec<Arc<ReloadableTls>> + Send + Sync>;

/// Logs a warning each day about credentials near their end.
pub(super) fn warn_daily(
    current: Arc<ActiveService>,
    certificates: Certificates,
) -> impl Future<Output = ()> + Send {
    let mut next = Instant::now() + DAY;
    async move {
        loop {
            tokio::time::sleep_until(next).await;
            next = Instant::now() + DAY;
            for ending in endings(&current.active(), &certificates()) {
                if let Some(detail) = ending.near() {
                    let (subject, remedy) = (ending.subject, ending.remedy);
                    tracing::warn!(subject, detail, remedy, "a credential ends soon");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn ending(end: i64) -> Ending {
        Ending {
            subject: "app".into(),
            what: "the client secret of the registration app".into(),
            end,
            remedy: String::new(),
        }
    }

    /// The reasons of alerts that are over; `begin` for one that begins.
    fn changes(
        reported: &mut ReportedEnds,
        ending: Option<&Ending>,
        now: i64,
    ) -> Vec<&'static str> {
        let endings: Vec<_> = ending.into_iter().collect();
        let changes = reported.look(&endings, now);
        let name = |change: &EndAlert<'_>| match change {
            EndAlert::Over(_, reason) => *reason,
            EndAlert::Begins(_) => "begin",
        };
        changes.iter().map(name).collect()
    }

    #[test]
    fn each_step_is_reported_once_whatever_the_clock_does() {
        let (end, mut reported) = (1_800_000_000, ReportedEnds::default());
        let secret = ending(end);
        let nearer: &[&str] = &["the end comes nearer", "begin"];
        for (left, expected) in [
            (20 * DAY, &[][..]),
            (14 * DAY, &["begin"]),
            (13 * DAY, &[]),
            // Set back, and right again.
            (20 * DAY, &[]),
            (13 * DAY, &[]),
            (7 * DAY, nearer),
            (9 * DAY, &[]),
            (6 * DAY, &[]),
            (DAY, nearer),
            (-5 * DAY, &[]),
        ] {
            let got = changes(&mut reported, Some(&secret), end - left);
            assert_eq!(got, expected, "{left}");
        }
        let now = end - DAY;
        let later = ending(end + 8 * DAY);
        let replaced = ["it was replaced", "begin"];
        assert_eq!(changes(&mut reported, Some(&later), now), replaced);
        let never = ending(end + 900 * DAY);
        let got = changes(&mut reported, Some(&never), now);
        assert_eq!(got, ["it was replaced"]);
        assert!(!reported.forget("app"));
        assert_eq!(changes(&mut reported, Some(&later), now), ["begin"]);
        assert_eq!(changes(&mut reported, None, now), ["it was replaced"]);
    }
}
