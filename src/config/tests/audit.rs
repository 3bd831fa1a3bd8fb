//! `audit`.

use super::*;

fn with(audit: &str) -> Result<Config, Vec<Problem>> {
    parsed(&format!("{GOOD}audit: {audit}\n"))
}

#[test]
fn records_go_where_the_file_says() {
    let audit = with("{path: audit.jsonl}").unwrap().audit.unwrap();
    assert_eq!(audit.path, Some(AuditPath::File("audit.jsonl".into())));
    assert_eq!((audit.envelope, audit.on_full), (true, OnFull::Continue));
    let text = "{path: '-', envelope: false, on_full: refuse, syslog: {address: '[::1]:514', transport: udp}}";
    let other = with(text).unwrap().audit.unwrap();
    assert_eq!(other.path, Some(AuditPath::Stdout));
    let server = other.syslog.as_ref().unwrap();
    assert_eq!(server.address.to_string(), "[::1]:514");
    assert_eq!(audit.changes(&audit), [""; 0]);
    assert_eq!(
        audit.changes(&other),
        [
            "audit.path",
            "audit.envelope",
            "audit.on_full",
            "audit.syslog"
        ]
    );
    let server = with("{syslog: {address: 'logs.example.com:6514'}}");
    let server = server.unwrap().audit.unwrap().syslog.unwrap();
    assert!(matches!(server.transport, SyslogTransport::Tls));
}

#[test]
fn mistakes() {
    for (audit, expected) in [
        (
            "{envelope: true}",
            "audit: has neither path nor syslog nor http: nothing would be recorded",
        ),
        ("{path: src}", "audit.path: is a folder; name a file in it"),
        (
            "{syslog: {transport: udp}}",
            "audit.syslog.address: is missing",
        ),
        (
            "{syslog: {address: '::1:514'}}",
            "audit.syslog.address: must be a host and a port",
        ),
        (
            "{syslog: {address: 'logs:0'}}",
            "audit.syslog.address: must be a host and a port",
        ),
        (
            "{syslog: {address: 'logs:514', transport: tcp, ca: []}}",
            "audit.syslog.ca: has no effect without transport: tls",
        ),
        (
            "{syslog: {address: 'logs:514', ca: nowhere.pem}}",
            "audit.syslog.ca: cannot read nowhere.pem",
        ),
        ("{paths: x}", "audit.paths: "),
    ] {
        let problems = with(audit).unwrap_err();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let said = problems.iter().any(|problem| problem.starts_with(expected));
        assert!(said, "{audit}: {problems:?}");
    }
}
