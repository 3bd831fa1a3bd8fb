//! Rewrites a message's header for `from: mailbox`: From names the mailbox, the original sender
//! moves to Reply-To, and everything else is unchanged.
//!
//! Nothing is inserted between a line end and a dot, so a message without CRLF.CRLF never gets one.

use super::super::framing::{has_cr, line_part, without_line_end};

/// Longest From field, and longest line checked for one, in octets.
const FIELD: usize = 16 * 1024;

/// Error: the From field is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// A header that is being rewritten.
#[derive(Debug, Default)]
pub(super) struct HeaderRewriter {
    mailbox: String,
    /// Address in MAIL, used as the original sender if the message has no From.
    sender: String,
    /// Whether a line with a single dot ends the message (DATA).
    dots: bool,
    /// Incomplete line.
    line: Vec<u8>,
    /// The From field, whose continuation may follow.
    from: Vec<u8>,
    /// Whether the current line is too long to be checked.
    long: bool,
    cr: bool,
    /// Whether the last octets were CRLF, or none have arrived.
    crlf: bool,
    /// Whether no line has arrived yet.
    first: bool,
    has_from: bool,
    has_reply_to: bool,
    /// Body of the first From field if it names another sender.
    original: Option<Vec<u8>>,
    done: bool,
}

impl HeaderRewriter {
    pub(super) fn new(mailbox: &str, sender: &str, dots: bool) -> Self {
        Self {
            mailbox: mailbox.to_owned(),
            sender: sender.to_owned(),
            dots,
            crlf: true,
            first: true,
            ..Self::default()
        }
    }

    /// Whether the header is complete and the rest is body.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Consumes octets up to the end of the header and appends their replacement to `out`. Returns
    /// how many were consumed.
    pub(super) fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, TooLong> {
        let mut at = 0;
        while !self.done {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let (part, complete) = line_part(rest);
            at += part.len();
            if self.long {
                out.extend_from_slice(part);
                self.long = !complete;
                self.cr = has_cr(part, self.cr);
                self.crlf = complete && self.cr;
                continue;
            }
            self.line.extend_from_slice(part);
            if self.line.len() + self.from.len() > FIELD {
                self.too_long(complete, out)?;
            } else if complete {
                let line = std::mem::take(&mut self.line);
                self.line_came(&line, out);
            }
        }
        Ok(at)
    }

