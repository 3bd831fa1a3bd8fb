//! One thing that is wrong in the file.

use std::fmt;

/// One thing that is wrong (or, as a warning, unwise) in the file.
///
/// Displayed as `path.to.key: what is wrong (line L, column C)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key path, as in `accounts[0].password`; empty for the file as a whole.
    pub path: String,
    /// Description of the problem and of what to write instead; never a secret's value.
    pub message: String,
    /// Line and column, both from 1; absent where the file itself cannot be read.
    pub place: Option<(usize, usize)>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match self.place {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}
