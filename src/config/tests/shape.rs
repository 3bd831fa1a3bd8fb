//! The tree of the file, compared with another parser and the schema.

use super::*;
use crate::config::tree::{Node, Value, compose};

/// Converts a node to JSON as serde_yaml does, with scalars as text.
fn plain(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => "".into(),
        Value::Scalar(text) => text.as_str().into(),
        Value::Sequence(items) => items.iter().map(|item| plain(item)).collect(),
        Value::Mapping(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), plain(&entry.node)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// Parses the same file with serde_yaml, for comparison; scalars become text.
fn independent(text: &str) -> serde_json::Value {
    fn text_of(value: serde_yaml::Value) -> serde_json::Value {
        match value {
            serde_yaml::Value::Null => "".into(),
            serde_yaml::Value::Bool(value) => value.to_string().into(),
            serde_yaml::Value::Number(value) => value.to_string().into(),
            serde_yaml::Value::String(value) => value.into(),
            serde_yaml::Value::Sequence(items) => items.into_iter().map(text_of).collect(),
            serde_yaml::Value::Mapping(entries) => entries
                .into_iter()
                .map(|(key, value)| (key.as_str().unwrap().to_owned(), text_of(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            serde_yaml::Value::Tagged(tagged) => text_of(tagged.value),
        }
    }
    text_of(serde_yaml::from_str(text).unwrap())
}

#[test]
fn the_tree_agrees_with_serde_yaml() {
    for text in [
        GOOD,
        "a: &x {b: [1, two]}\nc: *x\nd: [*x, *x]",
        "a: |\n  two\n  lines\nb: >-\n  folded\n  text\n",
        "\"quoted \\\"key\\\"\": 'it''s'\nempty: ''\nnothing:\n",
        "- 1\n- [a, {b: c}]\n-\n  d: e\n",
        "--- # comment\na: \"\\u00e4\\n\" # more\n...\n",
    ] {
        let tree = compose(text).unwrap().unwrap();
        assert_eq!(plain(&tree), independent(text), "{text}");
    }
}

#[test]
fn places_count_from_one() {
    let text = "a:\n  - b: 1\n    \"c\": [x,\n      y]\n";
    let tree = compose(text).unwrap().unwrap();
    let Value::Mapping(root) = &tree.value else {
        panic!()
    };
    let Value::Sequence(items) = &root[0].node.value else {
        panic!()
    };
    let Value::Mapping(entries) = &items[0].value else {
        panic!()
    };
    let Value::Sequence(list) = &entries[1].node.value else {
        panic!()
    };
    let places = [
        root[0].place,
        items[0].place,
        entries[1].place,
        list[1].place,
    ];
    assert_eq!(places, [(1, 1), (2, 5), (3, 5), (4, 7)]);
}

#[test]
fn what_is_no_tree_is_refused_with_its_place() {
    for (text, expected) in [
        ("a: [1", "this is not valid YAML"),
        ("a: b\n---\nc: d\n", "a second document begins here"),
        ("a: &x [*x]\n", "this alias is inside its own anchor"),
        ("a: *nowhere\n", "this is not valid YAML"),
        ("? [a, b]\n: c\n", "a key must be a plain word"),
        ("a: !env HOME\n", "tags (!name) have no meaning here"),
        ("a: [b, , c]\n", ""),
    ] {
        let broken = compose(text).unwrap_err();
        assert!(broken.message.starts_with(expected), "{text}: {broken:?}");
        assert!(broken.place.0 >= 1 && broken.place.1 >= 1);
    }
    assert!(compose("").unwrap().is_none());
    assert!(compose("# nothing\n").unwrap().is_none());
    let empty = problems("# nothing\n");
    assert_eq!(
        empty,
        ["proxy.yaml: is empty; it needs listeners, registrations and accounts"]
    );
}

#[test]
fn bombs_do_not_go_off() {
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let broken = compose(&deep).unwrap_err();
    assert!(
        broken.message.contains("nested too deeply") || broken.message.contains("not valid YAML"),
        "{broken:?}"
    );
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let broken = compose(&laughs).unwrap_err();
    assert!(broken.message.contains("two million values"), "{broken:?}");
}
