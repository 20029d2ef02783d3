//! What a figure has to work with: the addresses of the running system, the programs that were built, and tokens.

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

/// How long a token lasts, in seconds; longer than any figure takes.
const TOKEN_LIFETIME_SECONDS: i64 = 3600;

/// Where the system under test listens; `cargo xtask bench` sets these variables.
#[derive(Clone, Debug, clap::Args)]
pub struct SystemAddresses {
    /// The front door, which issues people's tokens.
    #[arg(long, env = "HTTP_API_URL")]
    pub front_door: String,
    /// The shop's REST API.
    #[arg(long, env = "CORE_API_URL")]
    pub core_api: String,
    /// The stock service.
    #[arg(long, env = "STOCK_SERVICE_URL")]
    pub stock_service: String,
    /// The payment provider's stand-in.
    #[arg(long, env = "PAYMENT_API_URL")]
    pub payment_provider: String,
    /// The local AWS.
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    pub aws: String,
    /// The system's database; its server lets us make others.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database: String,
    /// Where core-api counts what everybody asks for.
    #[arg(long, env = "REDIS_URL")]
    pub redis: Option<String>,
    /// The folder of the system that is measured.
    #[arg(long, env = "MATSURI_LOCAL")]
    pub local: PathBuf,
    /// The folder of the keys that sign and verify tokens.
    #[arg(long, env = "MATSURI_KEYS")]
    pub keys: PathBuf,
    /// PostgreSQL's own load generator.
    #[arg(long, env = "PGBENCH")]
    pub pgbench: PathBuf,
    /// A DynamoDB that is faster than the local AWS's; only what measures orders accepted needs it.
    #[arg(long, env = "DYNOXIDE")]
    pub dynoxide: Option<PathBuf>,
}

/// What a figure is run with.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where everything listens.
    pub addresses: SystemAddresses,
    /// Whether few and short rounds will do.
    pub quick: bool,
    /// The time.
    pub clock: Clock,
    executable_dir: PathBuf,
}

/// Somebody with an account, and the key that signs for them.
#[derive(Clone, Debug)]
pub struct TestUser {
    id: UserId,
    role: Role,
    kid: Value,
    pem: String,
}

impl Context {
    /// # Errors
    /// When this program does not know where it lies.
    pub fn new(addresses: SystemAddresses, quick: bool, clock: Clock) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program lies is not known")?;
        let executables = program.parent().context("a program lies in a folder")?.to_owned();
        Ok(Self {
            addresses,
            quick,
            clock,
            executable_dir: executables,
        })
    }

    /// A program that was built together with this one, in the same profile.
    pub fn executable(&self, name: &str) -> PathBuf {
        self.executable_dir.join(name)
    }

    /// `full`, or `quick` when little time is to be spent.
    pub fn full_or_quick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A token for one of our own programs, towards stock-service.
    ///
    /// # Errors
    /// When the instance has no keys.
    pub fn service_token(&self) -> anyhow::Result<String> {
        let set: Value = serde_json::from_str(&read_file(&self.service_jwks_path())?)?;
        let pem = read_file(&self.addresses.keys.join("services.pem"))?;
        let issuer = "https://services.matsuri.local";
        let claims = self.claims(issuer, "bench", Role::Service);
        let key = EncodingKey::from_ed_pem(pem.as_bytes())?;
        sign_jwt(&claims, Algorithm::EdDSA, &set["keys"][0]["kid"], &key)
    }

    /// A token for a new person with an account, towards core-api.
    ///
    /// # Errors
    /// When the instance has no keys, or its database takes no account.
    pub async fn new_user_token(&self, role: Role) -> anyhow::Result<String> {
        self.create_user(role).await?.issue_token(self)
    }

    /// A new person with an account.
    ///
    /// # Errors
    /// When the instance has no keys, or its database takes no account.
    pub async fn create_user(&self, role: Role) -> anyhow::Result<TestUser> {
        let id = UserId::new(self.clock.now());
        let email = EmailAddress::parse(&format!("{id}@example.com"))?;
        let pool = PgPool::connect(&self.addresses.database).await?;
        Users::new(pool.clone(), self.clock.clone())
            .upsert_account(id, &email, &DisplayName::parse("Bench")?, role)
            .await?;
        pool.close().await;

        let keys: Value =
            serde_json::from_str(&read_file(&self.addresses.keys.join("user-signing-keys.json"))?)?;
        let signs_from = |key: &&Value| key["signs_from"].as_str()?.parse::<Timestamp>().ok();
        let all = keys["keys"].as_array().into_iter().flatten();
        let here = all.filter(|key| signs_from(key).is_some_and(|from| from <= self.clock.now()));
        let key = here.max_by_key(signs_from).context("no key signs")?;
        let pem = key["private_key_pem"].as_str().context("the key has no text")?;
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
            "iss": issuer, "aud": "matsuri", "sub": subject, "role": role, "email": format!("{subject}@example.com"),
            "iat": now.timestamp(), "exp": now.timestamp() + TOKEN_LIFETIME_SECONDS, "jti": uuid_v7(now),
        })
    }

    /// The public keys of our own programs.
    pub fn service_jwks_path(&self) -> PathBuf {
        self.addresses.keys.join("services.jwks.json")
    }
}

impl TestUser {
    /// A token as the front door would give them, each with an id of its own.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn issue_token(&self, context: &Context) -> anyhow::Result<String> {
        let issuer = &context.addresses.front_door;
        let claims = context.claims(issuer, &self.id.to_string(), self.role);
        let key = EncodingKey::from_rsa_pem(self.pem.as_bytes())?;
        sign_jwt(&claims, Algorithm::RS256, &self.kid, &key)
    }
}

fn sign_jwt(claims: &Value, algorithm: Algorithm, kid: &Value, key: &EncodingKey) -> anyhow::Result<String> {
    let header = Header {
        kid: Some(kid.as_str().context("the key has no id")?.to_owned()),
        ..Header::new(algorithm)
    };
    Ok(encode(&header, claims, key)?)
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
