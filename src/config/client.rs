//! Whom an address stands for, where clients are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The client that `address` counts as: an IPv4 address for itself, also where IPv6 maps it (RFC
/// 4291 §2.5.5.2), an IPv6 address for its /64, of which every host has a whole one (RFC 6177).
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
