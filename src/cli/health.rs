//! `health`: asks the running relay whether it serves, for images without a shell.

use std::path::Path;

use url::Url;

use super::running::client;
use super::setup::{Exit, load, print, print_error, runtime};
use crate::tls;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Where to ask [default: the file's admin]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
}

pub(super) fn run(path: &Path, options: &Options) -> Exit {
    let asked = match &options.url {
        Some(url) => by_url(url),
        None => match load(path) {
            Ok(config) => match config.admin.as_deref() {
                Some(admin) => {
                    client(admin).map(|(client, base)| (client, format!("{base}/readyz")))
                }
                None => {
                    print_error("the file has no admin listener to ask: add admin, or give --url");
                    return Exit::Failed;
                }
            },
            Err(exit) => return exit,
        },
    };
    let Some((client, url)) = asked else {
        print_error("no HTTP client can be made for this address");
        return Exit::Failed;
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let answer = runtime.block_on(async {
        let answer = client.get(&url).send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.text().await?))
    });
    match answer {
        Ok((status, text)) if status.is_success() => print(format!("{}\n", text.trim())),
        Ok((status, text)) => {
            print_error(format_args!("{url}: {status}: {}", text.trim()));
            Exit::Failed
        }
        Err(error) => {
            print_error(format_args!(
                "{:#}",
                anyhow::Error::from(error.without_url()).context(url)
            ));
            Exit::Failed
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
