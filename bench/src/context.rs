//! What a figure has to work with: the addresses of the running system, the programs that were built, and tokens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use access_tokens::Role;
use domain::{Clock, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use uuid::Uuid;

/// How long a token lasts, in seconds; longer than any figure takes.
const TOKEN_LIFETIME: i64 = 3600;

/// Where the system under test listens; `cargo xtask bench` sets these variables.
#[derive(Clone, Debug, clap::Args)]
pub struct Addresses {
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
    pub addresses: Addresses,
    /// Whether few and short rounds will do.
    pub quick: bool,
    /// The time.
    pub clock: Clock,
    executables: PathBuf,
}

impl Context {
    /// # Errors
    /// When this program does not know where it lies.
    pub fn new(addresses: Addresses, quick: bool, clock: Clock) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program lies is not known")?;
        let executables = program.parent().context("a program lies in a folder")?.to_owned();
        Ok(Self {
            addresses,
            quick,
            clock,
            executables,
        })
    }

    /// A program that was built together with this one, in the same profile.
    pub fn executable(&self, name: &str) -> PathBuf {
        self.executables.join(name)
    }

    /// `full`, or `quick` when little time is to be spent.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A token for one of our own programs, towards stock-service.
    ///
    /// # Errors
    /// When the instance has no keys.
    pub fn service_token(&self) -> anyhow::Result<String> {
        self.token("services", "bench", Role::Service)
    }

    /// A token for a person, towards core-api.
    ///
    /// # Errors
    /// When the instance has no keys.
    pub fn person_token(&self, user: Uuid, role: Role) -> anyhow::Result<String> {
        self.token("customers", &user.to_string(), role)
    }

    fn token(&self, domain: &str, subject: &str, role: Role) -> anyhow::Result<String> {
        let issuer = match domain {
            "services" => "https://services.matsuri.local",
            _ => "https://auth.matsuri.local",
        };
        let now = self.clock.now();
        let claims = json!({
            "iss": issuer, "aud": "matsuri", "sub": subject, "role": role, "email": format!("{subject}@example.com"),
            "iat": now.timestamp(), "exp": now.timestamp() + TOKEN_LIFETIME, "jti": uuid_v7(now),
        });
        let set: Value = serde_json::from_str(&read(&self.key_set(domain))?)?;
        let kid = set["keys"][0]["kid"].as_str().context("the key has no id")?;
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::RS256)
        };
        let pem = read(&self.addresses.keys.join(format!("{domain}.pem")))?;
        Ok(encode(
            &header,
            &claims,
            &EncodingKey::from_rsa_pem(pem.as_bytes())?,
        )?)
    }

    /// The public keys of `services` or `customers`.
    pub fn key_set(&self, domain: &str) -> PathBuf {
        self.addresses.keys.join(format!("{domain}.jwks.json"))
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
