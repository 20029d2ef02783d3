//! From where a request comes.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use axum::http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

/// Who is at the other end of the connection: an extension of every request that [`crate::serve`] takes.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddr(pub SocketAddr);

/// A proxy, or a whole network of them: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// Text that names no network.
#[derive(Debug, thiserror::Error)]
#[error("expected an address, or a network such as 10.0.0.0/8")]
pub struct ParseNetworkError;

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let one = |address: IpAddr| IpNet::from(address);
        text.parse()
            .or_else(|_| text.parse().map(one))
            .map(Self)
            .map_err(|_| ParseNetworkError)
    }
}

/// What is in front of us and may be believed when it says who asked. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    networks: Arc<[Network]>,
    forwarded_header: HeaderName,
}

impl TrustedProxies {
    /// These say in `header` who asked them.
    #[must_use]
    pub fn new(trusted: Vec<Network>, forwarded_header: HeaderName) -> Self {
        Self {
            networks: trusted.into(),
            forwarded_header,
        }
    }

    /// The address that a request comes from: what a trusted proxy says, and otherwise whoever sent it to us. Of what a
    /// proxy says, the last entry is its own; all that stands before it, the client may have made up.
    #[must_use]
    pub fn client_ip(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let PeerAddr(peer) = extensions.get()?;
        let peer = peer.ip().to_canonical();
        if !self.networks.iter().any(|network| network.0.contains(&peer)) {
            return Some(peer);
        }
        let said = headers.get_all(&self.forwarded_header).iter().next_back();
        let last = said.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        // A proxy that says nothing asks for itself.
        Some(last.map_or(peer, |address: IpAddr| address.to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client_ip(trusted: &[&str], peer: &str, said: &[&str]) -> String {
        let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let proxies = TrustedProxies::new(trusted, HeaderName::from_static("x-forwarded-for"));
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddr(format!("{peer}:1234").parse().unwrap()));
        proxies.client_ip(&headers, &extensions).unwrap().to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        assert_eq!(client_ip(&[], "203.0.113.7", &["198.51.100.1"]), "203.0.113.7");
        assert_eq!(
            client_ip(&["10.0.0.0/8"], "203.0.113.7", &["198.51.100.1"]),
            "203.0.113.7"
        );
        assert_eq!(
            client_ip(&["10.0.0.0/8"], "10.9.8.7", &["198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(
            client_ip(&["10.0.0.0/8"], "[::ffff:10.9.8.7]", &["198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(
            client_ip(&["10.9.8.7"], "10.9.8.7", &["198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(
            client_ip(&["10.9.8.7"], "10.9.8.8", &["198.51.100.1"]),
            "10.9.8.8"
        );
    }

    #[test]
    fn only_the_last_proxys_word_is_taken_for_an_address() {
        let seen = |said: &[&str]| client_ip(&["127.0.0.1"], "127.0.0.1", said);
        assert_eq!(seen(&[]), "127.0.0.1");
        assert_eq!(seen(&["10.0.0.1, 203.0.113.7"]), "203.0.113.7");
        assert_eq!(seen(&["10.0.0.1", "2001:db8::1"]), "2001:db8::1");
        assert_eq!(seen(&["203.0.113.7, 'drop table"]), "127.0.0.1");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
