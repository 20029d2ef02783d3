//! Requests through CloudFront: how they prove that they came through our distribution, and the client's
//! address that CloudFront reports.
//!
//! Behind CloudFront, the peer of API Gateway is CloudFront, so all clients would share its addresses.
//! CloudFront names the client in `CloudFront-Viewer-Address`. A client that calls API Gateway directly can
//! forge that header, so it counts only together with the distribution's secret in `X-Origin-Secret`.

use std::{
    net::IpAddr,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};

use crate::Problem;

/// The custom header that the distribution adds to requests to its origin.
const ORIGIN_SECRET: HeaderName = HeaderName::from_static("x-origin-secret");

/// Client address and port, for example `198.51.100.10:46532` or `2001:db8::1:46532`.
const VIEWER_ADDRESS: HeaderName = HeaderName::from_static("cloudfront-viewer-address");

const MIN_SECRET_CHARACTERS: usize = 32;

/// Whether requests come through CloudFront.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "lowercase", parse_err_ty = ParseCloudFrontModeError, parse_err_fn = invalid_mode)]
pub enum CloudFrontMode {
    /// CloudFront is not used, and its headers are ignored.
    Unused,
    /// Requests come through CloudFront or directly, for example while the DNS record changes.
    Accepted,
    /// Requests that did not come through CloudFront are refused.
    Required,
}

/// The text is not a [`CloudFrontMode`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("expected unused, accepted or required")]
pub struct ParseCloudFrontModeError;

fn invalid_mode(_: &str) -> ParseCloudFrontModeError {
    ParseCloudFrontModeError
}

/// The secrets by which a request proves that it came through our distribution: one, or two during a
/// rotation. Clones share them.
#[derive(Clone, Debug)]
pub struct OriginSecrets(Arc<RwLock<Vec<SecretString>>>);

/// The text does not contain origin secrets. The message quotes none of it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("expected a JSON array of one or two strings, each of at least 32 characters")]
pub struct ParseOriginSecretsError;

impl FromStr for OriginSecrets {
    type Err = ParseOriginSecretsError;

    fn from_str(text: &str) -> Result<Self, ParseOriginSecretsError> {
        let secrets: Vec<SecretString> = serde_json::from_str(text).map_err(|_| ParseOriginSecretsError)?;
        let is_long = |secret: &SecretString| secret.expose_secret().chars().count() >= MIN_SECRET_CHARACTERS;
        if (1..=2).contains(&secrets.len()) && secrets.iter().all(is_long) {
            Ok(Self(Arc::new(RwLock::new(secrets))))
        } else {
            Err(ParseOriginSecretsError)
        }
    }
}

