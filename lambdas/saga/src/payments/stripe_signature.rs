//! Verifies the header `Stripe-Signature`, which proves that Stripe sent a webhook request and when.
//!
//! The header contains a timestamp and one signature per active secret of the webhook endpoint:
//! `t=1800000000,v1=5257a8…,v1=6ffbb5…`. A signature is the HMAC-SHA256 of `{timestamp}.{body}`. Schemes
//! other than `v1` are ignored, as Stripe requires.

use aws_lc_rs::hmac;
use chrono::TimeDelta;
use domain::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// How far the timestamp may be from the present time. A recorded request is worthless afterwards.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// The signing secret of a webhook endpoint.
pub struct WebhookSecret(hmac::Key);

/// Why a request was not accepted as one of Stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the header Stripe-Signature is missing or malformed")]
    Malformed,
    #[error("no signature matches the body")]
    Mismatch,
    #[error("the timestamp is too far from the present time")]
    OutsideTolerance,
}

impl WebhookSecret {
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        Self(hmac::Key::new(
            hmac::HMAC_SHA256,
            secret.expose_secret().trim().as_bytes(),
        ))
    }

    /// Accepts the request if one of the signatures matches and is recent. Signatures are compared in
    /// constant time.
    pub fn verify(&self, header: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
        let fields = || header.split(',').filter_map(|field| field.trim().split_once('='));
        let timestamp = fields()
            .find_map(|(name, value)| (name == "t").then_some(value))
            .ok_or(SignatureError::Malformed)?;
        let sent_at = timestamp
            .parse()
            .ok()
            .and_then(|seconds| Timestamp::from_timestamp(seconds, 0))
            .ok_or(SignatureError::Malformed)?;
        let signed = [timestamp.as_bytes(), b".", body].concat();
        let matches = fields()
            .filter(|(scheme, _)| *scheme == "v1")
            .filter_map(|(_, signature)| decode_hex(signature))
            .any(|signature| hmac::verify(&self.0, &signed, &signature).is_ok());
        if !matches {
            return Err(SignatureError::Mismatch);
        }
        if (now - sent_at).abs() > TOLERANCE {
            return Err(SignatureError::OutsideTolerance);
        }
        Ok(())
    }
}

/// Returns `None` unless the text consists of pairs of hexadecimal digits.
fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const SENT_AT: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).unwrap()
    }

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::new(&text.to_owned().into())
    }

    fn sign(secret: &str, body: &[u8]) -> String {
        let signed = [format!("{SENT_AT}.").as_bytes(), body].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &signed);
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn signature_agrees_with_a_value_from_another_implementation() {
        // printf '1800000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
        assert_eq!(
            sign("whsec_test", BODY),
            "45705be2a45ab5acdd1395cc695e9e7073125385ec24194921c401dff44176f8"
        );
    }

    #[test]
    fn one_matching_signature_of_several_is_enough() {
        let valid = sign("whsec_test", BODY);
        let other = sign("whsec_old", BODY);
        for header in [
            format!("t={SENT_AT},v1={valid}"),
            format!("t={SENT_AT},v1={other},v1={valid},v0=00"),
            format!("v1={valid}, t={SENT_AT}"),
        ] {
            assert_eq!(
                secret("whsec_test\n").verify(&header, BODY, at(SENT_AT)),
                Ok(()),
                "{header}"
            );
        }
    }

    #[test]
    fn other_bodies_secrets_times_and_schemes_do_not_match() {
        let valid = sign("whsec_test", BODY);
        let verify = |header: String, body: &[u8]| secret("whsec_test").verify(&header, body, at(SENT_AT));
        let header = format!("t={SENT_AT},v1={valid}");
        assert_eq!(
            verify(header.clone(), br#"{"id":"evt_2"}"#),
            Err(SignatureError::Mismatch)
        );
        assert_eq!(
            secret("whsec_other").verify(&header, BODY, at(SENT_AT)),
            Err(SignatureError::Mismatch)
        );
        for header in [
            format!("t={},v1={valid}", SENT_AT + 1),
            format!("t={SENT_AT},v0={valid}"),
            format!("t={SENT_AT},v1={}", &valid[..62]),
            format!("t={SENT_AT},v1=+{}", &valid[1..]),
            format!("t={SENT_AT}"),
        ] {
            assert_eq!(
                verify(header.clone(), BODY),
                Err(SignatureError::Mismatch),
                "{header}"
            );
        }
    }

    #[test]
    fn malformed_headers_are_rejected() {
        for header in [
            "",
            "t",
            "v1=00",
            "t=,v1=00",
            "t=now,v1=00",
            "t=9223372036854775807,v1=00",
        ] {
            assert_eq!(
                secret("whsec_test").verify(header, BODY, at(SENT_AT)),
                Err(SignatureError::Malformed),
                "{header}"
            );
        }
    }

    #[test]
    fn old_and_future_requests_are_rejected() {
        let header = format!("t={SENT_AT},v1={}", sign("whsec_test", BODY));
        let verify = |seconds| secret("whsec_test").verify(&header, BODY, at(SENT_AT + seconds));
        assert_eq!((verify(300), verify(-300)), (Ok(()), Ok(())));
        assert_eq!(verify(301), Err(SignatureError::OutsideTolerance));
        assert_eq!(verify(-301), Err(SignatureError::OutsideTolerance));
    }
}
