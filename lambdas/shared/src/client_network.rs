//! The network of a client, as the key of counters and limits.

use std::net::IpAddr;

/// The network of a client's IP address: the IPv4 address itself, or the /64 of an IPv6 address, the smallest
/// network that one customer of an internet provider gets.
///
/// ```
/// assert_eq!(lambda_shared::client_network("2001:db8:1:2::1"), "2001:db8:1:2::/64");
/// ```
#[must_use]
pub fn client_network(ip: &str) -> String {
    match ip.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => {
                let [a, b, c, d, ..] = v6.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        },
        Ok(v4) => v4.to_string(),
        // API Gateway always sends the address. Requests without one share a single counter.
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_share_a_network_per_64() {
        assert_eq!(client_network("203.0.113.9"), "203.0.113.9");
        assert_eq!(client_network("::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(client_network("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!(
            client_network("2001:db8:1:2:ffff::9"),
            client_network("2001:db8:1:2::1")
        );
        assert_ne!(
            client_network("2001:db8:1:3::1"),
            client_network("2001:db8:1:2::1")
        );
        assert_eq!(client_network("x#attempts"), "unknown");
    }
}
