//! SASL mechanisms: PLAIN and LOGIN of clients, XOAUTH2 and OAUTHBEARER towards upstreams.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};

use crate::secret::Secret;

/// Base64 with or without padding: some clients omit it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Longest login or password, in octets (RFC 4616 §2 leaves the limit to the implementation).
pub const CREDENTIAL_CAP: usize = 255;

/// A login and password as presented by a client: UTF-8 without control characters, 1 to 255 octets
/// each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Login as presented. Logins are compared without regard to case.
    pub login: String,
    /// PLAIN's authorization identity, if it differs from the login.
    pub authorization: Option<String>,
    /// Password as the client presented it.
    pub password: Secret,
}

/// Reason why presented credentials are malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The input is not base64.
    Encoding,
    /// A PLAIN message with fewer than two NULs; holds their number.
    Nuls(usize),
    /// Well-formed input, but a part of it can never be valid.
    Contents(Part, Violation),
}

/// One of the strings presented by a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Authentication identity of SASL: the login.
    Login,
    /// Password of the login.
    Password,
    /// PLAIN's authorization identity.
    Authorization,
}

impl Part {
    /// Name of the part, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Password => "password",
            Self::Authorization => "authorization identity",
        }
    }
}

/// Problem with a presented string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// The string is empty.
    Empty,
    /// The string has more octets than [`CREDENTIAL_CAP`].
    TooLong,
    /// The octets are not UTF-8.
    Encoding,
    /// The string ends with CR or LF, as `echo` leaves it.
    LineEnd,
    /// The string contains a NUL: one more than PLAIN allows.
    Nul,
    /// The string contains another control character.
    Control,
}

impl Credentials {
    /// Checks a login and password presented by a client.
    pub fn new(login: &[u8], password: &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            login: text(Part::Login, login)?.to_owned(),
            password: Secret::from(text(Part::Password, password)?),
            authorization: None,
        })
    }

    /// Parses the response of PLAIN, already decoded.
    ///
    /// ```abnf
    /// message = [authzid] UTF8NUL authcid UTF8NUL passwd   ; RFC 4616 §2
    /// ```
    pub fn from_plain(message: &[u8]) -> Result<Self, Malformed> {
        let mut parts = message.splitn(3, |octet| *octet == 0);
        let (Some(authzid), Some(authcid), Some(password)) =
            (parts.next(), parts.next(), parts.next())
        else {
            let nuls = message.iter().filter(|octet| **octet == 0).count();
            return Err(Malformed::Nuls(nuls));
        };
        let authorization = match authzid {
            [] => None,
            authzid if authzid == authcid => None,
            authzid => Some(text(Part::Authorization, authzid)?.to_owned()),
        };
        Ok(Self {
            authorization,
            ..Self::new(authcid, password)?
        })
    }
}

/// Checks a presented string.
fn text(part: Part, octets: &[u8]) -> Result<&str, Malformed> {
    let invalid = |violation| Err(Malformed::Contents(part, violation));
    if octets.is_empty() {
        return invalid(Violation::Empty);
    }
    if octets.len() > CREDENTIAL_CAP {
        return invalid(Violation::TooLong);
    }
    let Ok(text) = std::str::from_utf8(octets) else {
        return invalid(Violation::Encoding);
    };
    let is_control = |text: &str| text.chars().any(char::is_control);
    match text.trim_end_matches(['\r', '\n']) {
        _ if text.contains('\0') => invalid(Violation::Nul),
        line if line.len() < text.len() && !is_control(line) => invalid(Violation::LineEnd),
        _ if is_control(text) => invalid(Violation::Control),
        _ => Ok(text),
    }
}

/// Decodes a line of a SASL exchange. A single `=` is the empty response (RFC 4954 §4).
pub fn decode(line: &[u8]) -> Result<Vec<u8>, Malformed> {
    let line = line.trim_ascii();
    if line == b"=" {
        return Ok(Vec::new());
    }
    LENIENT.decode(line).map_err(|_| Malformed::Encoding)
}

/// Encodes a line of a SASL exchange.
pub fn encode(octets: &[u8]) -> String {
    general_purpose::STANDARD.encode(octets)
}

/// SASL mechanism that presents a token to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// XOAUTH2, used by Google and Microsoft.
    Xoauth2,
    /// OAUTHBEARER (RFC 7628).
    Oauthbearer,
}

impl Mechanism {
    /// Name of the mechanism in AUTH and AUTHENTICATE.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xoauth2 => "XOAUTH2",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }

    /// The client's reply to an error challenge, after which the server sends the actual failure.
    /// XOAUTH2 requires an empty line, OAUTHBEARER %x01 in base64 (RFC 7628 §3.2.3).
    pub fn acknowledgement(self) -> &'static str {
        match self {
            Self::Xoauth2 => "",
            Self::Oauthbearer => "AQ==",
        }
    }
}

/// The only response of XOAUTH2, in base64.
///
/// ```abnf
/// response = "user=" address %x01 "auth=Bearer " token %x01 %x01
/// ```
///
/// Source: Google's XOAUTH2 protocol page; Microsoft uses the same.
pub fn xoauth2(mailbox: &str, token: &Secret) -> Secret {
    let message = [
        "user=",
        mailbox,
        "\x01auth=Bearer ",
        token.expose(),
        "\x01\x01",
    ]
    .concat();
    // A `Secret`, so that the buffer is overwritten when dropped.
    let message = Secret::from(message);
    Secret::from(encode(message.expose().as_bytes()))
}

/// The response of OAUTHBEARER, in base64.
///
/// ```abnf
/// client-resp = "n,a=" saslname "," kvsep "host=" host kvsep "port=" port kvsep
///               "auth=Bearer " token kvsep kvsep        ; RFC 7628 §3.1, kvsep = %x01
/// ```
pub fn oauthbearer(mailbox: &str, host: &str, port: u16, token: &Secret) -> Secret {
    // RFC 5801 §4: "," and "=" are the two characters that a saslname escapes.
    let name = mailbox.replace('=', "=3D").replace(',', "=2C");
    let port = port.to_string();
    let message = [
        "n,a=",
        &name,
        ",\x01host=",
        host,
        "\x01port=",
        &port,
        "\x01auth=Bearer ",
        token.expose(),
        "\x01\x01",
    ]
    .concat();
    let message = Secret::from(message);
    Secret::from(encode(message.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vector from Microsoft's page on OAuth for IMAP, POP and SMTP.
    #[test]
    fn xoauth2_matches_microsofts_vector() {
        let token = Secret::from("EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA");
        assert_eq!(
            xoauth2("test@contoso.onmicrosoft.com", &token).expose(),
            "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ=="
        );
    }

    /// RFC 7628 §4.1, with a name that needs escaping.
    #[test]
    fn oauthbearer_escapes_the_name() {
        let message = decode(
            oauthbearer(
                "us=er,x",
                "server.example.com",
                143,
                &Secret::from("vF9dft4qmT"),
            )
            .expose()
            .as_bytes(),
        );
        assert_eq!(
            message.unwrap(),
            b"n,a=us=3Der=2Cx,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmT\x01\x01"
        );
    }

    /// Examples of RFC 4616 §4, and messages that must be refused.
    #[test]
    fn plain_takes_what_the_rfc_says_and_nothing_else() {
        let plain = Credentials::from_plain;
        let tim = Credentials::new(b"tim", b"tanstaaftanstaaf").unwrap();
        assert_eq!(plain(b"\0tim\0tanstaaftanstaaf"), Ok(tim.clone()));
        let ursel = plain(b"Ursel\0Kurt\0xipj3plmq").unwrap();
        assert_eq!(ursel.authorization.as_deref(), Some("Ursel"));
        let long = [b"\0".as_slice(), &[b'a'; 256], b"\0p"].concat();
        for (contents, part, violation) in [
            (b"\0\0p".as_slice(), Part::Login, Violation::Empty),
            (b"\0u\0", Part::Password, Violation::Empty),
            (b"\0u\0p\0q", Part::Password, Violation::Nul),
            (b"\0u\0p\0", Part::Password, Violation::Nul),
            (b"\0u\x01\0p", Part::Login, Violation::Control),
            (b"\0u\0p\r\n", Part::Password, Violation::LineEnd),
            (b"\0u\n\0p", Part::Login, Violation::LineEnd),
            (b"\0u\xff\0p", Part::Login, Violation::Encoding),
            (b"\xff\0u\0p", Part::Authorization, Violation::Encoding),
            (&long, Part::Login, Violation::TooLong),
        ] {
            let malformed = Malformed::Contents(part, violation);
            assert_eq!(plain(contents), Err(malformed), "{contents:?}");
        }
        assert_eq!(plain(b""), Err(Malformed::Nuls(0)));
        assert_eq!(plain(b"u\0p"), Err(Malformed::Nuls(1)));
        assert_eq!(decode(b"="), Ok(Vec::new()));
        for line in [b"*".as_slice(), b"!!!!"] {
            assert_eq!(decode(line), Err(Malformed::Encoding));
        }
        assert!(decode(b"AHRpbQBwdw").is_ok(), "padding left out");
    }
}
