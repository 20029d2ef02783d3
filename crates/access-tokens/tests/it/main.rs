//! Tokens that open the door and tokens that must not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use access_tokens::{InvalidJwks, InvalidToken, Role, ServiceKey, ServiceSigner, Verifier};
use aws_lc_rs::{encoding::AsDer, rsa::KeySize, signature::KeyPair};
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{Clock, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

const ISSUER: &str = "https://services.test";
const AUDIENCE: &str = "test";
const START: i64 = 1_800_000_000;

struct Keys {
    pem: String,
    jwks: String,
    modulus: Vec<u8>,
}

fn keys() -> Keys {
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = pair.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        BASE64_STANDARD.encode(der.as_ref())
    );
    let modulus = pair
        .public_key()
        .modulus()
        .big_endian_without_leading_zero()
        .to_vec();
    let exponent = pair
        .public_key()
        .exponent()
        .big_endian_without_leading_zero()
        .to_vec();
    let jwks = json!({"keys": [{
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1",
        "n": BASE64_URL_SAFE_NO_PAD.encode(&modulus), "e": BASE64_URL_SAFE_NO_PAD.encode(exponent),
    }]});
    Keys {
        pem,
        jwks: jwks.to_string(),
        modulus,
    }
}

/// A clock that the test moves, in seconds since [`START`].
#[derive(Clone, Default)]
struct Hands(Arc<AtomicI64>);

impl Hands {
    fn clock(&self) -> Clock {
        let hands = self.0.clone();
        Clock::from_fn(move || Timestamp::from_timestamp(START + hands.load(Ordering::SeqCst), 0).unwrap())
    }

    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

fn verifier(keys: &Keys, hands: &Hands) -> Verifier {
    Verifier::from_jwks(&keys.jwks, ISSUER, AUDIENCE, hands.clock()).unwrap()
}

fn signer(keys: &Keys, hands: &Hands) -> ServiceSigner {
    let key = ServiceKey {
        kid: "k1".into(),
        private_key_pem: keys.pem.clone().into(),
    };
    ServiceSigner::new(&key, ISSUER, AUDIENCE, "saga", hands.clock()).unwrap()
}

fn claims() -> Value {
    json!({"sub": "saga", "role": "service", "iss": ISSUER, "aud": AUDIENCE,
           "iat": START, "exp": START + 300, "jti": "1"})
}

fn sign(header: &Header, claims: &Value, keys: &Keys) -> String {
    encode(
        header,
        claims,
        &EncodingKey::from_rsa_pem(keys.pem.as_bytes()).unwrap(),
    )
    .unwrap()
}

fn header() -> Header {
    Header {
        kid: Some("k1".into()),
        ..Header::new(Algorithm::RS256)
    }
}

fn named(kid: &str) -> Header {
    Header {
        kid: Some(kid.into()),
        ..header()
    }
}

#[test]
fn a_program_is_let_in_by_the_token_it_signs() {
    let (keys, hands) = (keys(), Hands::default());
    let claims = verifier(&keys, &hands)
        .verify(&signer(&keys, &hands).token().unwrap())
        .unwrap();
    assert_eq!((claims.sub.as_str(), claims.role), ("saga", Role::Service));
}

#[test]
fn a_program_renews_its_token_before_the_old_one_ends() {
    let (keys, hands) = (keys(), Hands::default());
    let (signer, verifier) = (signer(&keys, &hands), verifier(&keys, &hands));
    let first = signer.token().unwrap();
    hands.set(239);
    assert_eq!(signer.token().unwrap(), first);
    hands.set(240);
    let second = signer.token().unwrap();
    assert_ne!(second, first);
    hands.set(330);
    assert_eq!(verifier.verify(&first), Err(InvalidToken::Expired));
    assert!(verifier.verify(&second).is_ok());
}

/// The signature is checked once, the time whenever the token comes.
#[test]
fn a_token_that_was_let_in_before_ends_all_the_same() {
    let (keys, hands) = (keys(), Hands::default());
    let verifier = verifier(&keys, &hands);
    let token = sign(&header(), &claims(), &keys);
    assert!(verifier.verify(&token).is_ok());
    hands.set(329);
    assert!(verifier.verify(&token).is_ok());
    hands.set(330);
    assert_eq!(verifier.verify(&token), Err(InvalidToken::Expired));
    hands.set(-31);
    assert_eq!(verifier.verify(&token), Err(InvalidToken::Invalid));
}

#[test]
fn whatever_is_wrong_with_a_token_keeps_its_bearer_out() {
    let (ours, hands) = (keys(), Hands::default());
    let verifier = verifier(&ours, &hands);
    assert!(verifier.verify(&sign(&header(), &claims(), &ours)).is_ok());

    let with = |field: &str, value: Value| {
        let mut claims = claims();
        claims[field] = value;
        sign(&header(), &claims, &ours)
    };
    let none = format!(
        "{}.{}.",
        BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "JWT", "kid": "k1"}).to_string()),
        BASE64_URL_SAFE_NO_PAD.encode(claims().to_string())
    );
    let good = sign(&header(), &claims(), &ours);
    let (rest, _) = good.rsplit_once('.').unwrap();
    let hmac = Header {
        kid: Some("k1".into()),
        ..Header::new(Algorithm::HS256)
    };
    let confused = encode(&hmac, &claims(), &EncodingKey::from_secret(&ours.modulus)).unwrap();
    let other_algorithm = Header {
        alg: Algorithm::RS384,
        ..header()
    };

    for (what, token) in [
        ("signed by a stranger", sign(&header(), &claims(), &keys())),
        ("alg none", none),
        ("the public key taken for a shared secret", confused),
        ("another algorithm", sign(&other_algorithm, &claims(), &ours)),
        (
            "no key named",
            sign(&Header::new(Algorithm::RS256), &claims(), &ours),
        ),
        ("another issuer", with("iss", json!("https://elsewhere.test"))),
        ("another audience", with("aud", json!("elsewhere"))),
        ("a role that there is not", with("role", json!("root"))),
        ("issued in the future", with("iat", json!(START + 3600))),
        ("no signature", format!("{rest}.")),
        ("not a token", "token".to_owned()),
        ("endless", format!("{good}{}", "A".repeat(5000))),
    ] {
        assert_eq!(verifier.verify(&token), Err(InvalidToken::Invalid), "{what}");
    }
    assert_eq!(
        verifier.verify(&with("exp", json!(START - 31))),
        Err(InvalidToken::Expired)
    );
    let unknown = sign(&named("k2"), &claims(), &ours);
    assert_eq!(verifier.verify(&unknown), Err(InvalidToken::UnknownKey));
}

