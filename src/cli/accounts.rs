//! `accounts` and `forget`: shows the status of each account, and deletes stored consents.

use std::path::Path;

use serde_json::Value;

use super::running::RunningRelay;
use super::setup::{
    Exit, connect_store, load, no_account, print, print_error, runtime, service, warn_unshared,
};
use crate::config::{Config, Logins};
use crate::status;
use crate::token::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print JSON, as GET /api/accounts does
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, options: &Options) -> Result<Exit, Exit> {
    let rows = rows(&load(path)?)?;
    Ok(print(match options.json {
        true => format!("{:#}\n", Value::from(rows)),
        false => table(&rows),
    }))
}

/// Gets the accounts from the running relay, or otherwise from the store only.
fn rows(config: &Config) -> Result<Vec<Value>, Exit> {
    let mut rows = runtime()?.block_on(async {
        if let Some(running) = RunningRelay::find(config).await {
            match running.get::<Vec<Value>>("/api/accounts").await {
                Ok(rows) => return Ok(rows),
                Err(error) => {
                    print_error(format_args!("warning: {error:#}; only the store is read"))
                }
            }
        }
        let service = service(config)?;
        match connect_store(&service).await {
            // The state directory may lack consents that the shared store has.
            Ok(()) => {
                if let Some(sharing) = &service.state.sharing {
                    sharing.member().learn().await;
                }
            }
            Err(why) => print_error(format_args!(
                "warning: the shared store is away: {why}; only the state directory is read"
            )),
        }
        let rows = status::accounts(
            &service.accounts,
            &service.token_source,
            &service.state.history,
        );
        Ok(json(&rows))
    })?;
    // No account needs the store any more, so it has not been read.
    if !config.state.wanted
        && has_tokens(config)
        && let Ok(store) = Store::open(&config.state)
    {
        rows.extend(json(&status::unused(&config.accounts, &store.logins())));
    }
    Ok(rows)
}

fn json(rows: &[status::AccountStatus]) -> Vec<Value> {
    rows.iter()
        .filter_map(|row| serde_json::to_value(row).ok())
        .collect()
}

fn has_tokens(config: &Config) -> bool {
    config.state.directory.join("tokens").is_dir()
}

/// Formats one line per account, followed by its last fault and remedy.
fn table(rows: &[Value]) -> String {
    let token = |row: &Value| {
        let token = row.get("token").cloned().unwrap_or_default();
        let (state, expires) = (text(&token, "state"), text(&token, "expires"));
        format!("{state} {expires}").trim_end().to_owned()
    };
    let head = "LOGIN,MAILBOX,GRANT,CONSENT,TOKEN,LAST LOGIN";
    let mut lines = vec![head.split(',').map(str::to_owned).collect::<Vec<_>>()];
    for row in rows {
        let mut line = ["login", "mailbox", "grant", "consent"]
            .map(|key| text(row, key))
            .to_vec();
        line.extend([token(row), text(row, "last_login")]);
        lines.push(line);
    }
    let width = |column: usize| {
        let cell = |line: &Vec<String>| line.get(column).map_or(0, |cell| cell.chars().count());
        lines.iter().map(cell).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..6).map(width).collect();
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<_> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
        let fault = index.checked_sub(1).and_then(|index| rows.get(index));
        if let Some(fault) = fault.and_then(|row| row.get("last_fault")) {
            out.push_str(&fault_lines(fault));
        }
    }
    out
}

/// Formats the last fault of an account, with its remedy on a separate line.
fn fault_lines(fault: &Value) -> String {
    let mut lines = format!(
        "    {} {}: {}: {}\n",
        text(fault, "time"),
        text(fault, "side"),
        text(fault, "kind"),
        text(fault, "detail")
    );
    if let Some(remedy) = fault.get("remedy").and_then(Value::as_str) {
        lines.push_str(&format!("    {remedy}\n"));
    }
    lines
}

/// Returns a field's text; empty if absent.
fn text(row: &Value, key: &str) -> String {
    let value = row.get(key).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

/// Deletes the stored tokens of a login on every relay, even if no account has it any more. A running
/// relay notices.
pub(super) fn forget(path: &Path, login: &str) -> Result<Exit, Exit> {
    let login = login.to_lowercase();
    let config = load(path)?;
    let known = Logins::new(&config.accounts).find(&login).is_some();
    match (known, forgotten(&config, &login)?) {
        (_, true) => Ok(print(format!("the stored tokens of {login} are deleted\n"))),
        (true, false) => Ok(print(format!("nothing is stored for {login}\n"))),
        (false, false) => Err(Exit::Usage.with(match login.starts_with('*') {
            true => no_account(&login),
            false => format!("{}, and nothing is stored for it", no_account(&login)),
        })),
    }
}

/// Deletes what is stored of a login; whether there was something.
fn forgotten(config: &Config, login: &str) -> Result<bool, Exit> {
    let failed = |error| Exit::State.with(error);
    if config.state.store.is_none() {
        // No account may need the store any more.
        if !config.state.wanted && !has_tokens(config) {
            return Ok(false);
        }
        let store = Store::open(&config.state).map_err(failed)?;
        let forgotten = store.forget(login, config.limits.upstream_timeout);
        return runtime()?.block_on(forgotten).map_err(failed);
    }
    runtime()?.block_on(async {
        let service = service(config)?;
        // Where it is away, the warning below says so.
        let away = connect_store(&service).await;
        let forgotten = service.token_source.forget(login).await;
        let forgotten = forgotten.map_err(failed)?;
        match (forgotten, away) {
            (true, _) => warn_unshared(&service, login),
            (false, Err(why)) => print_error(format_args!(
                "warning: the shared store is away: {why}; another relay may have tokens of {login}"
            )),
            (false, Ok(())) => {}
        }
        Ok(forgotten)
    })
}
