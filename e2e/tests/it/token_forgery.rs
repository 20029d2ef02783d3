//! Access tokens that nobody issued for what they are used for open neither door: not the front door, and not core-api
//! behind it.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokens::Role;

use e2e::system::{TestSystem, send};

/// By whatever `with` shows at the door, nobody comes in anywhere.
async fn assert_rejected_everywhere(
    system: &TestSystem,
    what: &str,
    with: impl Fn(RequestBuilder) -> RequestBuilder,
) {
    let answer = send(with(system.gateway_request(Method::GET, "/v1/me"))).await;
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    // The door's own words: core-api, which would refuse it as well, was not asked.
    assert_eq!(answer.body, json!({"message": "Unauthorized"}), "{what}");
    for (method, path) in [
        (Method::GET, "/v1/me"),
        (Method::GET, "/v1/orders"),
        (Method::POST, "/v1/orders"),
    ] {
        let answer = send(with(system.core_api_request(method, path))).await;
        assert!(
            answer.headers.contains_key("www-authenticate"),
            "{what}: {answer:?}"
        );
        assert_eq!(answer.expect_problem(401), "unauthorized", "{what}");
    }
}

#[tokio::test]
async fn a_token_that_was_not_issued_opens_neither_door() {
    let system = TestSystem::shared().await;
    let (customer, admin) = (system.customer().await, system.admin().await);
    let claims = system.token_claims(&customer.id, Role::Customer);
    let with = |field: &str, value: Value| {
        let mut claims = claims.clone();
        claims[field] = value;
        system.sign_token(&claims, Role::Customer)
    };
    let header = jsonwebtoken::decode_header(&customer.token).unwrap();
    let mut parts = customer.token.split('.');
    let (head, payload, signature) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let mut promoted = claims.clone();
    promoted["role"] = json!("admin");
    let promoted = BASE64_URL_SAFE_NO_PAD.encode(promoted.to_string());
    let others_payload = admin.token.split('.').nth(1).unwrap();
    let unsigned = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let hmac = |secret: &[u8]| {
        let header = Header {
            kid: header.kid.clone(),
            ..Header::new(Algorithm::HS256)
        };
        encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let renamed = |kid: &str| {
        let head = json!({"alg": "RS256", "typ": "JWT", "kid": kid}).to_string();
        format!("{}.{payload}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(head))
    };
    // What everybody can read at /.well-known/jwks.json.
    let jwks = send(system.gateway_request(Method::GET, "/.well-known/jwks.json"))
        .await
        .expect_status(200);
    let modulus = jwks["keys"][0]["n"].as_str().unwrap();

    let tokens = [
        ("expired", with("exp", json!(system.now().timestamp() - 3600))),
        ("for another audience", with("aud", json!("elsewhere"))),
        (
            "of another issuer",
            with("iss", json!("https://elsewhere.example")),
        ),
        (
            "signed by a program's key",
            system.sign_token(&claims, Role::Service),
        ),
        ("not signed", format!("{unsigned}.{payload}.")),
        ("not signed, and promoted", format!("{unsigned}.{promoted}.")),
        ("promoted", format!("{head}.{promoted}.{signature}")),
        (
            "with another's payload",
            format!("{head}.{others_payload}.{signature}"),
        ),
        ("without its signature", format!("{head}.{payload}.")),
        ("with the public key as a shared secret", hmac(modulus.as_bytes())),
        (
            "with the key set as a shared secret",
            hmac(jwks.to_string().as_bytes()),
        ),
        ("with a guessed shared secret", hmac(b"secret")),
        ("with no shared secret", hmac(b"")),
        ("with a key nobody has", renamed("another")),
        ("with a key that is a file", renamed("../../../../dev/null")),
        ("with a key that is a query", renamed("' OR '1'='1")),
        ("that is none", "token".to_owned()),
        (
            "of seven thousand characters",
            format!("{head}.{}.{signature}", "A".repeat(7_000)),
        ),
    ];
    for (what, token) in tokens {
        assert_rejected_everywhere(&system, what, |request| request.bearer_auth(&token)).await;
    }
    assert_rejected_everywhere(&system, "no token", |request| request).await;
    assert_rejected_everywhere(&system, "a token as a password", |request| {
        request.basic_auth(&customer.id, Some(&customer.token))
    })
    .await;
}
