//! Problems of the file.

use std::fmt;

/// One problem (or warning) of the file.
///
/// Formatted as `path.to.key: what is wrong (line L, column C)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key path such as `accounts[0].password`; empty for the whole file.
    pub path: String,
    /// The problem and what to write instead; never a secret's value.
    pub message: String,
    /// Line and column, both from 1; `None` if the file cannot be read.
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
