//! Users of tests: accounts, and access tokens that a test issuer signs.

use std::sync::LazyLock;

use aws_lc_rs::{encoding::AsDer, rsa::KeySize, signature::KeyPair};
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{Clock, UserId, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use sqlx::PgPool;
use tokens::{Claims, Role, TokenVerifier};

pub const ISSUER: &str = "https://auth.test";
pub const AUDIENCE: &str = "test";
pub const KID: &str = "customers-1";

/// An RSA key pair of the issuer of user tokens.
pub struct TestKeys {
    pub signing_key: EncodingKey,
    pub public_key: Vec<u8>,
    pub jwks: String,
}

/// The key pair that core-api trusts.
pub static TRUSTED_KEYS: LazyLock<TestKeys> = LazyLock::new(TestKeys::generate);

impl TestKeys {
    pub fn generate() -> Self {
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

/// The key set that verifies the tokens of all test users.
pub fn jwks() -> &'static str {
    &TRUSTED_KEYS.jwks
}

pub fn verifier(clock: Clock) -> TokenVerifier {
    TokenVerifier::from_jwks(jwks(), ISSUER, AUDIENCE, clock).unwrap()
}

/// A user, by the claims of their access token.
#[derive(Clone, Debug)]
pub struct TestUser(Claims);

impl TestUser {
    /// A new customer without an account.
    pub fn customer() -> Self {
        let now = Clock::system().now();
        let id = UserId::new(now);
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

    /// A new administrator without an account.
    pub fn admin() -> Self {
        Self::with_role(Role::Admin)
    }

    /// A new user with this role, without an account.
    pub fn with_role(role: Role) -> Self {
        Self::customer().with_claims(|claims| claims.role = role)
    }

    /// Changes the claims of the token. An existing account stays as it is.
    pub fn with_claims(mut self, change: impl FnOnce(&mut Claims)) -> Self {
        change(&mut self.0);
        self
    }

    /// Creates the account that the token's claims describe.
    pub async fn register(self, pool: &PgPool) -> Self {
        sqlx::query(
            "INSERT INTO accounts.users (id, email, name, role, tokens_valid_from, created_at, updated_at)
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

    pub fn claims(&self) -> &Claims {
        &self.0
    }

    /// A valid access token.
    pub fn token(&self) -> String {
        self.sign(&token_header(Algorithm::RS256), &TRUSTED_KEYS.signing_key)
    }

    /// A token with any header and key.
    pub fn sign(&self, header: &Header, key: &EncodingKey) -> String {
        encode(header, &self.0, key).unwrap()
    }
}

/// The header of a token that names the trusted key.
pub fn token_header(algorithm: Algorithm) -> Header {
    Header {
        kid: Some(KID.to_owned()),
        ..Header::new(algorithm)
    }
}
