//! The text of `proxy.yaml`. What it points at is not read: a command would be run.

use std::path::Path;

use authrelay::config::{Config, LoadMode, Problem};

/// Stands in the seeds where a secret does. A problem never shows it, wherever it got to.
const SECRET: &str = "s3cret/of~Contoso";

/// The file's text, where it is UTF-8.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let outcome = check(text);
    match &outcome {
        Ok(checked) => {
            // A file without accounts is good: its status page shows the first steps.
            assert!(
                !checked.listeners.is_empty()
                    && (!checked.registrations.is_empty() || checked.accounts.is_empty())
            );
            assert_problems(&checked.warnings);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert_problems(problems);
        }
    }
    // A byte order mark means nothing.
    if !text.starts_with('\u{feff}') {
        let marked = check(&format!("\u{feff}{text}"));
        assert_eq!(format!("{marked:?}"), format!("{outcome:?}"));
    }
}

fn check(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, Path::new("proxy.yaml"), LoadMode::CheckWithoutSecrets)
}

/// One line each, in the order of their places, and without a secret.
fn assert_problems(problems: &[Problem]) {
    for problem in problems {
        let line = problem.to_string();
        assert!(
            !line.is_empty() && !line.chars().any(char::is_control),
            "{line:?}"
        );
        assert!(line.len() < 2000, "{line:?}");
        assert!(!line.contains(SECRET), "{line:?}");
        assert!(
            problem
                .place
                .is_none_or(|(line, column)| line > 0 && column > 0),
            "{line:?}"
        );
    }
    assert!(problems.is_sorted_by_key(|problem| problem.place));
}
