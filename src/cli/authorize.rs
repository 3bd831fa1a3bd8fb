//! `authorize`: obtains a user's consent for an account. Works while a relay runs, which notices
//! the stored consent.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

use super::running::RunningRelay;
use super::setup::{
    Exit, connect_store, load, no_account, print, print_error, runtime, service, warn_unshared,
};
use crate::admin::one_callback;
use crate::config::{Account, Config, Grant};
use crate::doctor::explain_failure;
use crate::fault::Fault;
use crate::platform;
use crate::session::Service;
use crate::token::Consent;
use crate::token::authorizations::{LIFETIME, PendingAuthorizations, Progress};
use crate::token::store::Owner;

/// Interval for polling the running relay for the result.
const LOOK: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The account's login; of a wildcard account one login of its domain
    pub(super) login: String,
    /// How the person consents [default: by the account's grant, and whether there is a display]
    #[arg(long, value_enum)]
    pub(super) method: Option<Method>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Method {
    /// In a browser on this machine, which comes back by itself
    Browser,
    /// On any other device, by a code
    Device,
    /// In a browser anywhere; the address that it ends at is pasted here
    Paste,
}

pub(super) fn run(path: &Path, options: &Options) -> Result<Exit, Exit> {
    let login = options.login.to_lowercase();
    let config = load(path)?;
    let (runtime, service) = (runtime()?, service(&config)?);
    let account = account(&service, &login)?;
    let method = method(options.method, &account).map_err(|why| Exit::Usage.with(why))?;
    let given = runtime.block_on(async {
        // Without it the consent is good here; the warning at the end says so.
        let _ = connect_store(&service).await;
        match method {
            Method::Device => device(&service, &account, &login).await,
            Method::Paste => paste(&config, &service, &account, &login).await,
            Method::Browser => browser(&config, &service, &account, &login).await,
        }
    });
    let given = given.map_err(|error| match error.downcast::<Fault>() {
        Ok(fault) => {
            print_error(fault.detail());
            fault.remedy().into_iter().for_each(print_error);
            Exit::Failed
        }
        Err(error) => Exit::Failed.with(format_args!("{error:#}")),
    })?;
    // An opaque token does not name the user, so the mail service decides.
    let verdict = match given.identity {
        Some(_) => None,
        None => runtime.block_on(explain_failure(&service, &account, &login)),
    };
    let exit = report(&given, verdict.as_deref());
    warn_unshared(&service, &login);
    Ok(exit)
}

fn account(service: &Service, login: &str) -> Result<Arc<Account>, Exit> {
    let account = service.find(login);
    let account = account.ok_or_else(|| Exit::Usage.with(no_account(login)))?;
    if !account.registration.grant.needs_consent() {
        return Err(Exit::Usage.with(format_args!(
            "{login} needs no consent: its registration {} uses the grant {}",
            account.registration.name,
            account.registration.grant.name()
        )));
    }
    Ok(account.clone())
}

fn method(asked: Option<Method>, account: &Account) -> Result<Method, &'static str> {
    let by_device = matches!(account.registration.grant, Grant::DeviceCode(_));
    match (asked, by_device) {
        (None | Some(Method::Device), true) => Ok(Method::Device),
        (Some(Method::Browser | Method::Paste), true) => {
            Err("the grant device_code requires --method device")
        }
        (Some(Method::Device), false) => {
            Err("--method device needs the grant device_code in the registration")
        }
        (asked, false) => Ok(asked.unwrap_or(Method::Browser)),
    }
}

async fn device(service: &Service, account: &Arc<Account>, login: &str) -> anyhow::Result<Consent> {
    let token_source = &service.token_source;
    let device = token_source.start_device(account, login).await?;
    print(format!(
        "Open    {}\nEnter   {}\nSign in as {}, within {} minutes.\n",
        device.verification_uri(),
        device.user_code(),
        device.mailbox(),
        device.expires_in().as_secs() / 60
    ));
    let completed = token_source.complete_device(&device, tokio::time::sleep);
    Ok(completed.await?)
}

/// Redirect URI, whether or not a relay listens there.
pub(super) fn redirect(config: &Config) -> anyhow::Result<Url> {
    Ok(match &config.admin {
        Some(admin) => admin.consent_redirect(),
        None => Url::parse("http://localhost/oauth/callback")?,
    })
}

async fn paste(
    config: &Config,
    service: &Service,
    account: &Arc<Account>,
    login: &str,
) -> anyhow::Result<Consent> {
    let consents = PendingAuthorizations::new(redirect(config)?);
    let url = consents.begin(&service.token_source, account, login)?;
    print(format!(
        "Open this address in a browser, anywhere, and sign in as the mailbox's owner:\n\n{url}\n\n\
         The browser ends at an address that begins with {}. Whether a page is shown there or an\n\
         error does not matter: copy that address from the browser and paste it here.\n",
        consents.redirect()
    ));
    if std::io::stdin().is_terminal() {
        print("> ");
    }
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = line.await??;
    let Some((_, query)) = line.trim().split_once('?') else {
        anyhow::bail!("that is not the address: the right one contains a question mark and a code");
    };
    let query = query.split('#').next().unwrap_or_default();
    Ok(consents.finish(&service.token_source, query).await?)
}

