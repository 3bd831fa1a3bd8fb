//! PROXY protocol, versions 1 and 2, by which a load balancer announces the client of a connection
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! [`parse`] takes what was read so far and returns how much may be read next. It never asks for an
//! octet after the header, which belongs to the session or its TLS. The caller decides which peers
//! to trust.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::fault::{Fault, Kind};

/// Longest header of version 1, CRLF included, in octets (§2.1).
pub const V1_CAP: usize = 107;

/// Longest header of version 2, in octets. Addresses take at most 232. The rest is for extensions
/// of the load balancer, the largest of which is a client certificate.
pub const V2_CAP: usize = 8 * 1024;

/// Longest time for a header to arrive; load balancers send it at once.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Length of `PROXY UNKNOWN CRLF`. No header of either version is shorter, so this many octets can
/// be read first.
const SHORTEST: usize = 15;

/// First octets of version 2 (§2.2), which no other protocol begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Length of signature, version and command, family and transport, and length field.
const V2_HEAD: usize = 16;

/// Type of the extension that holds a checksum of the header (§2.2.3, `PP2_TYPE_CRC32C`).
const CHECKSUM: u8 = 3;

/// Content of a complete PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The connection is the load balancer's own, such as a health check, or its client is unknown.
    /// Its own address applies.
    Local,
    /// The connection belongs to this client.
    Client(SocketAddr),
}

/// Progress of parsing a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// At least this many octets are missing; exactly as many may be read.
    Missing(usize),
    /// The header is complete and ended with the last octet.
    Complete(ProxyHeader),
}

/// Reason why the input is not an accepted PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The input begins neither version 1 nor version 2.
    #[error("it does not begin with a PROXY header")]
    Foreign,
    /// The line of version 1 does not match §2.1.
    #[error("its PROXY line is malformed")]
    Line,
    /// Version 2 with another version, command, family or transport than those of TCP.
    #[error("its PROXY header is of a version, command or transport other than TCP's")]
    Kind,
    /// Version 2 is too short for its addresses.
    #[error("its PROXY header is shorter than the addresses in it")]
    Short,
    /// An extension of version 2 is longer than what is left of the header.
    #[error("its PROXY header is shorter than the extensions in it")]
    Extension,
    /// The checksum of version 2 does not match the header.
    #[error("the checksum in its PROXY header does not match")]
    Checksum,
    /// The header exceeds its length limit.
    #[error("its PROXY header is too long")]
    Long,
}

/// Reason why no header was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input is not a valid header.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The connection ended or failed.
    #[error("it closed the connection before its PROXY header was complete")]
    Left,
    /// The header did not arrive in time.
    #[error("its PROXY header was not complete in time")]
    TimedOut,
    /// The peer is not one of the load balancers.
    #[error("it comes from none of the load balancers' networks")]
    Network,
}

/// Octets from the beginning of a connection that [`begins_with_header`] examines.
pub const HEAD: usize = 13;

/// Whether a connection beginning with `first` begins with a PROXY header of either version.
pub fn begins_with_header(first: &[u8]) -> bool {
    let line = ["PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN"];
    first.starts_with(SIGNATURE) || line.iter().any(|line| first.starts_with(line.as_bytes()))
}

/// Builds the fault of a connection that begins with an unexpected PROXY header.
pub fn unexpected() -> Fault {
    Fault::new(
        Kind::ProxyHeader,
        "the connection begins with a load balancer's PROXY header, which the listener does not expect",
    )
    .with_remedy(
        "set the listener's proxy_protocol to the load balancer's networks, or turn the header off there \
         (HAProxy: send-proxy, nginx: proxy_protocol, Traefik: proxyProtocol)",
    )
}

/// Reads a header and not one octet more, until `deadline` at the latest.
///
/// # Errors
///
/// No valid header arrived in time. Nothing was sent.
pub async fn read(tcp: &mut TcpStream, deadline: Instant) -> Result<ProxyHeader, ReadError> {
    let deadline = deadline.min(Instant::now() + HEADER_TIMEOUT);
    let reading = async {
        let mut input = Vec::new();
        loop {
            match parse(&input)? {
                Parsed::Complete(header) => return Ok(header),
                Parsed::Missing(octets) => {
                    let read = tcp.take(octets as u64).read_buf(&mut input).await;
                    if !matches!(read, Ok(1..)) {
                        return Err(ReadError::Left);
                    }
                }
            }
        }
    };
    timeout_at(deadline, reading)
        .await
        .unwrap_or(Err(ReadError::TimedOut))
}

/// Parses the input read so far. [`Parsed::Missing`] says how much more may be read.
///
/// # Errors
///
/// The input cannot become a valid header.
pub fn parse(input: &[u8]) -> Result<Parsed, Malformed> {
    let begins = |with: &[u8]| input.iter().zip(with).all(|(octet, other)| octet == other);
    if begins(SIGNATURE) {
        return binary(input);
    }
    if begins(b"PROXY ") {
        return line(input);
    }
    Err(Malformed::Foreign)
}

