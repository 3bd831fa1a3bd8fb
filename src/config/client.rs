//! Grouping of client addresses for limits and lockouts.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the address under which a client is counted: an IPv4 address itself, also if mapped into
/// IPv6 (RFC 4291 §2.5.5.2); for IPv6 its /64, since every host may have a whole one (RFC 6177).
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) if address.is_loopback() => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_counted_by_what_they_have() {
        for (address, counted) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::1"),
        ] {
            let network = client_network(address.parse().unwrap());
            assert_eq!(network.to_string(), counted);
        }
    }
}
