//! The context of a benchmark: addresses of the running system, built executables and access tokens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use domain::{Clock, Timestamp, UserId, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;
use users::{DisplayName, EmailAddress, Users};

/// Longer than every benchmark takes.
const TOKEN_LIFETIME_SECONDS: i64 = 3600;

/// Addresses and paths of the system under test. `cargo xtask bench` sets these environment variables.
#[derive(Clone, Debug, clap::Args)]
pub struct SystemAddresses {
    /// URL of the API gateway, which is also the issuer of user tokens
    #[arg(long, env = "HTTP_API_URL")]
    pub gateway_url: String,
    /// The URL of the WebSocket API
    #[arg(long, env = "WS_API_URL")]
    pub websocket_api_url: String,
    /// URL of core-api
    #[arg(long, env = "CORE_API_URL")]
    pub core_api: String,
    /// URL of stock-service
    #[arg(long, env = "STOCK_SERVICE_URL")]
    pub stock_service: String,
    /// URL of the payment provider simulator
    #[arg(long, env = "PAYMENT_API_URL")]
    pub payment_provider: String,
    /// Endpoint of the local AWS
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    pub aws: String,
    /// URL of the system's database. The server must allow creating more databases
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database: String,
    /// URL of the Redis with core-api's rate limits
    #[arg(long, env = "REDIS_URL")]
    pub redis: Option<String>,
    /// Folder of the system under test
    #[arg(long, env = "MATSURI_LOCAL")]
    pub system_dir: PathBuf,
    /// Folder of the token signing keys and JWKS
    #[arg(long, env = "MATSURI_KEYS")]
    pub keys_dir: PathBuf,
    /// Path of pgbench, PostgreSQL's load generator
    #[arg(long, env = "PGBENCH")]
    pub pgbench: PathBuf,
    /// Path of dynoxide, a DynamoDB emulator that is faster than MiniStack's. Only `order_throughput` needs
    /// it
    #[arg(long, env = "DYNOXIDE")]
    pub dynoxide: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Context {
    pub addresses: SystemAddresses,
    /// Whether to run fewer and shorter rounds.
    pub quick: bool,
    pub clock: Clock,
    executable_dir: PathBuf,
}

/// A user with an account, and the signing key for its tokens.
#[derive(Clone, Debug)]
pub struct TestUser {
    pub id: UserId,
    role: Role,
    kid: Value,
    pem: String,
}

impl Context {
    /// # Errors
    /// Fails when the path of the current executable is unknown.
    pub fn new(addresses: SystemAddresses, quick: bool, clock: Clock) -> anyhow::Result<Self> {
        let executable =
            std::env::current_exe().context("cannot determine the path of the current executable")?;
        let executable_dir = executable
            .parent()
            .context("the executable has no parent folder")?
            .to_owned();
        Ok(Self {
            addresses,
            quick,
            clock,
            executable_dir,
        })
    }

    /// Returns the path of an executable that was built with this one, in the same profile.
    pub fn executable(&self, name: &str) -> PathBuf {
        self.executable_dir.join(name)
    }

    /// Returns `quick` in a quick run, otherwise `full`.
    pub fn full_or_quick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Issues a service token for stock-service.
    ///
    /// # Errors
    /// Fails when the signing keys are missing.
    pub fn service_token(&self) -> anyhow::Result<String> {
        let jwks: Value = serde_json::from_str(&read_file(&self.service_jwks_path())?)?;
        let pem = read_file(&self.addresses.keys_dir.join("services.pem"))?;
        let issuer = "https://services.matsuri.local";
        let claims = self.claims(issuer, "bench", Role::Service);
        let key = EncodingKey::from_ed_pem(pem.as_bytes())?;
        sign_jwt(&claims, Algorithm::EdDSA, &jwks["keys"][0]["kid"], &key)
    }

    /// Creates a user with an account and issues a user token for core-api.
    ///
    /// # Errors
    /// Fails when the signing keys are missing or the account cannot be inserted.
    pub async fn new_user_token(&self, role: Role) -> anyhow::Result<String> {
        self.create_user(role).await?.issue_token(self)
    }

    /// Creates a user with an account.
    ///
    /// # Errors
    /// Fails when the signing keys are missing or the account cannot be inserted.
    pub async fn create_user(&self, role: Role) -> anyhow::Result<TestUser> {
        let id = UserId::new(self.clock.now());
        let email = EmailAddress::parse(&format!("{id}@example.com"))?;
        let pool = PgPool::connect(&self.addresses.database).await?;
        Users::new(pool.clone(), self.clock.clone())
            .upsert_account(id, &email, &DisplayName::parse("Bench")?, role)
            .await?;
        pool.close().await;

        let keys: Value = serde_json::from_str(&read_file(
            &self.addresses.keys_dir.join("user-signing-keys.json"),
        )?)?;
        let signs_from = |key: &&Value| key["signs_from"].as_str()?.parse::<Timestamp>().ok();
        let all = keys["keys"]
            .as_array()
            .context("the file of signing keys has no keys")?;
        let active = all
            .iter()
            .filter(|key| signs_from(key).is_some_and(|from| from <= self.clock.now()));
        let key = active
            .max_by_key(signs_from)
            .context("no signing key is active yet")?;
        let pem = key["private_key_pem"]
            .as_str()
            .context("the signing key has no private_key_pem")?;
        Ok(TestUser {
            id,
            role,
            kid: key["kid"].clone(),
            pem: pem.to_owned(),
        })
    }

    fn claims(&self, issuer: &str, subject: &str, role: Role) -> Value {
        let now = self.clock.now();
        json!({
            "iss": issuer, "aud": "matsuri", "sub": subject, "role": role,
            "email": format!("{subject}@example.com"),
            "iat": now.timestamp(), "exp": now.timestamp() + TOKEN_LIFETIME_SECONDS, "jti": uuid_v7(now),
        })
    }

    /// Returns the path of the JWKS for service tokens.
    pub fn service_jwks_path(&self) -> PathBuf {
        self.addresses.keys_dir.join("services.jwks.json")
    }
}

impl TestUser {
    /// Issues a user token like those of the login function, with a unique `jti`.
    ///
    /// # Errors
    /// Fails when the key is invalid.
    pub fn issue_token(&self, context: &Context) -> anyhow::Result<String> {
        let issuer = &context.addresses.gateway_url;
        let claims = context.claims(issuer, &self.id.to_string(), self.role);
        let key = EncodingKey::from_rsa_pem(self.pem.as_bytes())?;
        sign_jwt(&claims, Algorithm::RS256, &self.kid, &key)
    }
}

fn sign_jwt(claims: &Value, algorithm: Algorithm, kid: &Value, key: &EncodingKey) -> anyhow::Result<String> {
    let header = Header {
        kid: Some(kid.as_str().context("the signing key has no kid")?.to_owned()),
        ..Header::new(algorithm)
    };
    Ok(encode(&header, claims, key)?)
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
