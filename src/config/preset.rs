//! Mail services that need no configuration.
//!
//! Hosts of the national clouds come from third parties (their own operators publish little), so
//! every key of a preset can be overridden.

use std::time::Duration;

use super::{
    Endpoint, IpPreference, Mechanism, PresetCapabilities, Provider, Scopes, SmtpLimits,
    UpstreamTls,
};

/// Exchange ends sessions around the expiry of their token: a new one begins with a fresh token.
const TOKEN_MARGIN: Duration = Duration::from_secs(5 * 60);

/// High Volume Email refuses tokens that end soon (535 5.7.142); its clients renew 10 to 20 minutes
/// ahead.
const HVE_TOKEN_MARGIN: Duration = Duration::from_secs(20 * 60);

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
    /// Where the OAuth endpoints are, up to `/oauth2/v2.0/`.
    authority: &'static str,
    /// Of application tokens; `None` where there are none.
    application: Option<&'static str>,
    /// Of tokens that act for a person.
    delegated: &'static str,
}

/// Worldwide and GCC; GCC High; DoD; 21Vianet; personal accounts, which have no applications of
/// their own and want the tenant `consumers`.
const CLOUDS: [Cloud; 5] = [
    Cloud {
        name: "microsoft365",
        outlook: "outlook.office365.com",
        smtp: "smtp.office365.com",
        authority: "login.microsoftonline.com/{tenant}",
        application: Some("outlook.office365.com"),
        delegated: "outlook.office.com",
    },
    Cloud {
        name: "microsoft365-us",
        outlook: "outlook.office365.us",
        smtp: "smtp.office365.us",
        authority: "login.microsoftonline.us/{tenant}",
        application: Some("outlook.office365.us"),
        delegated: "outlook.office365.us",
    },
    // Sources differ on DoD's hosts and resource.
    Cloud {
        name: "microsoft365-dod",
        outlook: "outlook-dod.office365.us",
        smtp: "outlook-dod.office365.us",
        authority: "login.microsoftonline.us/{tenant}",
        application: Some("outlook-dod.office365.us"),
        delegated: "outlook-dod.office365.us",
    },
    // Untested by those who published it.
    Cloud {
        name: "microsoft365-china",
        outlook: "partner.outlook.cn",
        smtp: "smtp.partner.outlook.cn",
        authority: "login.partner.microsoftonline.cn/{tenant}",
        application: Some("partner.outlook.cn"),
        delegated: "partner.outlook.cn",
    },
    Cloud {
        name: "outlook",
        outlook: "outlook.office365.com",
        smtp: "smtp-mail.outlook.com",
        authority: "login.microsoftonline.com/consumers",
        application: None,
        delegated: "outlook.office.com",
    },
];

/// High Volume Email: submission of Microsoft 365 to internal recipients, without limits.
const HVE: &str = "microsoft365-hve";

/// High Volume Email, from Exchange Online's preset (generally available since March 2026): another
/// host, SMTP only, and application tokens of another resource.
fn high_volume(exchange: Provider) -> Provider {
    Provider {
        name: HVE.into(),
        imap: None,
        pop3: None,
        smtp: endpoint("smtp.hve.mx.microsoft", 587, UpstreamTls::StartTls),
        scopes: Scopes {
            application: vec!["https://outlook.office.com/.default".into()],
            ..Scopes::default()
        },
        smtp_limits: None,
        token_margin: HVE_TOKEN_MARGIN,
        ..exchange
    }
}

