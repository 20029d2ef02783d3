//! Determines the client's IP address, also behind trusted proxies (`X-Forwarded-For` and similar headers)
//! and behind CloudFront.

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

use crate::OriginSecrets;

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
    origin_secrets: Option<OriginSecrets>,
}

impl TrustedProxies {
    /// Proxies in `networks` send the client's address in `forwarded_header`.
    #[must_use]
    pub fn new(networks: Vec<Network>, forwarded_header: HeaderName) -> Self {
        Self {
            networks: networks.into(),
            forwarded_header,
            origin_secrets: None,
        }
    }

    /// Trusts CloudFront as well, for requests with one of these secrets.
    #[must_use]
    pub fn with_cloudfront(self, origin_secrets: Option<OriginSecrets>) -> Self {
        Self {
            origin_secrets,
            ..self
        }
    }

    /// The client's address: the one that CloudFront reports, otherwise the one that a trusted proxy reports,
    /// otherwise the address of the connection's peer. Reads only the last entry of the proxy's header, which
    /// the proxy itself wrote; a client can forge the entries before it.
    ///
    /// Returns `None` when [`crate::serve_connections`] did not accept the connection, so that `ConnectInfo`
    /// is missing.
    #[must_use]
    pub fn client_ip(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let viewer_ip = |secrets: &OriginSecrets| secrets.viewer_ip(headers);
        if let Some(viewer_ip) = self.origin_secrets.as_ref().and_then(viewer_ip) {
            return Some(viewer_ip);
        }
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
    fn cloudfront_reports_the_client_that_its_own_address_hides() {
        const SECRET: &str = "secret-of-the-distribution-000000";
        let secrets = format!(r#"["{SECRET}"]"#).parse().unwrap();
        let proxies = TrustedProxies::new(
            vec!["10.0.0.0/8".parse().unwrap()],
            HeaderName::from_static("client-address"),
        )
        .with_cloudfront(Some(secrets));
        let peer: SocketAddr = "10.9.8.7:1234".parse().unwrap();
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(peer));
        let client_ip = |secret: &'static str, viewer_address: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("client-address", HeaderValue::from_static("130.176.0.1"));
            headers.insert("x-origin-secret", HeaderValue::from_static(secret));
            headers.insert(
                "cloudfront-viewer-address",
                HeaderValue::from_static(viewer_address),
            );
            proxies.client_ip(&headers, &extensions).unwrap().to_string()
        };
        assert_eq!(client_ip(SECRET, "198.51.100.10:46532"), "198.51.100.10");
        assert_eq!(client_ip("forged", "198.51.100.10:46532"), "130.176.0.1");
        assert_eq!(client_ip(SECRET, "malformed"), "130.176.0.1");
    }

    #[test]
    fn rejects_invalid_networks() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
