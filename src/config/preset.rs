//! Mail services that need no configuration.
//!
//! Hosts of the national clouds come from third parties (their own operators publish little), so
//! every key of a preset can be overridden.

use super::{Endpoint, IpPreference, Mechanism, PresetCapabilities, Provider, UpstreamTls};

/// What Exchange Online lists under TLS and before login, as seen in 2025 and 2026.
const EXCHANGE_IMAP: &str = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+";
const EXCHANGE_POP3: &[&str] = &["TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER"];
const EXCHANGE_SMTP: &[&str] = &[
    "SIZE 157286400",
    "PIPELINING",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "AUTH LOGIN XOAUTH2",
    "8BITMIME",
    "BINARYMIME",
    "CHUNKING",
    "SMTPUTF8",
];

/// One cloud of Exchange Online.
struct Cloud {
    name: &'static str,
    /// IMAP and POP3.
    outlook: &'static str,
    smtp: &'static str,
    authority: &'static str,
    /// Of the scope for application tokens.
    resource: &'static str,
}

/// Worldwide and GCC; GCC High; DoD; 21Vianet.
const CLOUDS: [Cloud; 4] = [
    Cloud {
        name: "microsoft365",
        outlook: "outlook.office365.com",
        smtp: "smtp.office365.com",
        authority: "login.microsoftonline.com",
        resource: "outlook.office365.com",
    },
    Cloud {
        name: "microsoft365-us",
        outlook: "outlook.office365.us",
        smtp: "smtp.office365.us",
        authority: "login.microsoftonline.us",
        resource: "outlook.office365.us",
    },
    Cloud {
        name: "microsoft365-dod",
        outlook: "outlook-dod.office365.us",
        smtp: "outlook-dod.office365.us",
        authority: "login.microsoftonline.us",
        resource: "outlook-dod.office365.us",
    },
    Cloud {
        name: "microsoft365-china",
        outlook: "partner.outlook.cn",
        smtp: "smtp.partner.outlook.cn",
        authority: "login.partner.microsoftonline.cn",
        resource: "partner.outlook.cn",
    },
];

/// The presets' names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CLOUDS.iter().map(|cloud| cloud.name)
}

/// The preset of that name.
pub(super) fn named(name: &str) -> Option<Provider> {
    CLOUDS
        .iter()
        .find(|cloud| cloud.name == name)
        .map(Cloud::provider)
}

impl Cloud {
    fn provider(&self) -> Provider {
        let endpoint = |host: &str, port, tls| {
            Some(Endpoint {
                host: host.into(),
                port,
                tls,
            })
        };
        let oauth =
            |path: &str| format!("https://{}/{{tenant}}/oauth2/v2.0/{path}", self.authority);
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        Provider {
            name: self.name.into(),
            imap: endpoint(self.outlook, 993, UpstreamTls::Implicit),
            pop3: endpoint(self.outlook, 995, UpstreamTls::Implicit),
            smtp: endpoint(self.smtp, 587, UpstreamTls::StartTls),
            token_url: oauth("token"),
            mechanism: Mechanism::Xoauth2,
            ca: Vec::new(),
            ip: IpPreference::Any,
            app_scope: vec![format!("https://{}/.default", self.resource)],
            capabilities: PresetCapabilities {
                imap: EXCHANGE_IMAP.split(' ').map(str::to_owned).collect(),
                pop3: lines(EXCHANGE_POP3),
                smtp: lines(EXCHANGE_SMTP),
            },
        }
    }
}

/// A service that nobody knows yet: it promises only what every server has.
pub(super) fn unknown(name: &str) -> Provider {
    Provider {
        name: name.into(),
        imap: None,
        pop3: None,
        smtp: None,
        token_url: String::new(),
        mechanism: Mechanism::Xoauth2,
        ca: Vec::new(),
        ip: IpPreference::Any,
        app_scope: Vec::new(),
        capabilities: PresetCapabilities {
            imap: vec!["IMAP4rev1".into(), "SASL-IR".into()],
            pop3: vec!["TOP".into(), "UIDL".into()],
            smtp: Vec::new(),
        },
    }
}
