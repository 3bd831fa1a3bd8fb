//! The reference and the schema, compared with the reader.

use serde_json::{Value as Json, json};

use super::*;

/// Whether a value is valid under a schema; covers the part of JSON Schema in use.
fn is_valid(schema: &Json, value: &Json) -> bool {
    let type_of = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    let is_type = |name: &Json| name == type_of || (name == "number" && type_of == "integer");
    schema
        .as_object()
        .unwrap()
        .iter()
        .all(|(key, rule)| match key.as_str() {
            "type" => match rule {
                Json::Array(names) => names.iter().any(is_type),
                name => is_type(name),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => rule
                .as_array()
                .unwrap()
                .iter()
                .any(|one| is_valid(one, value)),
            "pattern" => value.as_str().is_none_or(|text| {
                regex::Regex::new(rule.as_str().unwrap())
                    .unwrap()
                    .is_match(text)
            }),
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| number <= rule.as_f64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| is_valid(rule, item))),
            "required" => value.as_object().is_none_or(|object| {
                rule.as_array()
                    .unwrap()
                    .iter()
                    .all(|key| object.contains_key(key.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|object| {
                object
                    .iter()
                    .all(|(key, value)| rule.get(key).is_none_or(|rule| is_valid(rule, value)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|object| {
                object.iter().all(|(key, value)| {
                    schema["properties"].get(key).is_some()
                        || (rule != &json!(false) && is_valid(rule, value))
                })
            }),
            "$schema" | "title" | "description" | "default" => true,
            other => panic!("{other} is not understood here"),
        })
}

pub(super) fn by_schema(text: &str) -> bool {
    let value: Json = serde_yaml::from_str(text).unwrap();
    is_valid(&schema(), &value)
}

#[test]
fn a_good_file_is_good_by_the_schema_too() {
    assert!(by_schema(GOOD));
    assert!(!by_schema(&GOOD.replace("sessions: 20", "sesions: 20")));
    assert!(!by_schema(&GOOD.replace("sessions: 20", "sessions: 0")));
    assert!(!by_schema(&GOOD.replace("ip: v4", "ip: v5")));
}

/// One declaration per key, so that the schema accepts what the reader accepts.
#[test]
fn d45_the_schema_takes_what_the_reader_takes() {
    for (from, to, good) in [
        ("idle_timeout: 1h", "idle_timeout: 1h 30m", true),
        ("idle_timeout: 1h", "idle_timeout: '90min'", true),
        ("idle_timeout: 1h", "idle_timeout: 3600", false),
        ("idle_timeout: 1h", "idle_timeout: soon", false),
        (
            "{host: imap.contoso.com}",
            "{host: imap.contoso.com, port: '993'}",
            true,
        ),
        (
            "{host: imap.contoso.com}",
            "{host: imap.contoso.com, port: 993}",
            true,
        ),
        (
            "{host: imap.contoso.com}",
            "{host: imap.contoso.com, port: 0}",
            false,
        ),
        (
            "{host: imap.contoso.com}",
            "{host: imap.contoso.com, port: 99999}",
            false,
        ),
        ("Tickets@Contoso.com", "12345", true),
        ("Tickets@Contoso.com", "true", true),
        ("Tickets@Contoso.com", "[a]", false),
        ("sessions: 20", "sessions: '20_000'", true),
        ("sessions: 20", "sessions: '2 0'", false),
        ("require_tls: true", "require_tls: 'true'", true),
        ("require_tls: true", "require_tls: 'yes'", false),
        ("\"plain words\"", "123456", true),
        ("protocols: smtp", "protocols: [smtp, smtp]", true),
        ("protocols: smtp", "protocols: []", false),
        (
            "proxy_protocol: []",
            "proxy_protocol: 10.0.0.1\n    allow_cleartext: true",
            true,
        ),
        ("{env: PATH}", "{env: PATH, file: x}", false),
        ("{env: PATH}", "{client: me}", false),
        ("    ip: v4", "    ip: v4\n    token_margin: 10m", true),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replace(from, to);
        assert_eq!(
            parsed(&text).is_ok(),
            good,
            "the reader: {to}: {:?}",
            parsed(&text).err()
        );
        // Only the reader checks contradictions between keys.
        if to != "{env: PATH, file: x}" {
            assert_eq!(by_schema(&text), good, "the schema: {to}");
        }
    }
    // humantime decides about fractions.
    let fraction = GOOD.replace("idle_timeout: 1h", "idle_timeout: 1.5h");
    assert_eq!(parsed(&fraction).is_ok(), by_schema(&fraction));
}

/// An invalid default would break every file without its key.
#[test]
fn sections_without_keys_are_what_their_defaults_say() {
    let text = GOOD
        .replace("log: {format: text, level: debug}", "log: {}\nstate: {}\naudit: {path: '-', syslog: {address: 'a:1'}}\nadmin: {bind: '127.0.0.1:0'}\nnotify: [{events: reload, command: x}]")
        .replace("lockout: {failures: 3, window: 1m, duration: 30s}", "lockout: {}")
        .replace("    protocols: smtp\n", "    protocols: smtp\n    smtp: {}\n");
    let config = parsed(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(config.log, Log::default());
    assert_eq!(config.limits.lockout.failures, 10);
    assert_eq!(config.notify[0].timeout, Duration::from_secs(10));
    assert_eq!(config.reload, ReloadMode::Signal);
    assert!(config.admin.unwrap().metrics_public);
}

#[test]
fn every_key_has_its_line_in_the_reference() {
    let text = markdown();
    let mut walk = vec![schema()];
    let mut seen = 0;
    while let Some(at) = walk.pop() {
        for (name, property) in at["properties"].as_object().into_iter().flatten() {
            if !matches!(name.as_str(), "env" | "client") {
                seen += 1;
                let line = text.lines().find(|line| {
                    let key = line.split('`').nth(1).unwrap_or_default();
                    line.starts_with("| `") && (key == name || key.ends_with(&format!(".{name}")))
                });
                assert!(line.is_some(), "{name} has no line in\n{text}");
            }
            walk.push(property.clone());
        }
        let inside = ["additionalProperties", "items"].map(|key| at[key].clone());
        walk.extend(inside.into_iter().filter(Json::is_object));
        walk.extend(at["anyOf"].as_array().into_iter().flatten().cloned());
    }
    assert!(seen > 110, "{seen}");
    assert!(
        text.lines().all(|line| line.matches(" | ").count() < 5),
        "{text}"
    );
}
