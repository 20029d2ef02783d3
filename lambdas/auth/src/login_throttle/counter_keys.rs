//! The keys of the login throttle's items in the sessions table.

use chrono::TimeDelta;
use domain::Timestamp;
use lambda_shared::client_network;
use tokens::random_token;

/// The attempts at an account from all addresses that are not trusted there.
pub(super) fn account_key(email: &str) -> String {
    format!("attempts#account#{}", random_token::digest(email))
}

/// The attempts at an account from an IP address that has signed in to it before.
pub(super) fn trusted_ip_key(email: &str, ip: &str) -> String {
    let email = random_token::digest(email);
    format!("attempts#known#{email}#{}", client_network(ip))
}

/// The failures from an IP address in this hour, over all accounts.
pub(super) fn ip_key(ip: &str, now: Timestamp) -> String {
    hourly_key("address", &client_network(ip), now)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hourly_counters_change_on_the_full_hour() {
        let at = |seconds| Timestamp::from_timestamp(seconds, 0).unwrap();
        assert_eq!(until_next_hour(at(7_200)).num_seconds(), 3_600);
        assert_eq!(until_next_hour(at(10_799)).num_seconds(), 1);
        assert_eq!(hourly_key("mail", "x", at(7_199)), "attempts#mail#x#1");
    }
}
