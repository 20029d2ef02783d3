//! Tokens that open the door, and all those that must not.

use std::sync::LazyLock;

use aws_lc_rs::{encoding::AsDer, rsa::KeySize, signature::KeyPair};
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{Clock, UserId, ids::uuid_v7};
use insta::assert_snapshot;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::{Claims, Role, TokenVerifier};

use crate::support::{RequestBuilderExt, TestApp, TestResponse, new_customer};

pub const ISSUER: &str = "https://auth.test";
pub const AUDIENCE: &str = "test";
const KID: &str = "customers-1";

struct TestKeys {
    signing_key: EncodingKey,
    public_key: Vec<u8>,
    jwks: String,
}

static TEST_KEYS: LazyLock<TestKeys> = LazyLock::new(TestKeys::generate);

impl TestKeys {
    fn generate() -> Self {
        let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64_STANDARD.encode(pair.as_der().unwrap().as_ref())
        );
        let modulus = pair
            .public_key()
            .modulus()
            .big_endian_without_leading_zero()
            .to_vec();
        let exponent = pair.public_key().exponent().big_endian_without_leading_zero();
        let jwks = json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KID,
            "n": BASE64_URL_SAFE_NO_PAD.encode(&modulus), "e": BASE64_URL_SAFE_NO_PAD.encode(exponent),
        }]});
        let signing_key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self {
            signing_key,
            public_key: pair.public_key().as_ref().to_vec(),
            jwks: jwks.to_string(),
        }
    }
}

/// The key set that verifies everybody's tokens.
pub fn jwks() -> &'static str {
    &TEST_KEYS.jwks
}

pub fn verifier(clock: Clock) -> TokenVerifier {
    TokenVerifier::from_jwks(&TEST_KEYS.jwks, ISSUER, AUDIENCE, clock).unwrap()
}

/// Someone, and what their token says of them.
#[derive(Clone, Debug)]
pub struct TestUser(Claims);

impl TestUser {
    pub fn customer(id: UserId) -> Self {
        let now = Clock::system().now();
        Self(Claims {
            sub: id.to_string(),
            role: Role::Customer,
            email: Some(format!("{id}@example.com")),
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat: now.timestamp(),
            exp: now.timestamp() + 900,
            jti: uuid_v7(now).to_string(),
        })
    }

    pub fn admin() -> Self {
        Self::with_role(Role::Admin)
    }

    pub fn with_claims(mut self, change: impl FnOnce(&mut Claims)) -> Self {
        change(&mut self.0);
        self
    }

    /// Someone with this role, who has no account yet.
    pub fn with_role(role: Role) -> Self {
        new_customer().with_claims(|claims| claims.role = role)
    }

    /// Gives them the account that their token tells of.
    pub async fn register(self, pool: &PgPool) -> Self {
        sqlx::query(
            "INSERT INTO users (id, email, name, role, tokens_valid_from, created_at, updated_at)
             VALUES ($1, $2, 'Hanako', $3, now() - interval '1 hour', now(), now())",
        )
        .bind(self.id().0)
        .bind(format!("{}@example.com", self.id()))
        .bind(self.0.role.to_string())
        .execute(pool)
        .await
        .unwrap();
        self
    }

    pub fn id(&self) -> UserId {
        self.0.sub.parse().unwrap()
    }

    pub fn token(&self) -> String {
        self.sign(&header(Algorithm::RS256), &TEST_KEYS.signing_key)
    }

    fn sign(&self, header: &Header, key: &EncodingKey) -> String {
        encode(header, &self.0, key).unwrap()
    }
}

fn header(algorithm: Algorithm) -> Header {
    Header {
        kid: Some(KID.to_owned()),
        ..Header::new(algorithm)
    }
}