impl OriginSecrets {
    /// Replaces the secrets by those of `other`, in all clones.
    pub fn replace(&self, other: &Self) {
        let secrets = other.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    /// Whether a request with these headers came through our distribution.
    #[must_use]
    pub fn came_through_cloudfront(&self, headers: &HeaderMap) -> bool {
        let Some(sent) = only_value(headers, &ORIGIN_SECRET) else {
            return false;
        };
        let secrets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        secrets
            .iter()
            .any(|secret| verify_slices_are_equal(secret.expose_secret().as_bytes(), sent.as_bytes()).is_ok())
    }

    /// The client's address. `None` unless the request came through our distribution and CloudFront sent a
    /// valid address.
    #[must_use]
    pub fn viewer_ip(&self, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.came_through_cloudfront(headers) {
            return None;
        }
        let viewer_ip =
            only_value(headers, &VIEWER_ADDRESS).and_then(|value| parse_viewer_address(value.to_str().ok()?));
        if viewer_ip.is_none() {
            tracing::warn!(
                "CloudFront sent no valid CloudFront-Viewer-Address, so its clients share an address: the \
                 origin request policy must contain that header"
            );
        }
        viewer_ip
    }
}

/// Middleware that refuses requests that did not come through our distribution.
pub async fn require_cloudfront(
    State(secrets): State<OriginSecrets>,
    request: Request,
    next: Next,
) -> Response {
    if secrets.came_through_cloudfront(request.headers()) {
        next.run(request).await
    } else {
        Problem::direct_access().into_response()
    }
}

/// The header's value. `None` when the header is missing or repeated.
fn only_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// CloudFront writes IPv6 addresses without brackets: the last colon separates the port.
fn parse_viewer_address(text: &str) -> Option<IpAddr> {
    let (address, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let without_brackets = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: IpAddr = without_brackets.unwrap_or(address).parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: &str = "current-secret-of-the-distribution";
    const NEXT: &str = "next-secret-of-the-distribution-00";

    fn secrets() -> OriginSecrets {
        format!(r#"["{CURRENT}", "{NEXT}"]"#).parse().unwrap()
    }

    fn viewer_ip(fields: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        secrets().viewer_ip(&headers).map(|address| address.to_string())
    }

    fn viewer_ip_of(viewer_address: &str) -> Option<String> {
        viewer_ip(&[
            ("x-origin-secret", CURRENT),
            ("cloudfront-viewer-address", viewer_address),
        ])
    }

    #[test]
    fn viewer_address_is_read_without_its_port() {
        assert_eq!(viewer_ip_of("198.51.100.10:46532").unwrap(), "198.51.100.10");
        assert_eq!(viewer_ip_of("2001:db8::1:46532").unwrap(), "2001:db8::1");
        assert_eq!(
            viewer_ip_of("2001:0db8:0:0:0:0:0:0001:443").unwrap(),
            "2001:db8::1"
        );
        assert_eq!(viewer_ip_of("[2001:db8::1]:443").unwrap(), "2001:db8::1");
        assert_eq!(viewer_ip_of("::ffff:198.51.100.10:443").unwrap(), "198.51.100.10");
        for malformed in [
            "",
            "198.51.100.10",
            "198.51.100.10:",
            "198.51.100.10:70000",
            "198.51.100.10:x",
            "198.51.100.10:1, 203.0.113.7:2",
            "localhost:443",
            ":443",
        ] {
            assert_eq!(viewer_ip_of(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn viewer_address_counts_only_with_a_valid_secret() {
        let address = ("cloudfront-viewer-address", "198.51.100.10:1");
        for valid in [CURRENT, NEXT] {
            assert!(
                viewer_ip(&[("x-origin-secret", valid), address]).is_some(),
                "{valid}"
            );
        }
        let prefix = &CURRENT[1..];
        let upper_case = CURRENT.to_uppercase();
        for invalid in ["", "forged", prefix, &upper_case] {
            assert_eq!(
                viewer_ip(&[("x-origin-secret", invalid), address]),
                None,
                "{invalid}"
            );
        }
        assert_eq!(viewer_ip(&[address]), None);
        assert_eq!(
            viewer_ip(&[
                ("x-origin-secret", CURRENT),
                ("x-origin-secret", "forged"),
                address
            ]),
            None
        );
        assert_eq!(viewer_ip(&[("x-origin-secret", CURRENT)]), None);
        let repeated = [
            ("x-origin-secret", CURRENT),
            address,
            ("cloudfront-viewer-address", "203.0.113.7:2"),
        ];
        assert_eq!(viewer_ip(&repeated), None);
    }

    #[test]
    fn clones_use_replaced_secrets() {
        let (used, next) = (secrets(), format!(r#"["{NEXT}"]"#).parse().unwrap());
        let clone = used.clone();
        let is_accepted = |secret: &'static str| {
            let headers = HeaderMap::from_iter([(ORIGIN_SECRET, HeaderValue::from_static(secret))]);
            clone.came_through_cloudfront(&headers)
        };
        assert!(is_accepted(CURRENT));
        used.replace(&next);
        assert!(is_accepted(NEXT));
        assert!(!is_accepted(CURRENT));
    }

    #[test]
    fn secrets_are_one_or_two_long_strings_and_hidden() {
        let [short, long] = ["x".repeat(31), "x".repeat(32)];
        for invalid in [
            String::new(),
            "[]".to_owned(),
            long.clone(),
            format!(r#"["{short}"]"#),
            format!(r#"["{long}", "{short}"]"#),
            format!(r#"["{long}", "{long}", "{long}"]"#),
        ] {
            let error = invalid.parse::<OriginSecrets>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains(&short), "{invalid}");
        }
        let secrets: OriginSecrets = format!(r#"["{long}"]"#).parse().unwrap();
        assert!(!format!("{secrets:?}").contains(&long));
    }

    #[test]
    fn mode_is_one_of_three_words() {
        assert_eq!(
            "unused".parse::<CloudFrontMode>().unwrap(),
            CloudFrontMode::Unused
        );
        assert_eq!(
            "accepted".parse::<CloudFrontMode>().unwrap(),
            CloudFrontMode::Accepted
        );
        assert_eq!(
            "required".parse::<CloudFrontMode>().unwrap(),
            CloudFrontMode::Required
        );
        assert!("true".parse::<CloudFrontMode>().is_err());
    }
}
