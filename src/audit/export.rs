//! Converts audit records to OCSF and CEF, one line each.
//!
//! OCSF: class Authentication (3002) of schema 1.5.0. A login is a Logon, the end of a session a
//! Logoff, everything else Other. Fields without an attribute in the class go to `unmapped`,
//! including `prev` and `hash`, so that a record can be found in its chain.
//!
//! CEF: ArcSight's Common Event Format, version 0.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const OCSF_VERSION: &str = "1.5.0";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Result of the event in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Result {
    Success,
    Failure,
    Other,
}

impl Result {
    fn of(record: &Map<String, Value>) -> Self {
        match text(record, "outcome") {
            Some("accepted" | "relayed") => Self::Success,
            Some("refused" | "failed") => Self::Failure,
            _ if text(record, "event") == Some("dropped") => Self::Failure,
            _ => Self::Other,
        }
    }
}

/// Parses a line of the audit file.
///
/// # Errors
///
/// The line is not an audit record.
pub fn record(line: &[u8]) -> std::result::Result<Map<String, Value>, &'static str> {
    let record: Map<String, Value> =
        serde_json::from_slice(line).map_err(|_| "is not an audit record")?;
    match text(&record, "event").is_some() && millis(&record).is_some() {
        true => Ok(record),
        false => Err("is not an audit record"),
    }
}

/// Converts the record to an OCSF event.
pub fn ocsf(record: &Map<String, Value>) -> Value {
    let event = text(record, "event").unwrap_or_default();
    let (activity, name) = match event {
        "login" => (1, "Logon"),
        "session" => (2, "Logoff"),
        _ => (99, event),
    };
    let (severity, status) = match Result::of(record) {
        Result::Success => (1, (1, "Success")),
        Result::Failure => (3, (2, "Failure")),
        Result::Other => (1, (99, text(record, "outcome").unwrap_or(event))),
    };
    let user = text(record, "login").or(text(record, "person"));
    let mut ocsf = json!({
        "activity_id": activity,
        "activity_name": name,
        "category_uid": 3,
        "category_name": "Identity & Access Management",
        "class_uid": 3002,
        "class_name": "Authentication",
        "type_uid": 300_200 + activity,
        "severity_id": severity,
        "status_id": status.0,
        "status": status.1,
        "time": millis(record).unwrap_or_default(),
        "is_remote": true,
        "user": {"name": user.unwrap_or("unknown")},
        "service": {"name": text(record, "listener").unwrap_or("authrelay")},
        "metadata": {
            "version": OCSF_VERSION,
            "log_name": "audit",
            "product": {"name": "authrelay", "vendor_name": "authrelay", "version": VERSION},
        },
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let (Some(value), Some(ocsf)) = (value, ocsf.as_object_mut()) {
            ocsf.insert(key.to_owned(), value);
        }
    };
    set("status_detail", record.get("fault").cloned());
    set(
        "duration",
        record
            .get("duration_ms")
            .or(record.get("login_ms"))
            .cloned(),
    );
    set(
        "session",
        text(record, "session").map(|id| json!({"uid": id})),
    );
    if let Some(protocol) = text(record, "protocol") {
        set("auth_protocol_id", Some(json!(99)));
        set("auth_protocol", Some(json!(protocol)));
        set(
            "is_cleartext",
            Some(json!(!record.contains_key("client_tls"))),
        );
    }
    set("src_endpoint", endpoint(text(record, "client"), None));
    set(
        "dst_endpoint",
        endpoint(text(record, "upstream_ip"), text(record, "upstream")),
    );
    let mapped = [
        "v", "time", "event", "outcome", "login", "listener", "fault", "session", "client",
    ];
    let unmapped: Map<String, Value> = record
        .iter()
        .filter(|(key, _)| !mapped.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    set("unmapped", Some(Value::Object(unmapped)));
    ocsf
}

/// Builds an endpoint from an address with optional port, and a name with port.
fn endpoint(address: Option<&str>, name: Option<&str>) -> Option<Value> {
    let mut endpoint = Map::new();
    let address = address.map(|address| match address.parse::<std::net::SocketAddr>() {
        Ok(address) => (address.ip().to_string(), Some(address.port())),
        Err(_) => (address.to_owned(), None),
    });
    if let Some((ip, port)) = address {
        endpoint.insert("ip".into(), json!(ip));
        endpoint.extend(port.map(|port| ("port".to_owned(), json!(port))));
    }
    if let Some((host, port)) = name.and_then(|name| name.rsplit_once(':')) {
        endpoint.insert("hostname".into(), json!(host));
        let port = port.parse::<u16>().ok();
        endpoint.extend(port.map(|port| ("port".to_owned(), json!(port))));
    }
    (!endpoint.is_empty()).then_some(Value::Object(endpoint))
}

/// Converts the record to a line of CEF, without line end.
pub fn cef(record: &Map<String, Value>) -> String {
    let event = text(record, "event").unwrap_or_default();
    let outcome = text(record, "outcome");
    let severity = match Result::of(record) {
        Result::Success => 1,
        Result::Other => 3,
        Result::Failure => 6,
    };
    let name = outcome.map_or_else(|| event.to_owned(), |outcome| format!("{event} {outcome}"));
    let mut line = format!(
        "CEF:0|authrelay|authrelay|{VERSION}|{}|{}|{severity}|rt={}",
        header(event),
        header(&name),
        millis(record).unwrap_or_default()
    );
    let mut add = |key: &str, value: Option<&Value>| {
        if let Some(value) = value {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            line.push_str(&format!(" {key}={}", extension(&value)));
        }
    };
    for (key, endpoint) in [
        ("s", endpoint(text(record, "client"), None)),
        (
            "d",
            endpoint(text(record, "upstream_ip"), text(record, "upstream")),
        ),
    ] {
        let part = |name: &str| endpoint.as_ref().and_then(|endpoint| endpoint.get(name));
        add(if key == "s" { "src" } else { "dst" }, part("ip"));
        add(if key == "s" { "spt" } else { "dpt" }, part("port"));
        add("dhost", part("hostname"));
    }
    for (key, field) in [
        ("suser", "login"),
        ("duser", "mailbox"),
        ("app", "protocol"),
        ("outcome", "outcome"),
        ("reason", "fault"),
        ("externalId", "session"),
        ("out", "bytes_up"),
        ("in", "bytes_down"),
    ] {
        add(key, record.get(field));
    }
    for (number, field) in [
        "listener",
        "credential",
        "registration",
        "closed_by",
        "client_tls",
        "hash",
    ]
    .into_iter()
    .enumerate()
    {
        if let Some(value) = record.get(field) {
            add(&format!("cs{}Label", number + 1), Some(&json!(field)));
            add(&format!("cs{}", number + 1), Some(value));
        }
    }
    let rest = ["messages", "person", "action", "records", "relay"];
    let rest: Map<String, Value> = rest
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), record.get(key)?.clone())))
        .collect();
    if !rest.is_empty() {
        add("msg", Some(&Value::Object(rest)));
    }
    line
}

