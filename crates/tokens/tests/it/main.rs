//! Issuing service tokens, and verifying service tokens and user tokens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{Clock, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokens::{JwksError, Role, ServiceSigningKey, ServiceTokenIssuer, TokenError, TokenVerifier};

const ISSUER: &str = "https://services.test";
const AUDIENCE: &str = "test";
const START: i64 = 1_800_000_000;

/// An issuer's key pair, for tokens with one algorithm.
struct TestKeys {
    pem: String,
    signing_key: EncodingKey,
    algorithm: Algorithm,
    jwks: String,
    /// The bytes of the public key.
    public_key: Vec<u8>,
}

/// A key pair like that of service tokens.
fn ed25519_keys() -> TestKeys {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public_key = pair.public_key().as_ref().to_vec();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k1",
                     "x": BASE64_URL_SAFE_NO_PAD.encode(&public_key)});
    let pem = private_pem(&pair);
    TestKeys {
        signing_key: EncodingKey::from_ed_pem(pem.as_bytes()).unwrap(),
        pem,
        algorithm: Algorithm::EdDSA,
        jwks: json!({"keys": [jwk]}).to_string(),
        public_key,
    }
}

/// A key pair like that of user tokens.
fn rsa_keys() -> TestKeys {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let modulus = pair.public_key().modulus().big_endian_without_leading_zero();
    let exponent = pair.public_key().exponent().big_endian_without_leading_zero();
    let jwk = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1",
                     "n": BASE64_URL_SAFE_NO_PAD.encode(modulus),
                     "e": BASE64_URL_SAFE_NO_PAD.encode(exponent)});
    let pem = private_pem(&pair);
    TestKeys {
        signing_key: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        pem,
        algorithm: Algorithm::RS256,
        jwks: json!({"keys": [jwk]}).to_string(),
        public_key: modulus.to_vec(),
    }
}

fn private_pem(pair: &impl AsDer<Pkcs8V1Der<'static>>) -> String {
    let der = BASE64_STANDARD.encode(pair.as_der().unwrap().as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
}

/// A clock that stands still until the test sets it, in seconds since [`START`].
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicI64>);