/// A service with one name for everybody, as its operator publishes it.
struct Service {
    name: &'static str,
    /// IMAP, POP3 and SMTP, all under implicit TLS.
    hosts: [&'static str; 3],
    authorize_url: &'static str,
    device_url: Option<&'static str>,
    token_url: &'static str,
    mechanism: Mechanism,
    /// By protocol.
    scopes: [&'static str; 3],
    consent_parameters: &'static [(&'static str, &'static str)],
    capabilities: [&'static [&'static str]; 3],
}

const YAHOO_CAPABILITIES: [&[&str]; 3] = [
    &[
        "IMAP4rev1",
        "SASL-IR",
        "ID",
        "MOVE",
        "NAMESPACE",
        "XYMHIGHESTMODSEQ",
        "UIDPLUS",
        "LITERAL+",
        "CHILDREN",
        "UNSELECT",
        "OBJECTID",
    ],
    &["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"],
    &["PIPELINING", "SIZE 41697280", "8BITMIME", "CHUNKING"],
];

const SERVICES: [Service; 4] = [
    Service {
        name: "google",
        hosts: ["imap.gmail.com", "pop.gmail.com", "smtp.gmail.com"],
        authorize_url: "https://accounts.google.com/o/oauth2/v2/auth",
        // Google's device flow does not hand out the mail scope.
        device_url: None,
        token_url: "https://oauth2.googleapis.com/token",
        mechanism: Mechanism::Xoauth2,
        scopes: ["https://mail.google.com/"; 3],
        // Without these there is no refresh token, or only at the first consent.
        consent_parameters: &[("access_type", "offline"), ("prompt", "consent")],
        capabilities: [
            &[
                "IMAP4rev1",
                "UNSELECT",
                "IDLE",
                "NAMESPACE",
                "QUOTA",
                "ID",
                "XLIST",
                "CHILDREN",
                "X-GM-EXT-1",
                "XYZZY",
                "SASL-IR",
            ],
            &["RESP-CODES", "EXPIRE 0", "LOGIN-DELAY 300", "TOP", "UIDL"],
            &[
                "SIZE 35882577",
                "8BITMIME",
                "ENHANCEDSTATUSCODES",
                "PIPELINING",
                "CHUNKING",
                "SMTPUTF8",
            ],
        ],
    },
    // Access is by application form at Yahoo; SMTP on 465 as its help pages say.
    Service {
        name: "yahoo",
        hosts: [
            "imap.mail.yahoo.com",
            "pop.mail.yahoo.com",
            "smtp.mail.yahoo.com",
        ],
        authorize_url: "https://api.login.yahoo.com/oauth2/request_auth",
        device_url: None,
        token_url: "https://api.login.yahoo.com/oauth2/get_token",
        mechanism: Mechanism::Oauthbearer,
        scopes: ["mail-w"; 3],
        consent_parameters: &[],
        capabilities: YAHOO_CAPABILITIES,
    },
    Service {
        name: "aol",
        hosts: ["imap.aol.com", "pop.aol.com", "smtp.aol.com"],
        authorize_url: "https://api.login.aol.com/oauth2/request_auth",
        device_url: None,
        token_url: "https://api.login.aol.com/oauth2/get_token",
        mechanism: Mechanism::Oauthbearer,
        scopes: ["mail-w"; 3],
        consent_parameters: &[],
        capabilities: YAHOO_CAPABILITIES,
    },
    // One endpoint redeems codes and refresh tokens alike.
    Service {
        name: "fastmail",
        hosts: ["imap.fastmail.com", "pop.fastmail.com", "smtp.fastmail.com"],
        authorize_url: "https://api.fastmail.com/oauth/authorize",
        device_url: None,
        token_url: "https://api.fastmail.com/oauth/refresh",
        mechanism: Mechanism::Oauthbearer,
        scopes: [
            "https://www.fastmail.com/dev/protocol-imap",
            "https://www.fastmail.com/dev/protocol-pop",
            "https://www.fastmail.com/dev/protocol-smtp",
        ],
        consent_parameters: &[],
        capabilities: [&["IMAP4rev1", "SASL-IR", "LITERAL+"], &["TOP", "UIDL"], &[]],
    },
];

/// The presets' names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let clouds = CLOUDS.iter().map(|cloud| cloud.name);
    clouds
        .chain([HVE])
        .chain(SERVICES.iter().map(|service| service.name))
}

