//! Quoting for PowerShell.

use super::*;

#[test]
fn names_cannot_leave_their_quotes() {
    assert_eq!(quoted("o'brien"), "'o''brien'");
    assert_eq!(list(["a".into(), "b".into()]), "@('a', 'b')");
    assert_eq!(list([]), "@()");
}
