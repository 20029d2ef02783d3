//! Tokens that open the door and tokens that must not.

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

/// A key of an issuer, for tokens by one algorithm.
struct TestKeys {
    pem: String,
    signing_key: EncodingKey,
    algorithm: Algorithm,
    jwks: String,
    /// What everybody can read of it.
    public_key: Vec<u8>,
}

/// As our own programs have it.
fn ed25519_keys() -> TestKeys {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = pair.public_key().as_ref().to_vec();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k1",
                     "x": BASE64_URL_SAFE_NO_PAD.encode(&public)});
    let pem = private_pem(&pair);
    TestKeys {
        signing_key: EncodingKey::from_ed_pem(pem.as_bytes()).unwrap(),
        pem,
        algorithm: Algorithm::EdDSA,
        jwks: json!({"keys": [jwk]}).to_string(),
        public_key: public,
    }
}

/// As people's issuer has it.
fn rsa_keys() -> TestKeys {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let modulus = pair.public_key().modulus().big_endian_without_leading_zero();
    let exponent = pair.public_key().exponent().big_endian_without_leading_zero();
    let jwk = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1",
                     "n": BASE64_URL_SAFE_NO_PAD.encode(modulus), "e": BASE64_URL_SAFE_NO_PAD.encode(exponent)});
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

/// A clock that the test moves, in seconds since [`START`].
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicI64>);

