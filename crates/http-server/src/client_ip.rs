//! Determines the client's IP address, also behind trusted proxies (`X-Forwarded-For` and similar headers).

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap, HeaderName},
};
use ipnet::IpNet;

/// An IP network such as `10.0.0.0/8`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// The text is neither an IP network nor an IP address.
#[derive(Debug, thiserror::Error)]
#[error("expected an IP address, or an IP network such as 10.0.0.0/8")]
pub struct ParseNetworkError;

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let single_address = |address: IpAddr| IpNet::from(address);
        text.parse()
            .or_else(|_| text.parse().map(single_address))
            .map(Self)
            .map_err(|_| ParseNetworkError)
    }
}

/// The proxies whose forwarding header is trusted. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    networks: Arc<[Network]>,
    forwarded_header: HeaderName,
}

impl TrustedProxies {
    /// Proxies in `networks` send the client's address in `forwarded_header`.
    #[must_use]
    pub fn new(networks: Vec<Network>, forwarded_header: HeaderName) -> Self {
        Self {
            networks: networks.into(),
            forwarded_header,
        }
    }

    /// The client's address: the one that a trusted proxy reports, otherwise the address of the connection's
    /// peer. Reads only the last entry of the header, which the proxy itself wrote; a client can forge the
    /// entries before it.
    ///
    /// Returns `None` when [`crate::serve_connections`] did not accept the connection, so that `ConnectInfo`
    /// is missing.
    #[must_use]
    pub fn client_ip(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        let peer = peer.ip().to_canonical();
        if !self.networks.iter().any(|network| network.0.contains(&peer)) {
            return Some(peer);
        }
        let last_header = headers.get_all(&self.forwarded_header).iter().next_back();
        let forwarded =
            last_header.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        // Without a valid header the proxy itself is the client, for example when it checks our health.
        Some(forwarded.map_or(peer, |address: IpAddr| address.to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client_ip(trusted: &[&str], peer: &str, forwarded_for: &[&str]) -> String {
        let networks = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let proxies = TrustedProxies::new(networks, HeaderName::from_static("x-forwarded-for"));
        let mut headers = HeaderMap::new();
        for value in forwarded_for {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        let peer: SocketAddr = format!("{peer}:1234").parse().unwrap();
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(peer));
        proxies.client_ip(&headers, &extensions).unwrap().to_string()
    }

    #[test]
    fn ignores_forwarded_header_from_untrusted_peer() {
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
    fn uses_only_the_last_forwarded_entry() {
        let client_ip = |forwarded_for: &[&str]| client_ip(&["127.0.0.1"], "127.0.0.1", forwarded_for);
        assert_eq!(client_ip(&[]), "127.0.0.1");
        assert_eq!(client_ip(&["10.0.0.1, 203.0.113.7"]), "203.0.113.7");
        assert_eq!(client_ip(&["10.0.0.1", "2001:db8::1"]), "2001:db8::1");
        assert_eq!(client_ip(&["203.0.113.7, 'drop table"]), "127.0.0.1");
    }

    #[test]
    fn rejects_invalid_networks() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
