//! Addresses of an SMTP envelope, and patterns that match addresses.

/// Longest address, in octets: RFC 5321 §4.5.3.1 allows 256, some services more.
const CAP: usize = 320;

/// The path of a MAIL or RCPT command, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'a> {
    /// Address without angle brackets; empty for the null sender.
    pub address: &'a str,
    /// Parameters as sent, without the space before them: `SIZE=1000 BODY=8BITMIME`.
    pub parameters: &'a str,
}

impl<'a> Path<'a> {
    /// Parses the argument of MAIL or RCPT, such as `FROM:<a@b> SIZE=1`. `keyword` is `FROM:` or
    /// `TO:`.
    ///
    /// `Reverse-path / Forward-path` (RFC 5321 §4.1.2). Source routes are refused, since they would
    /// hide the recipient. Angle brackets may be missing or follow a space, as some devices send
    /// them.
    pub fn parse(argument: &'a [u8], keyword: &str) -> Option<Self> {
        let text = std::str::from_utf8(argument).ok()?.trim_ascii();
        let (head, rest) = text.split_at_checked(keyword.len())?;
        if !head.eq_ignore_ascii_case(keyword) || text.chars().any(char::is_control) {
            return None;
        }
        let rest = rest.trim_ascii_start();
        let (address, parameters) = match rest.strip_prefix('<') {
            Some(inner) => inner.split_at_checked(address_length(inner)?)?,
            None => rest.split_at_checked(address_length(rest)?)?,
        };
        let parameters = match rest.starts_with('<') {
            true => parameters.strip_prefix('>')?,
            // An empty path without brackets is not the null sender.
            false if address.is_empty() => return None,
            false => parameters,
        };
        let apart = parameters.is_empty() || parameters.starts_with(' ');
        (apart && address.len() <= CAP).then(|| Self {
            address,
            parameters: parameters.trim_ascii(),
        })
    }

    /// Whether each parameter has the form `esmtp-keyword ["=" esmtp-value]` (RFC 5321 §4.1.2), so
    /// that none of them can be read as another path.
    pub fn has_valid_parameters(&self) -> bool {
        let is_valid = |word: &str| {
            let keyword = word.split_once('=').map_or(word, |(keyword, _)| keyword);
            keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
                && keyword
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        self.parameters.split_ascii_whitespace().all(is_valid)
    }

    /// Returns the value of a parameter, or `None` if the parameter is absent.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.split_ascii_whitespace().find_map(|word| {
            let (keyword, value) = word.split_once('=').unwrap_or((word, ""));
            keyword.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Length of the address at the beginning of `text`, in octets; 0 if there is none.
fn address_length(text: &str) -> Option<usize> {
    let local = match text.strip_prefix('"') {
        Some(quoted) => 1 + quoted_length(quoted)?,
        None => run(text, is_atom),
    };
    let Some(domain) = text.get(local..)?.strip_prefix('@') else {
        // A path without a domain: `<>` or `<postmaster>`.
        return Some(local);
    };
    let length = match domain.strip_prefix('[') {
        Some(literal) => {
            let inner = run(literal, |c| c.is_ascii_alphanumeric() || ":.-".contains(c));
            literal
                .get(inner..)?
                .starts_with(']')
                .then_some(inner + 2)?
        }
        None => run(domain, |c| {
            c.is_ascii_alphanumeric() || "-._".contains(c) || !c.is_ascii()
        }),
    };
    (local > 0 && length > 0).then_some(local + 1 + length)
}

fn run(text: &str, takes: impl Fn(char) -> bool) -> usize {
    text.find(|c| !takes(c)).unwrap_or(text.len())
}

/// Matches `atext / "."` (RFC 5322 §3.2.3) and UTF-8 (RFC 6531 §3.3).
fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || !c.is_ascii()
}

/// Length of a quoted string after its opening quote, closing quote included, in octets.
fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A pattern that matches one address, a domain or every address, ignoring case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `*` matches every address, including the null sender.
    Any,
    /// `<>` matches the null sender, which bounces use.
    Null,
    /// `*@contoso.com` matches every address of the domain, but not of its subdomains. Lower case.
    Domain(String),
    /// One address, with or without a domain. Lower case.
    Exact(String),
}