impl TestClock {
    fn clock(&self) -> Clock {
        let hands = self.0.clone();
        Clock::from_fn(move || Timestamp::from_timestamp(START + hands.load(Ordering::SeqCst), 0).unwrap())
    }

    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

fn verifier(keys: &TestKeys, hands: &TestClock) -> TokenVerifier {
    TokenVerifier::from_jwks(&keys.jwks, ISSUER, AUDIENCE, hands.clock()).unwrap()
}

fn issuer(keys: &TestKeys, hands: &TestClock) -> ServiceTokenIssuer {
    let key = ServiceSigningKey {
        kid: "k1".into(),
        private_key_pem: keys.pem.clone().into(),
    };
    ServiceTokenIssuer::new(&key, ISSUER, AUDIENCE, "saga", hands.clock()).unwrap()
}

fn claims() -> Value {
    json!({"sub": "saga", "role": "service", "iss": ISSUER, "aud": AUDIENCE,
           "iat": START, "exp": START + 300, "jti": "1"})
}

fn sign(header: &Header, claims: &Value, keys: &TestKeys) -> String {
    encode(header, claims, &keys.signing_key).unwrap()
}

/// A token as it should be.
fn token(keys: &TestKeys) -> String {
    sign(&header(keys.algorithm), &claims(), keys)
}

fn header(algorithm: Algorithm) -> Header {
    Header {
        kid: Some("k1".into()),
        ..Header::new(algorithm)
    }
}

/// A token by a key that nobody published.
fn token_with_unknown_kid(keys: &TestKeys) -> String {
    let header = Header {
        kid: Some("k2".into()),
        ..header(keys.algorithm)
    };
    sign(&header, &claims(), keys)
}

#[test]
fn a_program_is_let_in_by_the_token_it_signs() {
    let (keys, hands) = (ed25519_keys(), TestClock::default());
    let claims = verifier(&keys, &hands)
        .verify(&issuer(&keys, &hands).token().unwrap())
        .unwrap();
    assert_eq!((claims.sub.as_str(), claims.role), ("saga", Role::Service));
}

#[test]
fn a_program_renews_its_token_before_the_old_one_ends() {
    let (keys, hands) = (ed25519_keys(), TestClock::default());
    let (signer, verifier) = (issuer(&keys, &hands), verifier(&keys, &hands));
    let first = signer.token().unwrap();
    hands.set(239);
    assert_eq!(signer.token().unwrap(), first);
    hands.set(240);
    let second = signer.token().unwrap();
    assert_ne!(second, first);
    hands.set(330);
    assert_eq!(verifier.verify(&first), Err(TokenError::Expired));
    assert!(verifier.verify(&second).is_ok());
}

/// The signature is checked once, the time whenever the token comes.
#[test]
fn a_token_that_was_let_in_before_ends_all_the_same() {
    let (keys, hands) = (ed25519_keys(), TestClock::default());
    let verifier = verifier(&keys, &hands);
    let token = token(&keys);
    assert!(verifier.verify(&token).is_ok());
    hands.set(329);
    assert!(verifier.verify(&token).is_ok());
    hands.set(330);
    assert_eq!(verifier.verify(&token), Err(TokenError::Expired));
    hands.set(-31);
    assert_eq!(verifier.verify(&token), Err(TokenError::Invalid));
}

#[test]
fn whatever_is_wrong_with_a_token_keeps_its_bearer_out() {
    let (programs, people) = (ed25519_keys(), rsa_keys());
    assert_rejects_invalid_tokens(&programs, &ed25519_keys(), &people);
    assert_rejects_invalid_tokens(&people, &rsa_keys(), &programs);
    let rs384 = sign(&header(Algorithm::RS384), &claims(), &people);
    assert_eq!(
        verifier(&people, &TestClock::default()).verify(&rs384),
        Err(TokenError::Invalid),
        "another algorithm"
    );
}

/// `stranger` has a key of the same kind, `of_another_kind` one for the other algorithm.
fn assert_rejects_invalid_tokens(ours: &TestKeys, stranger: &TestKeys, of_another_kind: &TestKeys) {
    let verifier = verifier(ours, &TestClock::default());
    let good = token(ours);
    assert!(verifier.verify(&good).is_ok());

    let with = |field: &str, value: Value| {
        let mut claims = claims();
        claims[field] = value;
        sign(&header(ours.algorithm), &claims, ours)
    };
    let none = format!(
        "{}.{}.",
        BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "JWT", "kid": "k1"}).to_string()),
        BASE64_URL_SAFE_NO_PAD.encode(claims().to_string())
    );
    let (rest, _) = good.rsplit_once('.').unwrap();
    let secret = EncodingKey::from_secret(&ours.public_key);
    let confused = encode(&header(Algorithm::HS256), &claims(), &secret).unwrap();

    for (what, token) in [
        ("signed by a stranger", token(stranger)),
        ("signed by another algorithm", token(of_another_kind)),
        ("alg none", none),
        ("the public key taken for a shared secret", confused),
        (
            "no key named",
            sign(&Header::new(ours.algorithm), &claims(), ours),
        ),
        ("another issuer", with("iss", json!("https://elsewhere.test"))),
        ("another audience", with("aud", json!("elsewhere"))),
        ("a role that there is not", with("role", json!("root"))),
        ("issued in the future", with("iat", json!(START + 3600))),
        ("no signature", format!("{rest}.")),
        ("not a token", "token".to_owned()),
        ("endless", format!("{good}{}", "A".repeat(5000))),
    ] {
        let answer = verifier.verify(&token);
        assert_eq!(answer, Err(TokenError::Invalid), "{what}, {:?}", ours.algorithm);
    }
    assert_eq!(
        verifier.verify(&with("exp", json!(START - 31))),
        Err(TokenError::Expired)
    );
    assert_eq!(
        verifier.verify(&token_with_unknown_kid(ours)),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn a_program_signs_by_ed25519_or_not_at_all() {
    let key = ServiceSigningKey {
        kid: "k1".into(),
        private_key_pem: rsa_keys().pem.into(),
    };
    let signer = ServiceTokenIssuer::new(&key, ISSUER, AUDIENCE, "saga", TestClock::default().clock());
    assert!(signer.is_err());
}

#[tokio::test]
async fn a_token_by_an_unknown_key_waits_for_the_keys_to_be_read_again() {
    let (keys, hands) = (ed25519_keys(), TestClock::default());
    let (verifier, mut wishes) = TokenVerifier::with_key_refresh(ISSUER, AUDIENCE, hands.clock());
    let token = token(&keys);
    assert!(!verifier.has_keys());
    assert_eq!(verifier.verify(&token), Err(TokenError::NoKeys));

    let reader = verifier.clone();
    let reading = tokio::spawn(async move {
        let first = wishes.recv().await.unwrap();
        reader.replace_keys(&keys.jwks).unwrap();
        first.send(()).unwrap();
        // The second wish finds nothing new.
        drop(wishes.recv().await.unwrap());
        (keys, wishes)
    });
    assert!(verifier.verify_with_refresh(&token).await.is_ok());
    assert!(verifier.has_keys());
    assert!(
        verifier.verify_with_refresh(&token).await.is_ok(),
        "a known key is not asked for"
    );
    let of_another = token_with_unknown_kid(&ed25519_keys());
    assert_eq!(
        verifier.verify_with_refresh(&of_another).await,
        Err(TokenError::UnknownKey)
    );

    // Without anybody who reads, it is refused at once.
    let (_, wishes) = reading.await.unwrap();
    drop(wishes);
    assert_eq!(
        verifier.verify_with_refresh(&of_another).await,
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn a_key_set_without_a_usable_key_is_refused_at_start() {
    let load = |jwks: &str| TokenVerifier::from_jwks(jwks, ISSUER, AUDIENCE, TestClock::default().clock());
    assert!(matches!(load("{}"), Err(JwksError::Malformed(_))));
    assert!(matches!(load(r#"{"keys":[]}"#), Err(JwksError::Empty)));
    let shared = r#"{"keys":[{"kty":"oct","kid":"k1","k":"c2VjcmV0"}]}"#;
    assert!(matches!(load(shared), Err(JwksError::UnusableKey { .. })));
    let other_curve = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","x":"AA","y":"AA"}]}"#;
    assert!(matches!(load(other_curve), Err(JwksError::UnusableKey { .. })));
}

#[test]
fn a_token_that_was_good_is_no_good_after_its_end_nor_with_a_letter_changed() {
    let (keys, hands) = (ed25519_keys(), TestClock::default());
    let verifier = verifier(&keys, &hands);
    let token = token(&keys);
    let first = verifier.verify(&token).unwrap();
    assert_eq!(
        verifier.verify(&token),
        Ok(first),
        "the second time it is recognised"
    );

    let mut forged = token.clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    assert_eq!(verifier.verify(&forged), Err(TokenError::Invalid));
    hands.set(330);
    assert_eq!(verifier.verify(&token), Err(TokenError::Expired));
    hands.set(-31);
    assert_eq!(
        verifier.verify(&token),
        Err(TokenError::Invalid),
        "before its time"
    );
}
