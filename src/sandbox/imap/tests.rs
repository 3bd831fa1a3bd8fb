//! Sets of numbers, and the sections that FETCH names.

use super::command::members;
use super::fetch::{Item, items};
use crate::sandbox::imap::command::Word;

#[test]
fn sets_name_members_of_what_exists() {
    let all = [2, 3, 5, 8];
    assert_eq!(members("*", &all), Some(vec![8]));
    assert_eq!(members("1:3,8", &all), Some(vec![2, 3, 8]));
    assert_eq!(members("*:5", &all), Some(vec![5, 8]));
    assert_eq!(members("9:*", &all), Some(vec![8]));
    assert_eq!(members("7", &all), Some(vec![]));
    assert_eq!(members("x", &all), None);
    assert_eq!(members("0", &all), None);
}

#[test]
fn sections_are_answered_under_their_own_name() {
    let atom = Word::Atom("body.peek[header.fields (From)]<2.10>".to_owned());
    let item = Item::Body {
        label: "BODY[HEADER.FIELDS (FROM)]<2>".to_owned(),
        section: "HEADER.FIELDS (FROM)".to_owned(),
        partial: Some((2, 10)),
        peek: true,
    };
    assert_eq!(items(&atom), Some(vec![item]));
    assert_eq!(items(&Word::Atom("NONSENSE".to_owned())), None);
}
