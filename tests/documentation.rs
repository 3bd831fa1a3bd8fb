//! What the README and the sample say, held against the program: configurations are taken, every
//! key and command is named.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use authrelay::config::{Config, LoadMode, schema};

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root(name)).unwrap()
}

#[test]
fn the_sample_is_taken_as_it_is() {
    let checked = Config::load(&root("proxy.yaml"), LoadMode::CheckWithoutSecrets)
        .unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!((checked.listeners.len(), checked.accounts.len()), (3, 1));
    assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
}

/// The README's registrations, each with an account.
#[test]
fn the_readmes_registrations_are_taken() {
    let readme = read("README.md");
    let (_, block) = readme.split_once("```yaml\n").unwrap();
    let block = block.split_once("```").unwrap().0;
    let names: Vec<_> = block
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.trim().split(':').next().unwrap())
        .collect();
    assert_eq!(names.len(), 9, "{names:?}");
    let mut text = String::from(
        "listeners: [{protocol: imap, bind: '127.0.0.1:1143', provider: microsoft365}]\n",
    );
    text.push_str(block);
    text.push_str("accounts:\n");
    for name in names {
        let password = if name == "old-way" {
            ""
        } else {
            ", password: p"
        };
        text.push_str(&format!(
            "  - {{login: {name}@contoso.com, registration: {name}{password}}}\n"
        ));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.yaml");
    std::fs::write(&path, &text).unwrap();
    Config::load(&path, LoadMode::CheckWithoutSecrets)
        .unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
}

#[test]
fn every_key_is_explained() {
    let readme = read("README.md");
    let mut walk = vec![schema()];
    let mut seen = 0;
    while let Some(at) = walk.pop() {
        for (name, property) in at["properties"].as_object().into_iter().flatten() {
            seen += 1;
            assert!(readme.contains(name.as_str()), "{name} is not in README.md");
            walk.push(property.clone());
        }
        let inside = ["additionalProperties", "items"].map(|key| at[key].clone());
        walk.extend(inside.into_iter().filter(serde_json::Value::is_object));
        walk.extend(at["anyOf"].as_array().into_iter().flatten().cloned());
    }
    assert!(seen > 110, "{seen}");
}

/// The reference is printed by the program, so that it says what the reader takes.
#[test]
fn the_reference_is_what_the_program_prints() {
    let readme = read("README.md");
    let reference = authrelay::config::markdown();
    assert!(
        readme.contains(&format!("\n\n{reference}\n<!-- end -->")),
        "put what `authrelay schema --markdown` prints into README.md"
    );
}

#[test]
fn every_command_is_explained() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands: Vec<_> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.trim().split(' ').next().unwrap())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() >= 14, "{commands:?}");
    let readme = read("README.md");
    for command in commands {
        let named = readme.contains(&format!("| `{command}"))
            || readme.contains(&format!("`, `{command}`"))
            || readme.contains(&format!("`{command}`"));
        assert!(named, "{command} is not in README.md");
    }
}

/// Every page of the tree, relative to it.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    let mut folders = vec![root("")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !path.is_symlink() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "md") {
                let page = path.strip_prefix(root("")).unwrap();
                pages.push(page.to_str().unwrap().to_owned());
            }
        }
    }
    pages.sort();
    pages
}

/// A page without its blocks of code.
fn prose(text: &str) -> String {
    let mut inside = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The anchors of a page's headings, as web views of repositories make them.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for line in prose(text).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            letter if letter.is_alphanumeric() || letter == '-' || letter == '_' => Some(letter),
            _ => None,
        });
        let anchor: String = kept.collect();
        let again = anchors.iter().filter(|other| **other == anchor).count();
        anchors.push(match again {
            0 => anchor,
            again => format!("{anchor}-{again}"),
        });
    }
    anchors
}

/// Targets of a page's links within the tree, the one to a page itself empty, and their anchors.
fn links(text: &str) -> Vec<(String, Option<String>)> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.contains(['`', ' ']))
        .map(|target| match target.split_once('#') {
            Some((file, anchor)) => (file.to_owned(), Some(anchor.to_owned())),
            None => (target.to_owned(), None),
        })
        .collect()
}

