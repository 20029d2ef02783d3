//! The keys of the login throttle's items in the sessions table.

use std::net::IpAddr;

use chrono::TimeDelta;
use domain::Timestamp;

use crate::random_token;

/// The attempts at an account from all addresses that are not trusted there.
pub(super) fn account_key(email: &str) -> String {
    format!("attempts#account#{}", random_token::digest(email))
}

/// The attempts at an account from an IP address that has signed in to it before.
pub(super) fn trusted_ip_key(email: &str, ip: &str) -> String {
    let email = random_token::digest(email);
    format!("attempts#known#{email}#{}", ip_network(ip))
}

/// The failures from an IP address in this hour, over all accounts.
pub(super) fn ip_key(ip: &str, now: Timestamp) -> String {
    hourly_key("address", &ip_network(ip), now)
}

/// The mails to an e-mail address in this hour.
pub(super) fn mail_key(email: &str, now: Timestamp) -> String {
    hourly_key("mail", &random_token::digest(email), now)
}

/// Each hour has a counter of its own.
fn hourly_key(kind: &str, subject: &str, now: Timestamp) -> String {
    format!("attempts#{kind}#{subject}#{}", now.timestamp().div_euclid(3600))
}

pub(super) fn until_next_hour(now: Timestamp) -> TimeDelta {
    TimeDelta::seconds(3600 - now.timestamp().rem_euclid(3600))
}

/// IPv6 addresses count per /64, the smallest network that one customer of an internet provider gets.
fn ip_network(ip: &str) -> String {
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
    fn ipv6_addresses_share_a_counter_per_64() {
        assert_eq!(ip_network("203.0.113.9"), "203.0.113.9");
        assert_eq!(ip_network("::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(ip_network("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!(ip_network("2001:db8:1:2:ffff::9"), ip_network("2001:db8:1:2::1"));
        assert_ne!(ip_network("2001:db8:1:3::1"), ip_network("2001:db8:1:2::1"));
        assert_eq!(ip_network("x#attempts"), "unknown");
    }

    #[test]
    fn hourly_counters_change_on_the_full_hour() {
        let at = |seconds| Timestamp::from_timestamp(seconds, 0).unwrap();
        assert_eq!(until_next_hour(at(7_200)).num_seconds(), 3_600);
        assert_eq!(until_next_hour(at(10_799)).num_seconds(), 1);
        assert_eq!(hourly_key("mail", "x", at(7_199)), "attempts#mail#x#1");
    }
}