impl Pattern {
    /// Parses a pattern. The error describes the form to use instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be an address, *@domain, <> or *";
        let lower = text.to_lowercase();
        match lower.as_str() {
            "*" => Ok(Self::Any),
            "<>" => Ok(Self::Null),
            _ => match lower.strip_prefix("*@") {
                Some(domain) => match address_length(&format!("x@{domain}")) {
                    Some(length) if length == domain.len() + 2 && !domain.is_empty() => {
                        Ok(Self::Domain(domain.to_owned()))
                    }
                    _ => Err(FORM),
                },
                None if lower.contains('*') => {
                    Err("may have a wildcard only as * or *@domain, as in *@contoso.com")
                }
                None if !lower.contains('@') && lower.contains('.') => {
                    Err("must be an address; write *@ before a domain, as in *@contoso.com")
                }
                None if is_address(&lower) => Ok(Self::Exact(lower)),
                None => Err(FORM),
            },
        }
    }

    /// Whether the pattern matches `address` (without angle brackets; empty for the null sender).
    pub fn matches(&self, address: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Null => address.is_empty(),
            Self::Domain(domain) => address
                .rsplit_once('@')
                .is_some_and(|(_, other)| other.to_lowercase() == *domain),
            Self::Exact(exact) => address.to_lowercase() == *exact,
        }
    }
}

/// Whether all of `text` is one address, with or without a domain.
pub fn is_address(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= CAP
        && !text.chars().any(char::is_control)
        && address_length(text) == Some(text.len())
}

/// Whether `login` matches `dot-atom "@" domain` (RFC 5322 §3.4.1) in ASCII, within the lengths of
/// RFC 5321 §4.5.3.1. Only such client input may name a mailbox in an upstream's login. A login whose
/// local part is `*` is a pattern, not an address.
pub fn is_mailbox(login: &str) -> bool {
    let Some((local, domain)) = login.rsplit_once('@') else {
        return false;
    };
    let atoms = |text: &str, also: &str| {
        text.split('.').all(|atom| {
            !atom.is_empty()
                && atom
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
        })
    };
    local != "*"
        && local.len() <= 64
        && domain.len() <= 255
        && atoms(local, "!#$%&'*+-/=?^_`{|}~")
        && atoms(domain, "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_strictly_where_it_matters() {
        let from = |text: &'static str| {
            Path::parse(text.as_bytes(), "FROM:").map(|path| (path.address, path.parameters))
        };
        for (text, expected) in [
            ("FROM:<a@b>", Some(("a@b", ""))),
            (
                "from: <a@b>  SIZE=10 BODY=8BITMIME",
                Some(("a@b", "SIZE=10 BODY=8BITMIME")),
            ),
            ("FROM:<>", Some(("", ""))),
            ("FROM:a@b SIZE=1", Some(("a@b", "SIZE=1"))),
            ("FROM:<root>", Some(("root", ""))),
            (
                "FROM:<\"a@evil>\\\" \"@b>",
                Some(("\"a@evil>\\\" \"@b", "")),
            ),
            ("FROM:<a@[127.0.0.1]>", Some(("a@[127.0.0.1]", ""))),
            ("FROM:<ä@ö.test> SMTPUTF8", Some(("ä@ö.test", "SMTPUTF8"))),
            ("FROM:", None),
            ("FROM:<a@b", None),
            ("FROM:<a@b>SIZE=1", None),
            ("FROM:<a@b> c@d>\rRCPT", None),
            ("FROM:<@x:a@b>", None),
            ("FROM:<a@b@c>", None),
            ("FROM:<a b@c>", None),
            ("FROM:<a@>", None),
            ("FROM:<@b>", None),
            ("FROM:<a@[1>", None),
            ("TO:<a@b>", None),
        ] {
            assert_eq!(from(text), expected, "{text}");
        }
        assert_eq!(Path::parse(b"FROM:<\xff@b>", "FROM:"), None);
        let path = Path::parse(b"FROM:<a@b> size=12 AUTH=<>", "FROM:").unwrap();
        assert_eq!(path.parameter("SIZE"), Some("12"));
        assert_eq!(path.parameter("BODY"), None);
        let long = format!("FROM:<{}@b>", "x".repeat(CAP));
        assert_eq!(Path::parse(long.as_bytes(), "FROM:"), None);
    }

    #[test]
    fn patterns_mean_what_they_say() {
        for (pattern, yes, no) in [
            ("*", &["a@b", "", "root"][..], &[][..]),
            ("<>", &[""], &["a@b"]),
            (
                "*@Contoso.com",
                &["a@contoso.COM", "\"x@y\"@contoso.com"],
                &["a@x.contoso.com", "", "contoso.com"],
            ),
            ("A@b.test", &["a@B.test"], &["aa@b.test"]),
            ("root", &["ROOT"], &["root@b"]),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            for address in yes {
                assert!(pattern.matches(address), "{pattern:?} {address}");
            }
            for address in no {
                assert!(!pattern.matches(address), "{pattern:?} {address}");
            }
        }
        for wrong in [
            "",
            "contoso.com",
            "a*@b",
            "*@",
            "*@a b",
            "a@b c",
            "a@b@c",
            "<a@b>",
        ] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
