//! What the README and the sample say, held against the program: configurations are taken, every
//! key and command is named.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use authrelay::config::{Secrets, check, schema};

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root(name)).unwrap()
}

#[test]
fn the_sample_is_taken_as_it_is() {
    let checked = check(&root("proxy.yaml"), Secrets::Skip)
        .unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!((checked.listeners, checked.accounts), (3, 1));
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
    check(&path, Secrets::Skip).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
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

/// Links between the pages lead somewhere.
#[test]
fn links_lead_somewhere() {
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "docs/applications/README.md",
        "docs/audit.md",
        "docs/applications/motadata-aiops.md",
        "docs/applications/kaseya-bms.md",
        "docs/applications/smarthost.md",
        "docs/applications/vcenter.md",
        "docs/devices.md",
        "deploy/old-tls/README.md",
        "deploy/queue/README.md",
    ];
    for page in pages {
        let text = read(page);
        let folder = root(page).parent().unwrap().to_owned();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = target.split('#').next().unwrap();
            if !target.starts_with("http") && !target.is_empty() {
                assert!(folder.join(target).exists(), "{page}: {target}");
            }
        }
    }
}

/// Each claim of `docs/security.md` names tests; they are there.
#[test]
fn every_test_that_a_claim_names_exists() {
    let page = read("docs/security.md");
    let mut sources = String::new();
    let mut folders = vec![root("tests")];
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
