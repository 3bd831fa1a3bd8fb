//! Files as written by editors and shells on Windows.

use super::*;

/// Encodings of a text: CRLF, a byte order mark, UTF-16.
fn forms(text: &str) -> [Vec<u8>; 4] {
    let crlf = text.replace('\n', "\r\n");
    let marked = format!("\u{feff}{crlf}");
    let units = marked.encode_utf16();
    [
        text.as_bytes().to_vec(),
        crlf.into_bytes(),
        marked.clone().into_bytes(),
        units.flat_map(u16::to_le_bytes).collect(),
    ]
}

#[test]
fn f21_files_and_secrets_written_on_windows_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.yaml");
    let text = GOOD.replace("{env: PATH}", "{file: app secret.txt}");
    for (yaml, secret) in forms(&text).into_iter().zip(forms("geheim+Zoë\n")) {
        std::fs::write(&path, yaml).unwrap();
        std::fs::write(directory.path().join("app secret.txt"), secret).unwrap();
        let config =
            Config::load(&path, LoadMode::Run).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(secret_of(&config.registrations["helpdesk"]), "geheim+Zoë");
    }
    std::fs::write(&path, b"listeners: [\xe9\xe8]\n").unwrap();
    let problems = Config::load(&path, LoadMode::Run).unwrap_err();
    assert!(
        problems[0].to_string().contains("is not UTF-8"),
        "{problems:?}"
    );
}

#[test]
fn f21_certificates_with_a_mark_and_crlf_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let authority = crate::certs::Authority::new("test").unwrap();
    let issued = authority.issue(&crate::certs::loopback_names()).unwrap();
    for (certificate, key) in forms(&issued.chain).into_iter().zip(forms(&issued.key)) {
        let files = crate::tls::CertificateFiles {
            certificate: directory.path().join("server.pem"),
            key: directory.path().join("server.key"),
            client_ca: None,
        };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        files.read().unwrap();
    }
}
