//! The JSON Schema of `proxy.yaml`, for editors that complete and check while one writes. It says
//! the same as the reader, which decides; a test holds their keys against each other.

use serde_json::{Value, json};

pub(super) fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "authrelay's proxy.yaml",
        "type": "object",
        "additionalProperties": false,
        "required": ["listeners", "registrations", "accounts"],
        "properties": {
            "state": state(),
            "log": log(),
            "audit": audit(),
            "admin": admin(),
            "limits": limits(),
            "listeners": {"type": "array", "minItems": 1, "items": listener()},
            "providers": {"type": "object", "additionalProperties": provider()},
            "registrations": {"type": "object", "additionalProperties": registration()},
            "accounts": {"type": "array", "minItems": 1, "items": account()},
        },
        "$defs": {
            "duration": {
                "type": "string",
                "description": "A time with its unit, as in 30s, 5m or 1h",
                "pattern": "^[0-9]+ ?[a-z]+( ?[0-9]+ ?[a-z]+)*$",
            },
            "source": {
                "type": "object",
                "additionalProperties": false,
                "minProperties": 1,
                "maxProperties": 1,
                "properties": {
                    "env": {"type": "string", "description": "A variable of the environment"},
                    "file": {"type": "string", "description": "A file, relative to this one"},
                    "command": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string"},
                        "description": "A program that prints it, and its arguments",
                    },
                },
            },
            "size": {
                "type": "string",
                "description": "A size with its unit, as in 35MB or 35MiB",
                "pattern": "^[0-9][0-9_]* ?([kKmMgGtT]?[bB]|[kKmMgG][iI][bB])$",
            },
            "addresses": {
                "description": "Addresses, *@domain, <> for the null sender, or *",
                "oneOf": [
                    {"type": "string"},
                    {"type": "array", "minItems": 1, "items": {"type": "string"}},
                ],
            },
            "secret": {"oneOf": [{"type": ["string", "number"]}, {"$ref": "#/$defs/source"}]},
            "client_secret": {
                "oneOf": [
                    {"$ref": "#/$defs/secret"},
                    {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["client"],
                        "properties": {"client": {
                            "enum": ["password"],
                            "description": "What the client presents is the secret",
                        }},
                    },
                ],
            },
            "networks": {
                "description": "Addresses and networks, as in 10.1.0.0/16",
                "oneOf": [
                    {"type": "string"},
                    {"type": "array", "minItems": 1, "items": {"type": "string"}},
                ],
            },
            "protocols": {
                "oneOf": [
                    {"$ref": "#/$defs/protocol"},
                    {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/protocol"}},
                ],
            },
            "protocol": {"enum": ["imap", "pop3", "smtp"]},
        },
    })
}

