//! Refreshing the JWKS of the issuer of user tokens.

use std::time::Duration;

use core_api::jwks_refresh::JwksRefresher;
use domain::Clock;
use tokens::{TokenError, TokenVerifier};
use tokio::time::Instant;

use crate::{
    test_issuer::TestIssuer,
    test_user::{AUDIENCE, ISSUER, KID, TestUser, jwks},
};

/// A verifier that a running refresher supplies with the issuer's keys.
fn start_verifier(issuer: &TestIssuer) -> TokenVerifier {
    let (verifier, requests) = TokenVerifier::with_key_refresh(ISSUER, AUDIENCE, Clock::system());
    let refresher = JwksRefresher::new(issuer.jwks_url.clone(), verifier.clone(), requests).unwrap();
    tokio::spawn(refresher.run());
    verifier
}

/// The published key set, with another key id.
fn jwks_with_kid(kid: &str) -> String {
    jwks().replace(KID, kid)
}

#[tokio::test]
async fn retries_until_the_issuer_publishes_keys() {
    let issuer = TestIssuer::start_without_keys().await;
    let verifier = start_verifier(&issuer);
    let token = TestUser::customer().token();
    assert_eq!(
        verifier.verify_with_refresh(&token).await,
        Err(TokenError::NoKeys)
    );
    issuer.publish(jwks());
    let deadline = Instant::now() + Duration::from_secs(10);
    while verifier.verify(&token).is_err() {
        assert!(
            Instant::now() < deadline,
            "the refresher does not read the published keys"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn unknown_kid_triggers_a_refresh_and_an_invalid_key_set_is_ignored() {
    let issuer = TestIssuer::start_without_keys().await;
    issuer.publish(&jwks_with_kid("old"));
    let verifier = start_verifier(&issuer);
    while !verifier.has_keys() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let token = TestUser::customer().token();
    assert_eq!(verifier.verify(&token), Err(TokenError::UnknownKey));

    // The refresher drops requests within its cool-down, which lasts for some seconds after the first
    // refresh.
    issuer.publish(jwks());
    let deadline = Instant::now() + Duration::from_secs(20);
    while verifier.verify_with_refresh(&token).await.is_err() {
        assert!(
            Instant::now() < deadline,
            "the refresher does not read the new key"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let requests_before = issuer.request_count();
    issuer.publish("not keys");
    assert!(verifier.verify_with_refresh(&token).await.is_ok());
    assert_eq!(
        issuer.request_count(),
        requests_before,
        "a token with a known key triggers no refresh"
    );
}

#[tokio::test]
async fn unknown_kid_does_not_flood_jwks_endpoint() {
    let issuer = TestIssuer::start_without_keys().await;
    issuer.publish(&jwks_with_kid("other"));
    let verifier = start_verifier(&issuer);
    let token = TestUser::customer().token();
    let end = Instant::now() + Duration::from_secs(2);
    let mut rejected = 0;
    while Instant::now() < end {
        assert!(verifier.verify_with_refresh(&token).await.is_err());
        rejected += 1;
    }
    assert!(
        rejected > 100,
        "only {rejected} tokens were rejected, so each waited too long"
    );
    assert!(
        issuer.request_count() <= 2,
        "{} requests to the JWKS endpoint",
        issuer.request_count()
    );
}