/// The preset of that name.
pub(super) fn named(name: &str) -> Option<Provider> {
    if name == HVE {
        return named("microsoft365").map(high_volume);
    }
    let cloud = CLOUDS.iter().find(|cloud| cloud.name == name);
    let service = SERVICES.iter().find(|service| service.name == name);
    cloud
        .map(Cloud::provider)
        .or_else(|| service.map(Service::provider))
}

impl Cloud {
    fn provider(&self) -> Provider {
        let oauth = |path: &str| format!("https://{}/oauth2/v2.0/{path}", self.authority);
        let delegated = |permission: &str| vec![format!("https://{}/{permission}", self.delegated)];
        let application = self
            .application
            .map(|host| format!("https://{host}/.default"));
        Provider {
            imap: endpoint(self.outlook, 993, UpstreamTls::Implicit),
            pop3: endpoint(self.outlook, 995, UpstreamTls::Implicit),
            smtp: endpoint(self.smtp, 587, UpstreamTls::StartTls),
            authorize_url: Some(oauth("authorize")),
            device_url: Some(oauth("devicecode")),
            token_url: oauth("token"),
            scopes: Scopes {
                application: application.into_iter().collect(),
                imap: delegated("IMAP.AccessAsUser.All"),
                pop3: delegated("POP.AccessAsUser.All"),
                smtp: delegated("SMTP.Send"),
                offline: vec!["offline_access".into()],
            },
            capabilities: PresetCapabilities {
                imap: EXCHANGE_IMAP.split(' ').map(str::to_owned).collect(),
                pop3: owned(EXCHANGE_POP3),
                smtp: owned(EXCHANGE_SMTP),
            },
            // Personal accounts have others, which nobody publishes.
            smtp_limits: self
                .name
                .starts_with("microsoft365")
                .then_some(SmtpLimits::EXCHANGE),
            ..unknown(self.name)
        }
    }
}

impl Service {
    fn provider(&self) -> Provider {
        let [imap, pop3, smtp] = self.hosts;
        let [imap_scope, pop3_scope, smtp_scope] = self.scopes.map(|scope| vec![scope.to_owned()]);
        let [imap_lines, pop3_lines, smtp_lines] = self.capabilities.map(owned);
        let parameters = self.consent_parameters.iter();
        Provider {
            imap: endpoint(imap, 993, UpstreamTls::Implicit),
            pop3: endpoint(pop3, 995, UpstreamTls::Implicit),
            smtp: endpoint(smtp, 465, UpstreamTls::Implicit),
            authorize_url: Some(self.authorize_url.into()),
            device_url: self.device_url.map(str::to_owned),
            token_url: self.token_url.into(),
            mechanism: self.mechanism,
            scopes: Scopes {
                application: Vec::new(),
                imap: imap_scope,
                pop3: pop3_scope,
                smtp: smtp_scope,
                offline: Vec::new(),
            },
            consent_parameters: parameters
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            capabilities: PresetCapabilities {
                imap: imap_lines,
                pop3: pop3_lines,
                smtp: smtp_lines,
            },
            ..unknown(self.name)
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
        authorize_url: None,
        device_url: None,
        token_url: String::new(),
        mechanism: Mechanism::Xoauth2,
        ca: Vec::new(),
        egress: None,
        ip: IpPreference::Any,
        smtp_limits: None,
        token_margin: TOKEN_MARGIN,
        scopes: Scopes::default(),
        consent_parameters: Vec::new(),
        capabilities: PresetCapabilities {
            imap: owned(&["IMAP4rev1", "SASL-IR"]),
            pop3: owned(&["TOP", "UIDL"]),
            smtp: Vec::new(),
        },
    }
}

fn endpoint(host: &str, port: u16, tls: UpstreamTls) -> Option<Endpoint> {
    Some(Endpoint {
        host: host.into(),
        port,
        tls,
    })
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}
