//! Lines of audit files, which may be anything: read one at a time and up to a bound.

use std::io::{self, BufRead, Read as _};

/// Longest line that can be a record, in octets.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Result of reading a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The file has ended.
    End,
    /// The line is there as a whole; the last one of a file may have no LF.
    Whole,
    /// The line is too long for a record; its rest has been skipped.
    TooLong,
}

/// Reads the next line, with its LF, into `line`.
///
/// # Errors
///
/// The file cannot be read.
pub fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let count = file.by_ref().take(LONGEST).read_until(b'\n', line)?;
    if count == 0 {
        return Ok(Line::End);
    }
    if line.ends_with(b"\n") || (count as u64) < LONGEST {
        return Ok(Line::Whole);
    }
    match file.skip_until(b'\n')? {
        0 => Ok(Line::Whole),
        _ => Ok(Line::TooLong),
    }
}