    /// Ends the message, whether its header was complete or not.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.done {
            return;
        }
        if !self.line.is_empty() {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(b"\r\n");
            self.line_came(&line, out);
        }
        if !self.done {
            self.flush_from(out);
            self.add_missing(out);
            self.done = true;
        }
    }

    fn too_long(&mut self, complete: bool, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        let continued = !self.first && is_continuation(&line);
        if is_field(&line, "From") || (continued && !self.from.is_empty()) {
            return Err(TooLong);
        }
        if complete || (!continued && name_length(&line).is_none()) {
            self.line_came(&line, out);
            return Ok(());
        }
        self.flush_from(out);
        self.has_reply_to |= is_field(&line, "Reply-To");
        out.extend_from_slice(&line);
        self.long = true;
        self.cr = line.ends_with(b"\r");
        self.first = false;
        Ok(())
    }

    fn line_came(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let first = std::mem::replace(&mut self.first, false);
        let after_crlf = std::mem::replace(&mut self.crlf, line.ends_with(b"\r\n"));
        if !first && is_continuation(line) {
            match self.from.is_empty() {
                true => out.extend_from_slice(line),
                false => self.from.extend_from_slice(line),
            }
            return;
        }
        self.flush_from(out);
        let ends = matches!(line, b"\r\n" | b"\n") || (self.dots && after_crlf && line == b".\r\n");
        if is_field(line, "From") {
            self.has_from = true;
            self.from.extend_from_slice(line);
            return;
        }
        if !ends && name_length(line).is_some() {
            self.has_reply_to |= is_field(line, "Reply-To");
            out.extend_from_slice(line);
            return;
        }
        // The body follows, perhaps without an empty line.
        self.done = true;
        if line.starts_with(b".") && !after_crlf {
            // After CRLF this dot would have another meaning.
        } else {
            self.add_missing(out);
            if first && !ends {
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(line);
    }

    /// Writes the From field, which is complete now.
    fn flush_from(&mut self, out: &mut Vec<u8>) {
        let field = std::mem::take(&mut self.from);
        let Some(colon) = memchr::memchr(b':', &field) else {
            return;
        };
        let (name, body) = field.split_at(colon + 1);
        let (body, line_end) = body.split_at(without_line_end(body).len());
        let (phrase, address) = parts(body);
        if address.eq_ignore_ascii_case(self.mailbox.as_bytes()) {
            out.extend_from_slice(&field);
            self.original.get_or_insert_default();
            return;
        }
        out.extend_from_slice(name);
        out.extend_from_slice(phrase);
        if !phrase.ends_with(b" ") && !phrase.ends_with(b"\t") {
            out.push(b' ');
        }
        out.push(b'<');
        out.extend_from_slice(self.mailbox.as_bytes());
        out.push(b'>');
        out.extend_from_slice(line_end);
        self.original.get_or_insert_with(|| body.to_vec());
    }

    fn add_missing(&mut self, out: &mut Vec<u8>) {
        let other = !self.sender.eq_ignore_ascii_case(&self.mailbox);
        if !self.has_from {
            out.extend_from_slice(format!("From: <{}>\r\n", self.mailbox).as_bytes());
            if other && !self.sender.is_empty() {
                self.original = Some(format!(" <{}>", self.sender).into_bytes());
            }
        }
        let original = self.original.take().unwrap_or_default();
        if !self.has_reply_to && !original.trim_ascii().is_empty() {
            out.extend_from_slice(b"Reply-To:");
            out.extend_from_slice(&original);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Length of a field's name (RFC 5322 §2.2), if the line begins a field.
fn name_length(line: &[u8]) -> Option<usize> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    let good = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    good.then_some(name.len())
}

/// Whether the line continues a folded field (RFC 5322 §2.2.3).
fn is_continuation(line: &[u8]) -> bool {
    line.starts_with(b" ") || line.starts_with(b"\t")
}

fn is_field(line: &[u8], name: &str) -> bool {
    name_length(line)
        .and_then(|length| line.get(..length))
        .is_some_and(|own| own.eq_ignore_ascii_case(name.as_bytes()))
}

/// Splits a field body into the phrase before a single `<address>` (empty unless it is a plain
/// phrase) and the address (empty unless there is exactly one).
fn parts(body: &[u8]) -> (&[u8], &[u8]) {
    let trimmed = body.trim_ascii();
    let Some(inner) = trimmed.strip_suffix(b">") else {
        let single = !trimmed.iter().any(|octet| b" \t\r\n,;<>()".contains(octet));
        return (b"", if single { trimmed } else { b"" });
    };
    let Some(open) = memchr::memrchr(b'<', inner) else {
        return (b"", b"");
    };
    let (phrase, address) = inner.split_at(open);
    let address = address.get(1..).unwrap_or_default().trim_ascii();
    let mut quoted = false;
    for octet in phrase {
        match octet {
            b'"' => quoted = !quoted,
            b'\\' => return (b"", b""),
            b',' | b';' | b':' | b'<' | b'>' | b'@' | b'(' | b')' if !quoted => return (b"", b""),
            _ => {}
        }
    }
    let start = body.len() - body.trim_ascii_start().len();
    let name = body.get(..start + phrase.len()).unwrap_or_default();
    match (quoted, phrase.trim_ascii().is_empty()) {
        (false, false) => (name, address),
        (false, true) => (b"", address),
        (true, _) => (b"", b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(message: &str, dots: bool, cut: usize) -> String {
        let mut header = HeaderRewriter::new("box@contoso.test", "root@localhost", dots);
        let mut out = Vec::new();
        let (head, tail) = message.as_bytes().split_at(cut);
        for part in [head, tail] {
            let taken = header.take(part, &mut out).unwrap();
            out.extend_from_slice(&part[taken..]);
        }
        header.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn from_names_the_mailbox_and_reply_to_the_original() {
        for (message, expected) in [
            (
                "Subject: x\r\nFrom: Scanner <root@localhost>\r\nTo: a@b\r\n\r\nbody\r\n",
                "Subject: x\r\nFrom: Scanner <box@contoso.test>\r\nTo: a@b\r\nReply-To: Scanner <root@localhost>\r\n\r\nbody\r\n",
            ),
            (
                "From: root@localhost\r\n\r\n",
                "From: <box@contoso.test>\r\nReply-To: root@localhost\r\n\r\n",
            ),
            (
                "fROM : \"A, B\"\r\n <root@localhost>\r\nreply-to: c@d\r\n\r\nFrom: x\r\n",
                "fROM : \"A, B\"\r\n <box@contoso.test>\r\nreply-to: c@d\r\n\r\nFrom: x\r\n",
            ),
            (
                "From: A <a@b>, C <c@d>\r\n\r\n",
                "From: <box@contoso.test>\r\nReply-To: A <a@b>, C <c@d>\r\n\r\n",
            ),
            (
                "From: Box <BOX@contoso.test>\r\n\r\nx",
                "From: Box <BOX@contoso.test>\r\n\r\nx",
            ),
            (
                "Subject: none\r\n\r\nx",
                "Subject: none\r\nFrom: <box@contoso.test>\r\nReply-To: <root@localhost>\r\n\r\nx",
            ),
            (
                "no header at all\r\n",
                "From: <box@contoso.test>\r\nReply-To: <root@localhost>\r\n\r\nno header at all\r\n",
            ),
            (
                "From: a@b\nTo: c\n\nbody\n",
                "From: <box@contoso.test>\nTo: c\nReply-To: a@b\r\n\nbody\n",
            ),
            ("X: y\n.\r\n\r\n", "X: y\n.\r\n\r\n"),
        ] {
            for cut in 0..=message.len() {
                assert_eq!(rewritten(message, true, cut), expected, "cut at {cut}");
            }
        }
        assert_eq!(
            rewritten("From: a@b\r\n.\r\n", true, 4),
            "From: <box@contoso.test>\r\nReply-To: a@b\r\n.\r\n"
        );
        assert_eq!(
            rewritten("From: a@b", false, 4),
            "From: <box@contoso.test>\r\nReply-To: a@b\r\n"
        );
    }

    #[test]
    fn long_lines_pass_but_for_an_endless_from() {
        let mut header = HeaderRewriter::new("box@contoso.test", "", true);
        let mut out = Vec::new();
        let long = format!("Subject: {}\r\nFrom: x\r\n\r\n", "x".repeat(3 * FIELD));
        for piece in long.as_bytes().chunks(1000) {
            header.take(piece, &mut out).unwrap();
        }
        let expected = long.replace("From: x\r\n", "From: <box@contoso.test>\r\nReply-To: x\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        // A dot after a long line ends the message wherever the input is cut.
        let long = format!("Subject: {}\r\n.\r\n", "x".repeat(FIELD));
        let expected = long.replace("\r\n.", "\r\nFrom: <box@contoso.test>\r\n.");
        for cut in FIELD..long.len() {
            let mut header = HeaderRewriter::new("box@contoso.test", "", true);
            let mut out = Vec::new();
            let (head, tail) = long.as_bytes().split_at(cut);
            for piece in [head, tail] {
                header.take(piece, &mut out).unwrap();
            }
            assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {cut}");
        }
        let mut header = HeaderRewriter::new("box@contoso.test", "", true);
        let endless = format!("From: {}", "x".repeat(2 * FIELD));
        assert_eq!(
            header.take(endless.as_bytes(), &mut Vec::new()),
            Err(TooLong)
        );
    }
}
