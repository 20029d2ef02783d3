//! The API gateway and core-api both reject forged, expired and misused access tokens.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokens::Role;

use e2e::system::{TestSystem, send};

/// Asserts that the gateway and core-api reject all requests with the credentials that `with` adds.
async fn assert_rejected_everywhere(
    system: &TestSystem,
    description: &str,
    with: impl Fn(RequestBuilder) -> RequestBuilder,
) {
    let response = send(with(system.gateway_request(Method::GET, "/v1/me"))).await;
    assert_eq!(response.status, 401, "{description}: {response:?}");
    // This is the gateway's own response, so it did not forward the request to core-api.
    assert_eq!(response.body, json!({"message": "Unauthorized"}), "{description}");
    for (method, path) in [
        (Method::GET, "/v1/me"),
        (Method::GET, "/v1/orders"),
        (Method::POST, "/v1/orders"),
    ] {
        let response = send(with(system.core_api_request(method, path))).await;
        assert!(
            response.headers.contains_key("www-authenticate"),
            "{description}: {response:?}"
        );
        assert_eq!(response.expect_problem(401), "unauthorized", "{description}");
    }
}

#[tokio::test]
async fn gateway_and_core_api_reject_invalid_tokens() {
    let system = TestSystem::shared();
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
    let mut with_admin_role = claims.clone();
    with_admin_role["role"] = json!("admin");
    let with_admin_role = BASE64_URL_SAFE_NO_PAD.encode(with_admin_role.to_string());
    let admin_payload = admin.token.split('.').nth(1).unwrap();
    let unsigned = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let hmac = |secret: &[u8]| {
        let header = Header {
            kid: header.kid.clone(),
            ..Header::new(Algorithm::HS256)
        };
        encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let with_kid = |kid: &str| {
        let head = json!({"alg": "RS256", "typ": "JWT", "kid": kid}).to_string();
        format!("{}.{payload}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(head))
    };
    // The public keys, which attackers can read.
    let jwks = send(system.gateway_request(Method::GET, "/.well-known/jwks.json"))
        .await
        .expect_status(200);
    let modulus = jwks["keys"][0]["n"].as_str().unwrap();

    let tokens = [
        ("expired", with("exp", json!(system.now().timestamp() - 3600))),
        ("for another audience", with("aud", json!("elsewhere"))),
        (
            "from another issuer",
            with("iss", json!("https://elsewhere.example")),
        ),
        (
            "signed with a service's key",
            system.sign_token(&claims, Role::Service),
        ),
        ("unsigned", format!("{unsigned}.{payload}.")),
        (
            "unsigned with the role admin",
            format!("{unsigned}.{with_admin_role}."),
        ),
        (
            "with the role changed to admin",
            format!("{head}.{with_admin_role}.{signature}"),
        ),
        (
            "with another user's payload",
            format!("{head}.{admin_payload}.{signature}"),
        ),
        ("without its signature", format!("{head}.{payload}.")),
        ("with the public key as a shared secret", hmac(modulus.as_bytes())),
        (
            "with the key set as a shared secret",
            hmac(jwks.to_string().as_bytes()),
        ),
        ("with a guessed shared secret", hmac(b"secret")),
        ("with an empty shared secret", hmac(b"")),
        ("with an unknown key id", with_kid("another")),
        ("with a file path as key id", with_kid("../../../../dev/null")),
        ("with SQL as key id", with_kid("' OR '1'='1")),
        ("that is not a JWT", "token".to_owned()),
        (
            "with seven thousand characters",
            format!("{head}.{}.{signature}", "A".repeat(7_000)),
        ),
    ];
    for (description, token) in tokens {
        assert_rejected_everywhere(&system, description, |request| request.bearer_auth(&token)).await;
    }
    assert_rejected_everywhere(&system, "no token", |request| request).await;
    assert_rejected_everywhere(&system, "a token as a password", |request| {
        request.basic_auth(&customer.id, Some(&customer.token))
    })
    .await;
}