impl TestClock {
    fn clock(&self) -> Clock {
        let seconds = self.0.clone();
        Clock::from_fn(move || Timestamp::from_timestamp(START + seconds.load(Ordering::SeqCst), 0).unwrap())
    }

    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

fn verifier(keys: &TestKeys, clock: &TestClock) -> TokenVerifier {
    TokenVerifier::from_jwks(&keys.jwks, ISSUER, AUDIENCE, clock.clock()).unwrap()
}

fn issuer(keys: &TestKeys, clock: &TestClock) -> ServiceTokenIssuer {
    let key = ServiceSigningKey {
        kid: "k1".into(),
        private_key_pem: keys.pem.clone().into(),
    };
    ServiceTokenIssuer::new(&key, ISSUER, AUDIENCE, "saga", clock.clock()).unwrap()
}

fn claims() -> Value {
    json!({"sub": "saga", "role": "service", "iss": ISSUER, "aud": AUDIENCE,
           "iat": START, "exp": START + 300, "jti": "1"})
}

fn sign(header: &Header, claims: &Value, keys: &TestKeys) -> String {
    encode(header, claims, &keys.signing_key).unwrap()
}

/// A valid token.
fn token(keys: &TestKeys) -> String {
    sign(&header(keys.algorithm), &claims(), keys)
}

fn header(algorithm: Algorithm) -> Header {
    Header {
        kid: Some("k1".into()),
        ..Header::new(algorithm)
    }
}

/// A token that names a key which is not in the key set.
fn token_with_unknown_kid(keys: &TestKeys) -> String {
    let header = Header {
        kid: Some("k2".into()),
        ..header(keys.algorithm)
    };
    sign(&header, &claims(), keys)
}

#[test]
fn accepts_token_of_service_token_issuer() {
    let (keys, clock) = (ed25519_keys(), TestClock::default());
    let claims = verifier(&keys, &clock)
        .verify(&issuer(&keys, &clock).token().unwrap())
        .unwrap();
    assert_eq!((claims.sub.as_str(), claims.role), ("saga", Role::Service));
}

#[test]
fn issuer_renews_its_token_before_it_expires() {
    let (keys, clock) = (ed25519_keys(), TestClock::default());
    let (issuer, verifier) = (issuer(&keys, &clock), verifier(&keys, &clock));
    let first = issuer.token().unwrap();
    clock.set(239);
    assert_eq!(issuer.token().unwrap(), first);
    clock.set(240);
    let second = issuer.token().unwrap();
    assert_ne!(second, first);
    clock.set(330);
    assert_eq!(verifier.verify(&first), Err(TokenError::Expired));
    assert!(verifier.verify(&second).is_ok());
}

#[test]
fn checks_expiry_of_cached_tokens_on_every_use() {
    let (keys, clock) = (ed25519_keys(), TestClock::default());
    let verifier = verifier(&keys, &clock);
    let token = token(&keys);
    assert!(verifier.verify(&token).is_ok());
    clock.set(329);
    assert!(verifier.verify(&token).is_ok());
    clock.set(330);
    assert_eq!(verifier.verify(&token), Err(TokenError::Expired));
    clock.set(-31);
    assert_eq!(verifier.verify(&token), Err(TokenError::Invalid));
}

#[test]
fn rejects_invalid_tokens_of_both_algorithms() {
    let (service_keys, user_keys) = (ed25519_keys(), rsa_keys());
    assert_rejects_invalid_tokens(&service_keys, &ed25519_keys(), &user_keys);
    assert_rejects_invalid_tokens(&user_keys, &rsa_keys(), &service_keys);
    let rs384 = sign(&header(Algorithm::RS384), &claims(), &user_keys);
    assert_eq!(
        verifier(&user_keys, &TestClock::default()).verify(&rs384),
        Err(TokenError::Invalid),
        "RS384 instead of RS256"
    );
}

/// `untrusted` has the same algorithm as `trusted`, `other_algorithm` has the other one.
fn assert_rejects_invalid_tokens(trusted: &TestKeys, untrusted: &TestKeys, other_algorithm: &TestKeys) {
    let verifier = verifier(trusted, &TestClock::default());
    let valid = token(trusted);
    assert!(verifier.verify(&valid).is_ok());

    let with_claim = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        sign(&header(trusted.algorithm), &claims, trusted)
    };
    let alg_none = format!(
        "{}.{}.",
        BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "JWT", "kid": "k1"}).to_string()),
        BASE64_URL_SAFE_NO_PAD.encode(claims().to_string())
    );
    let (without_signature, _) = valid.rsplit_once('.').unwrap();
    let public_key_as_secret = EncodingKey::from_secret(&trusted.public_key);
    let hmac = encode(&header(Algorithm::HS256), &claims(), &public_key_as_secret).unwrap();

    for (case, token) in [
        ("signed with an untrusted key", token(untrusted)),
        ("signed with another algorithm", token(other_algorithm)),
        ("alg none", alg_none),
        ("HMAC with the public key as the secret", hmac),
        (
            "no key id",
            sign(&Header::new(trusted.algorithm), &claims(), trusted),
        ),
        ("wrong issuer", with_claim("iss", json!("https://elsewhere.test"))),
        ("wrong audience", with_claim("aud", json!("elsewhere"))),
        ("unknown role", with_claim("role", json!("root"))),
        ("issued in the future", with_claim("iat", json!(START + 3600))),
        ("no signature", format!("{without_signature}.")),
        ("not a token", "token".to_owned()),
        ("too long", format!("{valid}{}", "A".repeat(5000))),
    ] {
        let result = verifier.verify(&token);
        assert_eq!(
            result,
            Err(TokenError::Invalid),
            "{case}, {:?}",
            trusted.algorithm
        );
    }
    assert_eq!(
        verifier.verify(&with_claim("exp", json!(START - 31))),
        Err(TokenError::Expired)
    );
    assert_eq!(
        verifier.verify(&token_with_unknown_kid(trusted)),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn issuer_accepts_ed25519_keys_only() {
    let key = ServiceSigningKey {
        kid: "k1".into(),
        private_key_pem: rsa_keys().pem.into(),
    };
    let issuer = ServiceTokenIssuer::new(&key, ISSUER, AUDIENCE, "saga", TestClock::default().clock());
    assert!(issuer.is_err());
}

#[tokio::test]
async fn unknown_kid_waits_for_key_refresh() {
    let (keys, clock) = (ed25519_keys(), TestClock::default());
    let (verifier, mut requests) = TokenVerifier::with_key_refresh(ISSUER, AUDIENCE, clock.clock());
    let token = token(&keys);
    assert!(!verifier.has_keys());
    assert_eq!(verifier.verify(&token), Err(TokenError::NoKeys));

    let refreshed_verifier = verifier.clone();
    let refresher = tokio::spawn(async move {
        let first = requests.recv().await.unwrap();
        refreshed_verifier.replace_keys(&keys.jwks).unwrap();
        first.send(()).unwrap();
        // The second refresh finds no new keys.
        drop(requests.recv().await.unwrap());
        (keys, requests)
    });
    assert!(verifier.verify_with_refresh(&token).await.is_ok());
    assert!(verifier.has_keys());
    assert!(
        verifier.verify_with_refresh(&token).await.is_ok(),
        "a known key needs no refresh"
    );
    let unknown_kid = token_with_unknown_kid(&ed25519_keys());
    assert_eq!(
        verifier.verify_with_refresh(&unknown_kid).await,
        Err(TokenError::UnknownKey)
    );

    // Once the receiver is gone, the verifier rejects the token without waiting.
    let (_, requests) = refresher.await.unwrap();
    drop(requests);
    assert_eq!(
        verifier.verify_with_refresh(&unknown_kid).await,
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn rejects_key_sets_without_usable_keys() {
    let load = |jwks: &str| TokenVerifier::from_jwks(jwks, ISSUER, AUDIENCE, TestClock::default().clock());
    assert!(matches!(load("{}"), Err(JwksError::Malformed(_))));
    assert!(matches!(load(r#"{"keys":[]}"#), Err(JwksError::Empty)));
    let symmetric = r#"{"keys":[{"kty":"oct","kid":"k1","k":"c2VjcmV0"}]}"#;
    assert!(matches!(load(symmetric), Err(JwksError::UnusableKey { .. })));
    let other_curve = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","x":"AA","y":"AA"}]}"#;
    assert!(matches!(load(other_curve), Err(JwksError::UnusableKey { .. })));
}

#[test]
fn cached_token_is_rejected_once_expired_or_altered() {
    let (keys, clock) = (ed25519_keys(), TestClock::default());
    let verifier = verifier(&keys, &clock);
    let token = token(&keys);
    let first = verifier.verify(&token).unwrap();
    assert_eq!(
        verifier.verify(&token),
        Ok(first),
        "the second verification uses the cache"
    );

    let mut altered = token.clone();
    let last = if altered.pop() == Some('A') { 'Q' } else { 'A' };
    altered.push(last);
    assert_eq!(verifier.verify(&altered), Err(TokenError::Invalid));
    clock.set(330);
    assert_eq!(verifier.verify(&token), Err(TokenError::Expired));
    clock.set(-31);
    assert_eq!(
        verifier.verify(&token),
        Err(TokenError::Invalid),
        "issued in the future"
    );
}