/// Parses version 1: `"PROXY" SP ("TCP4" / "TCP6") SP source SP destination SP port SP port CRLF`,
/// or `"PROXY" SP "UNKNOWN" *OCTET CRLF`.
fn line(input: &[u8]) -> Result<Parsed, Malformed> {
    let Some(text) = input.strip_suffix(b"\r\n") else {
        // After a CR at least one octet is missing, otherwise at least two.
        let least = if input.ends_with(b"\r") { 1 } else { 2 };
        let missing = SHORTEST.saturating_sub(input.len()).max(least);
        return match input.len() + missing {
            _ if input.contains(&b'\n') => Err(Malformed::Line),
            ..=V1_CAP => Ok(Parsed::Missing(missing)),
            _ => Err(Malformed::Long),
        };
    };
    if input.len() > V1_CAP {
        return Err(Malformed::Long);
    }
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Line)?;
    if text.contains(['\r', '\n']) {
        return Err(Malformed::Line);
    }
    let words: Vec<_> = text.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(Parsed::Complete(ProxyHeader::Local)),
        ["PROXY", "TCP4", source, destination, from, to] => {
            client::<Ipv4Addr>(source, destination, from, to)
        }
        ["PROXY", "TCP6", source, destination, from, to] => {
            client::<Ipv6Addr>(source, destination, from, to)
        }
        _ => Err(Malformed::Line),
    }
}

fn client<T: FromStr + Into<IpAddr>>(
    source: &str,
    destination: &str,
    from: &str,
    to: &str,
) -> Result<Parsed, Malformed> {
    let address = |text: &str| text.parse::<T>().map_err(|_| Malformed::Line);
    // Digits only, without leading zeros.
    let port = |text: &str| match text.as_bytes() {
        [b'0'] => Ok(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            text.parse().map_err(|_| Malformed::Line)
        }
        _ => Err(Malformed::Line),
    };
    let (source, _) = (address(source)?, address(destination)?);
    let (from, _): (u16, u16) = (port(from)?, port(to)?);
    Ok(announced_client(source, from))
}

/// Parses version 2 (§2.2). Of the extensions after the addresses only the checksum is read.
fn binary(input: &[u8]) -> Result<Parsed, Malformed> {
    let Some((head, body)) = input.split_first_chunk::<V2_HEAD>() else {
        return Ok(Parsed::Missing(match SHORTEST.checked_sub(input.len()) {
            Some(missing @ 1..) => missing,
            _ => V2_HEAD - input.len(),
        }));
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_HEAD + length > V2_CAP {
        return Err(Malformed::Long);
    }
    let addresses = match (command, family) {
        // LOCAL, with any family.
        (0x20, _) => 0,
        // PROXY, with a client unknown to the load balancer.
        (0x21, 0x00) => 0,
        // TCP over IPv4, TCP over IPv6.
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        _ => return Err(Malformed::Kind),
    };
    if length < addresses {
        return Err(Malformed::Short);
    }
    if body.len() < length {
        return Ok(Parsed::Missing(length - body.len()));
    }
    if addresses > 0 {
        check_extensions(input, V2_HEAD + addresses)?;
    }
    Ok(match addresses {
        12 => {
            let source: Ipv4Addr = octets::<4>(body, 0).into();
            announced_client(source, u16::from_be_bytes(octets(body, 8)))
        }
        36 => {
            let source: Ipv6Addr = octets::<16>(body, 0).into();
            announced_client(source, u16::from_be_bytes(octets(body, 32)))
        }
        _ => Parsed::Complete(ProxyHeader::Local),
    })
}

/// Checks the extensions from offset `start` on (§2.2): type, length in two octets, value. A header
/// has at most one checksum.
fn check_extensions(input: &[u8], start: usize) -> Result<(), Malformed> {
    let mut rest = input.get(start..).unwrap_or_default();
    let mut is_checked = false;
    while let Some(([kind, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = after.split_at_checked(length).ok_or(Malformed::Extension)?;
        if *kind == CHECKSUM {
            let before = input.len() - after.len();
            let whole = input.get(..before).unwrap_or_default();
            // The checksum counts as zeros.
            let octets = whole.iter().chain(&[0; 4]).chain(next);
            if std::mem::replace(&mut is_checked, true) || value != crc32c(octets).to_be_bytes() {
                return Err(Malformed::Checksum);
            }
        }
        rest = next;
    }
    Ok(())
}

/// Computes CRC-32C (RFC 4960, appendix B).
fn crc32c<'a>(octets: impl Iterator<Item = &'a u8>) -> u32 {
    !octets.fold(!0, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => (crc >> 1) ^ 0x82f6_3b78,
        })
    })
}

/// Copies `N` octets of a body whose length was checked.
fn octets<const N: usize>(body: &[u8], from: usize) -> [u8; N] {
    let taken = body.get(from..).and_then(|rest| rest.first_chunk());
    taken.copied().unwrap_or([0; N])
}

/// Maps an IPv4-mapped address of a dual-stack load balancer to IPv4.
fn announced_client(source: impl Into<IpAddr>, port: u16) -> Parsed {
    let source = source.into().to_canonical();
    Parsed::Complete(ProxyHeader::Client(SocketAddr::new(source, port)))
}

#[cfg(test)]
mod tests;