/// Links between the pages lead to files and headings that exist.
#[test]
fn links_lead_somewhere() {
    let pages = pages();
    assert!(pages.len() > 30, "{pages:?}");
    for page in pages {
        let text = read(&page);
        let folder = root(&page).parent().unwrap().to_owned();
        for (file, anchor) in links(&text) {
            let target = match file.is_empty() {
                true => root(&page),
                false => folder.join(&file),
            };
            assert!(target.exists(), "{page}: {file}");
            if let Some(anchor) = anchor {
                let anchors = anchors(&std::fs::read_to_string(target).unwrap());
                assert!(anchors.contains(&anchor), "{page}: {file}#{anchor}");
            }
        }
    }
}

/// The manual lists every page, and every page links back to it; the README links it first.
#[test]
fn the_manual_has_every_page() {
    let manual = read("docs/README.md");
    let readme = links(&read("README.md"));
    assert_eq!(readme[0].0, "docs/README.md");
    let listed = |page: &str, from: &str| links(&read(from)).iter().any(|(file, _)| file == page);
    let mut seen = 0;
    for page in pages() {
        let (from, link, back) = if let Some(name) = page.strip_prefix("docs/applications/") {
            let page = if name == "README.md" {
                "docs/README.md"
            } else {
                "docs/applications/README.md"
            };
            let link = if name == "README.md" {
                "applications/README.md"
            } else {
                name
            };
            (page, link.to_owned(), "../README.md")
        } else if let Some(name) = page.strip_prefix("docs/") {
            ("docs/README.md", name.to_owned(), "README.md")
        } else if page.starts_with("deploy/") {
            let up = "../".repeat(page.matches('/').count());
            assert!(
                read(&page).contains(&format!("{up}docs/README.md")),
                "{page}"
            );
            assert!(manual.contains(&format!("](../{page})")), "{page}");
            continue;
        } else {
            continue;
        };
        if page != "docs/README.md" {
            assert!(listed(&link, from), "{from} does not list {page}");
            assert!(listed(back, &page), "{page} does not link back");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// Each alert has a runbook, at the place that it names, and each runbook an alert.
#[test]
fn each_alert_has_its_runbook() {
    let rules = read("deploy/prometheus/alerts.yaml");
    let values = |key: &str| -> Vec<String> {
        let lines = rules.lines().map(str::trim);
        let values = lines.filter_map(|line| line.strip_prefix(key));
        values.map(|value| value.trim().to_owned()).collect()
    };
    let alerts = values("- alert:");
    assert!(alerts.len() > 20, "{alerts:?}");
    let base = "https://docs.example.com/authrelay/runbooks.md#";
    let expected: Vec<_> = alerts
        .iter()
        .map(|alert| format!("{base}{}", alert.to_lowercase()))
        .collect();
    assert_eq!(values("runbook_url:"), expected);
    let page = read("docs/runbooks.md");
    let headings: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## Authrelay"))
        .map(|rest| format!("Authrelay{rest}"))
        .collect();
    assert_eq!(headings, alerts, "in the order of the alerts");
    for part in page.split("\n## Authrelay").skip(1) {
        for what in ["**Means.**", "**See.**", "**Do.**", "**Over**"] {
            let there = part.contains(what) || (what == "**Do.**" && part.contains("| do |"));
            assert!(there, "{what}: {part}");
        }
    }
}

/// Each claim of `docs/security.md` names tests; they are there.
#[test]
fn every_test_that_a_claim_names_exists() {
    let page = read("docs/security.md");
    let mut sources = String::new();
    let mut folders = vec![root("tests"), root("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|end| end == "rs" || end == "py")
            {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let names = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.matches('_').count() >= 3 && !name.contains(['/', '.', ' ']));
    let mut seen = 0;
    for name in names {
        let there =
            sources.contains(&format!("fn {name}(")) || sources.contains(&format!("def {name}("));
        assert!(there, "{name} is no test");
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}