/// What a refusal tells: the problem's type and the challenge.
fn problem_and_challenge(answer: &TestResponse) -> String {
    let challenge = answer
        .headers
        .get("www-authenticate")
        .and_then(Value::as_str)
        .unwrap_or("-");
    format!("{} | {challenge}", answer.problem())
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn only_a_token_of_ours_opens_the_door(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
    assert_eq!(
        app.get("/v1/orders")
            .bearer_auth(someone.token())
            .fetch()
            .await
            .status,
        200
    );

    let unsigned = |algorithm: &str| {
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({"alg": algorithm, "typ": "JWT", "kid": KID}));
        format!("{header}.{}.", part(serde_json::to_value(&someone.0).unwrap()))
    };
    let by_another_kid = Header {
        kid: Some("customers-2".to_owned()),
        ..Header::new(Algorithm::RS256)
    };
    let without_kid = Header::new(Algorithm::RS256);
    let hmac = |secret: &[u8]| someone.sign(&header(Algorithm::HS256), &EncodingKey::from_secret(secret));
    let ours = someone.token();
    let (signed, _) = ours.rsplit_once('.').unwrap();
    let cases = [
        (
            "expired",
            someone
                .clone()
                .with_claims(|claims| claims.exp = claims.iat - 60)
                .token(),
        ),
        (
            "from the future",
            someone.clone().with_claims(|claims| claims.iat += 3600).token(),
        ),
        (
            "wrong audience",
            someone
                .clone()
                .with_claims(|claims| claims.aud = "elsewhere".to_owned())
                .token(),
        ),
        (
            "wrong issuer",
            someone
                .clone()
                .with_claims(|claims| claims.iss = "https://evil.test".to_owned())
                .token(),
        ),
        (
            "wrong key",
            someone.sign(&header(Algorithm::RS256), &TestKeys::generate().signing_key),
        ),
        ("wrong kid", someone.sign(&by_another_kid, &TEST_KEYS.signing_key)),
        ("no kid", someone.sign(&without_kid, &TEST_KEYS.signing_key)),
        (
            "another RSA algorithm",
            someone.sign(&header(Algorithm::RS512), &TEST_KEYS.signing_key),
        ),
        ("HMAC with the public key", hmac(&TEST_KEYS.public_key)),
        ("HMAC with the key set", hmac(TEST_KEYS.jwks.as_bytes())),
        ("alg=none", unsigned("none")),
        ("alg=NONE", unsigned("NONE")),
        ("RS256 without signature", unsigned("RS256")),
        (
            "signature of other claims",
            format!("{signed}.{}", admin_signature()),
        ),
        ("not a token", "not-a-token".to_owned()),
        ("endless", "A".repeat(5000)),
    ];
    let mut table = String::new();
    for (case, token) in &cases {
        let answer = app.get("/v1/orders").bearer_auth(token).fetch().await;
        table += &format!("{case:<26} {}\n", problem_and_challenge(&answer));
    }
    let missing = app.get("/v1/orders").fetch().await;
    table += &format!("{:<26} {}\n", "missing", problem_and_challenge(&missing));
    let basic = app
        .get("/v1/orders")
        .basic_auth("user", Some("password"))
        .fetch()
        .await;
    table += &format!("{:<26} {}\n", "another scheme", problem_and_challenge(&basic));
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
    endless                    401 unauthorized | Bearer error="invalid_token"
    missing                    401 unauthorized | Bearer
    another scheme             401 unauthorized | Bearer
    "#);
}

/// The signature of a token that says something else.
fn admin_signature() -> String {
    TestUser::admin().token().rsplit_once('.').unwrap().1.to_owned()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_catalogue_is_open_to_read_and_only_administrators_change_it(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product("Iron kettle", 16_800).await;
    let product = format!("/v1/products/{id}");
    for path in ["/v1/products", "/v1/categories", &product] {
        assert_eq!(app.get(path).fetch().await.status, 200, "{path}");
    }

    let (customer, service) = (
        app.customer().await.token(),
        new_customer()
            .with_claims(|claims| claims.role = Role::Service)
            .token(),
    );
    let mut table = String::new();
    for (who, token) in [("customer", &customer), ("service", &service)] {
        for request in [
            app.post("/v1/products"),
            app.patch(&product),
            app.delete(&product),
        ] {
            // Who may not is told so before anything else is looked at.
            let answer = request.bearer_auth(token).body("no JSON at all").fetch().await;
            table += &format!("{who}: {}\n", answer.problem());
        }
    }
    let order = app.order_request(&service, "key", &json!({})).fetch().await;
    table += &format!("service, ordering: {}\n", order.problem());
    let anonymous = app.post("/v1/products").body("no JSON at all").fetch().await;
    table += &format!("nobody: {}\n", anonymous.problem());
    assert_snapshot!(table, @r"
    customer: 403 forbidden
    customer: 403 forbidden
    customer: 403 forbidden
    service: 403 forbidden
    service: 403 forbidden
    service: 403 forbidden
    service, ordering: 403 forbidden
    nobody: 401 unauthorized
    ");

    assert_eq!(
        app.get(&product).fetch().await.header("etag"),
        "\"1\"",
        "nothing has changed"
    );
}