fn text<'r>(record: &'r Map<String, Value>, key: &str) -> Option<&'r str> {
    record.get(key).and_then(Value::as_str)
}

/// Time of the record in milliseconds since 1970.
fn millis(record: &Map<String, Value>) -> Option<i64> {
    let time = OffsetDateTime::parse(text(record, "time")?, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// Escapes a field of CEF's header: one line, with `|` and `\` escaped.
fn header(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
        .replace('\\', r"\\")
        .replace('|', r"\|")
}

/// Escapes a value of CEF's extension: `=`, `\` and line ends.
fn extension(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('=', r"\=")
        .replace('\r', r"\r")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &str = r#"{"v":1,"time":"2026-11-25T13:22:28.001Z","event":"login","session":"0011223344556677","listener":"imap","protocol":"imap","client":"[2001:db8::1]:40000","login":"a|b=c\\@x","outcome":"refused","fault":"client: credentials","prev":"0","hash":"1"}"#;

    #[test]
    fn a_refused_login_in_both_formats() {
        let record = record(LOGIN.as_bytes()).unwrap();
        let ocsf = ocsf(&record);
        assert_eq!(ocsf["type_uid"], 300_201);
        assert_eq!(ocsf["status_id"], 2);
        assert_eq!(ocsf["time"], 1_795_612_948_001_i64);
        assert_eq!(
            ocsf["src_endpoint"],
            json!({"ip": "2001:db8::1", "port": 40000})
        );
        assert_eq!(ocsf["unmapped"]["hash"], "1");
        let expected = format!(
            r"CEF:0|authrelay|authrelay|{VERSION}|login|login refused|6|rt=1795612948001 src=2001:db8::1 spt=40000 suser=a|b\=c\\@x app=imap outcome=refused reason=client: credentials externalId=0011223344556677 cs1Label=listener cs1=imap cs6Label=hash cs6=1"
        );
        assert_eq!(cef(&record), expected);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for line in [
            "",
            "{}",
            "[]",
            r#"{"event":"login"}"#,
            r#"{"event":"login","time":"today"}"#,
        ] {
            assert!(record(line.as_bytes()).is_err(), "{line}");
        }
    }
}
