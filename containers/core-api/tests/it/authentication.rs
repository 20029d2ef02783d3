//! Which access tokens core-api accepts, and which routes need none.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use insta::assert_snapshot;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;

use crate::{
    support::{RequestBuilderExt, TestApp, TestResponse},
    test_user::{KID, TRUSTED_KEYS, TestKeys, TestUser, token_header},
};

/// The problem document and the `WWW-Authenticate` challenge of a response.
fn problem_and_challenge(response: &TestResponse) -> String {
    let challenge = response
        .headers
        .get("www-authenticate")
        .and_then(Value::as_str)
        .unwrap_or("-");
    format!("{} | {challenge}", response.problem())
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn accepts_only_valid_tokens_of_the_trusted_issuer(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    assert_eq!(
        app.get("/v1/orders")
            .bearer_auth(user.token())
            .fetch()
            .await
            .status,
        200
    );

    let unsigned = |algorithm: &str| {
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({"alg": algorithm, "typ": "JWT", "kid": KID}));
        format!("{header}.{}.", part(serde_json::to_value(user.claims()).unwrap()))
    };
    let unknown_kid = Header {
        kid: Some("customers-2".to_owned()),
        ..Header::new(Algorithm::RS256)
    };
    let without_kid = Header::new(Algorithm::RS256);
    let hmac = |secret: &[u8]| user.sign(&token_header(Algorithm::HS256), &EncodingKey::from_secret(secret));
    let valid = user.token();
    let (without_signature, _) = valid.rsplit_once('.').unwrap();
    let cases = [
        (
            "expired",
            user.clone()
                .with_claims(|claims| claims.exp = claims.iat - 60)
                .token(),
        ),
        (
            "from the future",
            user.clone().with_claims(|claims| claims.iat += 3600).token(),
        ),
        (
            "wrong audience",
            user.clone()
                .with_claims(|claims| claims.aud = "elsewhere".to_owned())
                .token(),
        ),
        (
            "wrong issuer",
            user.clone()
                .with_claims(|claims| claims.iss = "https://evil.test".to_owned())
                .token(),
        ),
        (
            "wrong key",
            user.sign(&token_header(Algorithm::RS256), &TestKeys::generate().signing_key),
        ),
        ("wrong kid", user.sign(&unknown_kid, &TRUSTED_KEYS.signing_key)),
        ("no kid", user.sign(&without_kid, &TRUSTED_KEYS.signing_key)),
        (
            "another RSA algorithm",
            user.sign(&token_header(Algorithm::RS512), &TRUSTED_KEYS.signing_key),
        ),
        ("HMAC with the public key", hmac(&TRUSTED_KEYS.public_key)),
        ("HMAC with the key set", hmac(TRUSTED_KEYS.jwks.as_bytes())),
        ("alg=none", unsigned("none")),
        ("alg=NONE", unsigned("NONE")),
        ("RS256 without signature", unsigned("RS256")),
        (
            "signature of other claims",
            format!("{without_signature}.{}", admin_signature()),
        ),
        ("not a token", "not-a-token".to_owned()),
        ("too long", "A".repeat(5000)),
    ];
    let mut table = String::new();
    for (case, token) in &cases {
        let response = app.get("/v1/orders").bearer_auth(token).fetch().await;
        table += &format!("{case:<26} {}\n", problem_and_challenge(&response));
    }
    let missing = app.get("/v1/orders").fetch().await;
    table += &format!("{:<26} {}\n", "missing", problem_and_challenge(&missing));
    let basic = app
        .get("/v1/orders")
        .basic_auth("user", Some("password"))
        .fetch()
        .await;
    table += &format!(
        "{:<26} {}\n",
        "basic authentication",
        problem_and_challenge(&basic)
    );
    assert_snapshot!(table, @r#"
    expired                    401 unauthorized | Bearer error="invalid_token", error_description="expired"
    from the future            401 unauthorized | Bearer error="invalid_token"
    wrong audience             401 unauthorized | Bearer error="invalid_token"
    wrong issuer               401 unauthorized | Bearer error="invalid_token"
    wrong key                  401 unauthorized | Bearer error="invalid_token"
    wrong kid                  401 unauthorized | Bearer error="invalid_token"
    no kid                     401 unauthorized | Bearer error="invalid_token"
    another RSA algorithm      401 unauthorized | Bearer error="invalid_token"
    HMAC with the public key   401 unauthorized | Bearer error="invalid_token"
    HMAC with the key set      401 unauthorized | Bearer error="invalid_token"
    alg=none                   401 unauthorized | Bearer error="invalid_token"
    alg=NONE                   401 unauthorized | Bearer error="invalid_token"
    RS256 without signature    401 unauthorized | Bearer error="invalid_token"
    signature of other claims  401 unauthorized | Bearer error="invalid_token"
    not a token                401 unauthorized | Bearer error="invalid_token"
    too long                   401 unauthorized | Bearer error="invalid_token"
    missing                    401 unauthorized | Bearer
    basic authentication       401 unauthorized | Bearer
    "#);
}

/// The signature of a token with other claims.
fn admin_signature() -> String {
    TestUser::admin().token().rsplit_once('.').unwrap().1.to_owned()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn catalog_is_public_and_only_admins_change_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product("Iron kettle", 16_800).await;
    let product = format!("/v1/products/{id}");
    for path in ["/v1/products", "/v1/categories", &product] {
        assert_eq!(app.get(path).fetch().await.status, 200, "{path}");
    }

    let (customer, service) = (
        app.customer().await.token(),
        TestUser::customer()
            .with_claims(|claims| claims.role = Role::Service)
            .token(),
    );
    let mut table = String::new();
    for (role, token) in [("customer", &customer), ("service", &service)] {
        for request in [
            app.post("/v1/products"),
            app.patch(&product),
            app.delete(&product),
        ] {
            // Authorization comes first: the invalid body does not matter.
            let response = request.bearer_auth(token).body("not JSON").fetch().await;
            table += &format!("{role}: {}\n", response.problem());
        }
    }
    let order = app.order_request(&service, "key", &json!({})).fetch().await;
    table += &format!("service places order: {}\n", order.problem());
    let anonymous = app.post("/v1/products").body("not JSON").fetch().await;
    table += &format!("unauthenticated: {}\n", anonymous.problem());
    assert_snapshot!(table, @r"
    customer: 403 forbidden
    customer: 403 forbidden
    customer: 403 forbidden
    service: 403 forbidden
    service: 403 forbidden
    service: 403 forbidden
    service places order: 403 forbidden
    unauthenticated: 401 unauthorized
    ");

    assert_eq!(
        app.get(&product).fetch().await.header("etag"),
        "\"1\"",
        "the product is unchanged"
    );
}