/// A section whose keys are known.
fn section(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn duration(description: &str) -> Value {
    json!({"$ref": "#/$defs/duration", "description": description})
}

fn string(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn state() -> Value {
    section(
        &[],
        json!({
            "directory": string("Where the tokens of consents are kept, mode 0700"),
            "key": {"$ref": "#/$defs/secret", "description": "What seals them; a file that is absent is made"},
            "store": {"enum": ["file"]},
        }),
    )
}

fn log() -> Value {
    section(
        &[],
        json!({
            "format": {"enum": ["text", "json"], "default": "json"},
            "level": {"enum": ["error", "warn", "info", "debug", "trace"], "default": "info"},
        }),
    )
}

fn audit() -> Value {
    let syslog = section(
        &["address"],
        json!({
            "address": string("Host and port of a syslog server, as in 127.0.0.1:6514"),
            "transport": {"enum": ["udp", "tcp", "tls"], "default": "tls"},
            "ca": {
                "description": "PEM files of authorities trusted besides the public ones",
                "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            },
        }),
    );
    section(
        &[],
        json!({
            "path": string("A file of JSON lines; - is stdout"),
            "envelope": {
                "type": "boolean",
                "default": true,
                "description": "SMTP senders, recipients, sizes and final replies",
            },
            "on_full": {
                "enum": ["continue", "refuse"],
                "default": "continue",
                "description": "What happens when records cannot be written: drop them, or refuse logins",
            },
            "syslog": syslog,
        }),
    )
}

fn admin() -> Value {
    let tls = section(
        &["certificate", "key"],
        json!({
            "certificate": string("Chain in PEM, leaf first"),
            "key": string("Private key in PEM"),
        }),
    );
    section(
        &["bind"],
        json!({
            "bind": string("Address and port, as in 127.0.0.1:8025; off loopback it wants tls"),
            "public_url": string("How browsers reach it; /oauth/callback below it is the redirect URI"),
            "tls": tls,
            "token": {"$ref": "#/$defs/secret"},
            "metrics_public": {"type": "boolean", "default": true},
        }),
    )
}

fn limits() -> Value {
    let count = |default: usize, description: &str| json!({"type": "integer", "minimum": 1, "default": default, "description": description});
    let lockout = section(
        &[],
        json!({
            "failures": count(10, "So many wrong passwords within the window lock"),
            "window": duration("How long a failure counts (10m)"),
            "duration": duration("How long a lock holds (5m)"),
        }),
    );
    section(
        &[],
        json!({
            "sessions": count(10_000, "Sessions on all listeners together"),
            "sessions_per_client": count(1_000, "Sessions of one client address"),
            "login_timeout": duration("From accept to the end of login (60s)"),
            "idle_timeout": duration("No byte either way after login (35m)"),
            "upstream_timeout": duration("Each step towards the mail service (20s)"),
            "drain_timeout": duration("From SIGTERM to the hard stop (30s)"),
            "lockout": lockout,
        }),
    )
}

fn listener() -> Value {
    let tls = section(
        &["mode"],
        json!({
            "mode": {"enum": ["none", "starttls", "implicit"]},
            "certificate": string("Chain in PEM, leaf first"),
            "key": string("Private key in PEM"),
            "client_ca": string("Authorities in PEM: clients must show a certificate of one"),
        }),
    );
    section(
        &["protocol", "bind"],
        json!({
            "name": string("In logs; default protocol-port"),
            "protocol": {"$ref": "#/$defs/protocol"},
            "bind": string("Address and port, as in 127.0.0.1:1143"),
            "provider": string("Whose capabilities are shown before login"),
            "tls": tls,
            "require_tls": {
                "type": "boolean",
                "default": true,
                "description": "With starttls: no credentials before TLS",
            },
            "allow": {"$ref": "#/$defs/networks"},
            "unauthenticated": string("SMTP: the login that devices use which cannot log in; wants allow"),
            "allow_cleartext": {
                "type": "boolean",
                "default": false,
                "description": "Passwords may cross a network in clear; wants allow",
            },
            "proxy_protocol": {
                "type": ["string", "array"],
                "items": {"type": "string"},
                "description": "Networks of load balancers whose PROXY header is required and believed",
            },
        }),
    )
}

fn provider() -> Value {
    let endpoint = section(
        &[],
        json!({
            "host": string("Host name, which the certificate must bear"),
            "port": {"type": "integer", "minimum": 1, "maximum": 65_535},
            "tls": {"enum": ["implicit", "starttls"]},
        }),
    );
    let url = string("https, or http to loopback; {tenant} is filled in");
    let egress = section(
        &["url"],
        json!({
            "url": string("http://HOST:PORT (CONNECT) or socks5://HOST:PORT"),
            "username": string("Where the proxy wants one"),
            "password": {"$ref": "#/$defs/secret"},
        }),
    );
    let limits = section(
        &[],
        json!({
            "connections": {"type": "integer", "minimum": 1, "description": "SMTP sessions of one mailbox at once (3)"},
            "messages_per_minute": {"type": "integer", "minimum": 1, "description": "Of one mailbox (30)"},
            "wait": duration("How long a client waits for its turn (25s)"),
        }),
    );
    section(
        &[],
        json!({
            "imap": endpoint,
            "pop3": endpoint,
            "smtp": endpoint,
            "authorize_url": url,
            "device_url": url,
            "token_url": url,
            "mechanism": {"enum": ["xoauth2", "oauthbearer"], "default": "xoauth2"},
            "ca": {
                "description": "PEM files of authorities trusted besides the public ones",
                "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            },
            "egress": egress,
            "ip": {"enum": ["any", "v4", "v6"], "default": "any"},
            "smtp_limits": limits,
            "token_margin": duration("What a token must have left for a new session (5m)"),
        }),
    )
}

fn registration() -> Value {
    let certificate = section(
        &["certificate", "key"],
        json!({
            "certificate": string("The certificate in PEM, as uploaded to the application"),
            "key": string("Its RSA key in PEM"),
            "passphrase": {"$ref": "#/$defs/secret"},
        }),
    );
    let federated = section(
        &[],
        json!({"file": string("The workload's identity token; default AZURE_FEDERATED_TOKEN_FILE")}),
    );
    let command = json!({
        "type": "array",
        "minItems": 1,
        "items": {"type": "string"},
        "description": "A program that prints a token, and its arguments",
    });
    section(
        &["provider", "grant"],
        json!({
            "provider": string("microsoft365, or a name under providers"),
            "tenant": string("Domain or id of the tenant"),
            "client_id": string("Application (client) id"),
            "grant": {"enum": [
                "client_credentials", "authorization_code", "device_code", "password",
                "service_account", "managed_identity", "command",
            ]},
            "client_secret": {"$ref": "#/$defs/client_secret"},
            "certificate": certificate,
            "federated": federated,
            "key": {"$ref": "#/$defs/secret", "description": "Google's JSON key of a service account"},
            "command": command,
            "url": string("Where the metadata service of managed_identity is"),
            "client_secret_expires": string("A date, as in 2027-05-01: warned of from 14 days before"),
            "scope": {
                "description": "What is asked for; default by provider and grant",
                "oneOf": [
                    {"type": "string"},
                    {"type": "array", "minItems": 1, "items": {"type": "string"}},
                ],
            },
        }),
    )
}

fn account() -> Value {
    let mailbox = string("Address of the mailbox");
    let by_protocol = section(
        &[],
        json!({"imap": mailbox, "pop3": mailbox, "smtp": string("Address of the mailbox, or sender: that of each MAIL")}),
    );
    let password = json!({
        "$ref": "#/$defs/secret",
        "description": "A hash from `authrelay hash-password`, a secret, or any",
    });
    let named = section(
        &["name", "password"],
        json!({
            "name": string("What it is for, in logs"),
            "password": password,
            "allow": {"$ref": "#/$defs/networks"},
            "protocols": {"$ref": "#/$defs/protocols"},
            "certificate": string("A host or address in the subjectAltName of the client's certificate"),
        }),
    );
    let smtp = section(
        &[],
        json!({
            "senders": {"$ref": "#/$defs/addresses"},
            "recipients": {"$ref": "#/$defs/addresses"},
            "max_size": {"$ref": "#/$defs/size"},
            "messages_per_minute": {"type": "integer", "minimum": 1},
            "from": {
                "enum": ["keep", "mailbox"],
                "default": "keep",
                "description": "mailbox: MAIL and From name it, Reply-To the original",
            },
            "line_ends": {
                "enum": ["keep", "crlf"],
                "default": "keep",
                "description": "crlf: repair bodies with bare LF, and take LF.LF for their end",
            },
        }),
    );
    section(
        &["login", "registration"],
        json!({
            "login": string("User name of the application, *@domain, or * for every address"),
            "registration": string("A name under registrations"),
            "mailbox": {"oneOf": [mailbox, by_protocol]},
            "password": password,
            "passwords": {"type": "array", "minItems": 1, "items": named},
            "protocols": {"$ref": "#/$defs/protocols"},
            "smtp": smtp,
        }),
    )
}
