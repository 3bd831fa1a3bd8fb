//! The text of an `emailproxy.config`, which may come from anywhere. Whatever comes of it is
//! YAML, whose comments stay comments.

use std::path::Path;

use authrelay::config::{Config, LoadMode};
use authrelay::import;

/// The file's text, where it is UTF-8.
pub fn import(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let imported = match import::import(text, &[]) {
        Ok(imported) => imported,
        Err(why) => return assert_line(&why),
    };
    for note in &imported.notes {
        assert_line(note);
        assert!(imported.yaml.contains(&format!("# - {note}\n")), "{note:?}");
    }
    let (comments, body) = imported.yaml.split_once("\n\n").unwrap();
    assert!(comments.lines().all(|line| line.starts_with('#')));
    assert!(
        body.starts_with("admin:") || body.starts_with("listeners:"),
        "{body:?}"
    );
    // It may want to be completed, but it is read: what is wrong is said key by key.
    if let Err(problems) = Config::parse(
        &imported.yaml,
        Path::new("proxy.yaml"),
        LoadMode::CheckWithoutSecrets,
    ) {
        for problem in problems {
            assert_ne!(problem.path, "proxy.yaml", "{problem}: {}", imported.yaml);
            assert!(
                !problem.message.contains("is not a known key"),
                "{problem}: {}",
                imported.yaml
            );
            assert!(
                !problem.message.contains("second time"),
                "{problem}: {}",
                imported.yaml
            );
        }
    }
}

fn assert_line(text: &str) {
    assert!(
        !text.is_empty() && !text.chars().any(char::is_control),
        "{text:?}"
    );
}
