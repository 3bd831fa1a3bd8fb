//! Reads `notify`.

use super::super::field::Field;
use super::super::key::Key;
use super::super::keys::NotifyKeys;
use super::super::notify::{Hook, HookTarget};
use super::super::value::{Each, Named, https};

/// Reads the hooks; `None` if one is wrong.
pub(super) fn hooks(keys: Key<Each<NotifyKeys>>) -> Option<Vec<Hook>> {
    let items = keys.optional()?.map_or_else(Vec::new, |Each(items)| items);
    let read = |(field, keys): (Field, Option<NotifyKeys>)| hook(&field, keys?);
    let hooks: Vec<_> = items.into_iter().map(read).collect();
    hooks.into_iter().collect()
}

fn hook(field: &Field, keys: NotifyKeys) -> Option<Hook> {
    let target = match (keys.command, keys.url) {
        (Key::Absent, Key::Absent) => return field.reject("must have command or url"),
        (Key::Given(_), Key::Given(_)) => {
            return field.reject("has both command and url; write two entries");
        }
        (Key::Given(command), Key::Absent) => {
            for key in ["headers", "ca"] {
                if field.has_key(key) {
                    field.at(key).problem("has no use without url; remove it");
                }
            }
            HookTarget::Command {
                program: command.program,
                arguments: command.arguments,
            }
        }
        (Key::Absent, Key::Given(url)) => HookTarget::Url {
            url: match https(&url, "") {
                Ok(url) => url,
                Err(why) => return field.at("url").reject(why),
            },
            headers: headers(keys.headers)?,
            authorities: keys.ca.optional()?.map(|ca| ca.0).unwrap_or_default(),
        },
        _ => return None,
    };
    Some(Hook {
        events: keys.events,
        target,
        timeout: keys.timeout,
    })
}

/// Reads the headers of requests; a value is one line (RFC 9110 §5.5).
pub(super) fn headers(
    keys: Key<Named<crate::secret::Secret>>,
) -> Option<Vec<(String, crate::secret::Secret)>> {
    let items = keys.optional()?.map_or_else(Vec::new, |Named(items)| items);
    let read = items.into_iter().map(|(name, field, value)| {
        let value = value?;
        match reqwest::header::HeaderValue::from_str(value.expose()) {
            Ok(_) => Some((name, value)),
            Err(_) => field.reject("must be one line without control characters"),
        }
    });
    let headers: Vec<_> = read.collect();
    headers.into_iter().collect()
}