async fn browser(
    config: &Config,
    service: &Service,
    account: &Arc<Account>,
    login: &str,
) -> anyhow::Result<Consent> {
    if let Some(running) = RunningRelay::find(config).await {
        return by_relay(&running, service, account, login).await;
    }
    let (socket, redirect) = listen(config).await?;
    let consents = Arc::new(PendingAuthorizations::new(redirect));
    let url = consents.begin(&service.token_source, account, login)?;
    show(&url);
    let finished = one_callback(socket, consents, service.token_source.clone());
    Ok(in_time(finished).await??)
}

/// Waits for a person to consent, for ten minutes at most.
async fn in_time<T>(consented: impl Future<Output = T>) -> anyhow::Result<T> {
    let ended = tokio::time::timeout(LIFETIME, consented).await;
    ended.map_err(|_| anyhow::anyhow!("no one consented within ten minutes"))
}

/// Binds the port to which the browser returns: that of `admin.public_url` if it is on this
/// machine, otherwise any. Identity providers allow any port in a loopback redirect (RFC 8252
/// §7.3).
async fn listen(config: &Config) -> anyhow::Result<(TcpListener, Url)> {
    let Some(admin) = &config.admin else {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = socket.local_addr()?.port();
        let url = Url::parse(&format!("http://localhost:{port}/oauth/callback"))?;
        return Ok((socket, url));
    };
    let url = &admin.public_url;
    let local = url.scheme() == "http"
        && url.host_str().is_some_and(|host| {
            host == "localhost"
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback())
        });
    if !local {
        anyhow::bail!(
            "the browser is sent back to {url}, where no relay answers: start authrelay first, or use --method paste"
        );
    }
    let port = url.port_or_known_default().unwrap_or(80);
    let socket = TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on 127.0.0.1:{port}, where the browser is sent back to: {error}; use --method paste")
    })?;
    Ok((socket, admin.consent_redirect()))
}

/// Lets the running relay, which holds the port, obtain the consent.
async fn by_relay(
    running: &RunningRelay,
    service: &Service,
    account: &Arc<Account>,
    login: &str,
) -> anyhow::Result<Consent> {
    let Some(store) = service.token_source.store() else {
        anyhow::bail!("there is no store");
    };
    let path = format!("/api/accounts/{}/authorize", escaped(login));
    let answer: Value = running.post(&path).await?;
    let url = answer.get("url").and_then(Value::as_str);
    let url = url.and_then(|url| Url::parse(url).ok());
    let url = url.ok_or_else(|| anyhow::anyhow!("the running relay gave no address"))?;
    let state = url
        .query_pairs()
        .find(|(name, _)| name == "state")
        .map_or_else(String::new, |(_, value)| escaped(&value));
    show(&url);
    let path = format!("{path}?state={state}");
    in_time(ended(running, &path)).await??;
    let owner = Owner::of(&account.registration);
    let record = store.read(login)?.and_then(|record| record.of(&owner));
    Ok(Consent {
        login: login.to_owned(),
        mailbox: account.first_mailbox(login),
        identity: record.and_then(|record| record.identity),
    })
}

/// Waits until the running relay reports the result of the consent.
async fn ended(running: &RunningRelay, path: &str) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LOOK).await;
        let answer: Value = running.get(path).await?;
        let text = |key: &str| answer.get(key).and_then(Value::as_str);
        match text("state") {
            Some("given") => return Ok(()),
            Some("pending") => {}
            Some("failed") => {
                let detail = text("error").unwrap_or_default();
                let remedy = text("remedy").map(str::to_owned);
                return Err(Progress::refusal(detail, remedy).into());
            }
            _ => anyhow::bail!(
                "the running relay does not know this consent, or no longer does: it was restarted, or too many consents were started"
            ),
        }
    }
}

/// Escapes a login as a path segment.
fn escaped(login: &str) -> String {
    url::form_urlencoded::byte_serialize(login.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// Opens a browser if there is a display, and prints the URL in any case.
fn show(url: &Url) {
    let opened = platform::browser(url.as_str()).is_some_and(|mut browser| {
        browser
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .is_ok()
    });
    let what = match opened {
        true => "A browser opens this address; sign in as the mailbox's owner:",
        false => {
            "Open this address in a browser on this machine, and sign in as the mailbox's owner:"
        }
    };
    print(format!("{what}\n\n{url}\n\n"));
}

fn report(given: &Consent, verdict: Option<&str>) -> Exit {
    let identity = match &given.identity {
        Some(identity) => format!(", as {identity}"),
        None => String::new(),
    };
    let exit = print(format!(
        "authorized: {} opens {}{identity}\n",
        given.login, given.mailbox
    ));
    if let Some(warning) = given.warning().as_deref().or(verdict) {
        print_error(format_args!("warning: {warning}"));
    }
    exit
}