#[tokio::test]
async fn a_token_by_an_unknown_key_waits_for_the_keys_to_be_read_again() {
    let (keys, hands) = (keys(), Hands::default());
    let (verifier, mut wishes) = Verifier::awaiting_keys(ISSUER, AUDIENCE, hands.clock());
    let token = sign(&header(), &claims(), &keys);
    assert!(!verifier.has_keys());
    assert_eq!(verifier.verify(&token), Err(InvalidToken::NoKeys));

    let reader = verifier.clone();
    let reading = tokio::spawn(async move {
        let first = wishes.recv().await.unwrap();
        reader.replace_keys(&keys.jwks).unwrap();
        first.send(()).unwrap();
        // The second wish finds nothing new.
        drop(wishes.recv().await.unwrap());
        (keys, wishes)
    });
    assert!(verifier.verify_by_fresh_keys(&token).await.is_ok());
    assert!(verifier.has_keys());
    assert!(
        verifier.verify_by_fresh_keys(&token).await.is_ok(),
        "a known key is not asked for"
    );
    let of_another = sign(&named("k2"), &claims(), &self::keys());
    assert_eq!(
        verifier.verify_by_fresh_keys(&of_another).await,
        Err(InvalidToken::UnknownKey)
    );

    // Without anybody who reads, it is refused at once.
    let (_, wishes) = reading.await.unwrap();
    drop(wishes);
    assert_eq!(
        verifier.verify_by_fresh_keys(&of_another).await,
        Err(InvalidToken::UnknownKey)
    );
}

#[test]
fn a_key_set_without_a_usable_key_is_refused_at_start() {
    let load = |jwks: &str| Verifier::from_jwks(jwks, ISSUER, AUDIENCE, Hands::default().clock());
    assert!(matches!(load("{}"), Err(InvalidJwks::Malformed(_))));
    assert!(matches!(load(r#"{"keys":[]}"#), Err(InvalidJwks::Empty)));
    let shared = r#"{"keys":[{"kty":"oct","kid":"k1","k":"c2VjcmV0"}]}"#;
    assert!(matches!(load(shared), Err(InvalidJwks::Key { .. })));
}

#[test]
fn a_token_that_was_good_is_no_good_after_its_end_nor_with_a_letter_changed() {
    let (keys, hands) = (keys(), Hands::default());
    let verifier = verifier(&keys, &hands);
    let token = sign(&header(), &claims(), &keys);
    let first = verifier.verify(&token).unwrap();
    assert_eq!(
        verifier.verify(&token),
        Ok(first),
        "the second time it is recognised"
    );

    let mut forged = token.clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    assert_eq!(verifier.verify(&forged), Err(InvalidToken::Invalid));
    hands.set(330);
    assert_eq!(verifier.verify(&token), Err(InvalidToken::Expired));
    hands.set(-31);
    assert_eq!(
        verifier.verify(&token),
        Err(InvalidToken::Invalid),
        "before its time"
    );
}
