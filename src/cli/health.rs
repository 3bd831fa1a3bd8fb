//! `health`: asks the running relay whether it serves, for images without a shell.

use std::path::Path;

use url::Url;

use super::running::{client, short_text};
use super::setup::{Exit, load, print, runtime};
use crate::fault::sanitize;
use crate::tls;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Where to ask [default: the file's admin]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
}

pub(super) fn run(path: &Path, options: &Options) -> Result<Exit, Exit> {
    let failed = |why: &str| Exit::Failed.with(why);
    let asked = match &options.url {
        Some(url) => by_url(url),
        None => {
            let none = "the file has no admin listener to ask: add admin, or give --url";
            let admin = load(path)?.admin.ok_or_else(|| failed(none))?;
            client(&admin).map(|(client, base)| (client, format!("{base}/readyz")))
        }
    };
    let (client, url) =
        asked.ok_or_else(|| failed("no HTTP client can be made for this address"))?;
    let answer = runtime()?.block_on(async {
        let answer = client.get(&url).send().await?;
        let status = answer.status();
        let text = short_text(answer).await?;
        Ok::<_, reqwest::Error>((status, sanitize(&text)))
    });
    match answer {
        Ok((status, text)) if status.is_success() => Ok(print(format!("{text}\n"))),
        Ok((status, text)) => Err(failed(&format!("{url}: {status}: {text}"))),
        Err(error) => {
            let error = anyhow::Error::from(error.without_url()).context(url);
            Err(failed(&format!("{error:#}")))
        }
    }
}

/// Builds the URL to ask: as given, or `/readyz` below it.
fn by_url(url: &Url) -> Option<(reqwest::Client, String)> {
    let mut url = url.clone();
    if !url.path().ends_with("z") {
        let path = format!("{}/readyz", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client(&[]).ok()?)
        .no_proxy()
        .timeout(std::time::Duration::from_secs(10));
    Some((client.build().ok()?, url.to_string()))
}
