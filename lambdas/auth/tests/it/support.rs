//! The environment of one test: its own database, table, queue and secrets, and the functions as they are
//! deployed.

use std::collections::HashMap;

use auth::{sessions::Peppers, sessions_table::SessionsTable};
use aws_config::SdkConfig;
use aws_lc_rs::{encoding::AsDer, rsa};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::TimeDelta;
use database::{Role, testing};
use domain::{Clock, ids::uuid_v7};
use dynamodb_table::testing::create_table;
use events::AccountMailRequest;
use lambda_shared::testing::{FunctionProcess, KeyedTable, start_table_rights_proxy};
use secrecy::{ExposeSecret, SecretString};
use secrets::Secret;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::{Claims, TokenError, TokenVerifier};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_auth");

pub const ISSUER: &str = "https://auth.test";
pub const EMAIL: &str = "hanako@example.com";
pub const PASSWORD: &str = "correct horse";

/// The resources of one test, and the environment of the functions that it starts.
pub struct TestContext {
    pub pool: PgPool,
    aws: SdkConfig,
    sessions_table: String,
    variables: Vec<(&'static str, String)>,
    queue_url: String,
    signing_keys_secret: String,
    pub pepper_secret: String,
    pub database_secret: String,
}

/// A function's running process.
pub struct TestFunction(FunctionProcess);

/// The HTTP response of a function.
#[derive(Debug)]
pub struct TestResponse {
    pub status: u64,
    pub headers: HashMap<String, String>,
    pub cookies: Vec<String>,
    pub body: Value,
}

impl TestContext {
    pub async fn new(pool: PgPool) -> Self {
        let aws = aws_client::sdk_config().await;
        let name = format!("auth-{}", uuid_v7(Clock::system().now()));
        let queue_url = aws_sdk_sqs::Client::new(&aws)
            .create_queue()
            .queue_name(&name)
            .send()
            .await
            .unwrap()
            .queue_url
            .unwrap();
        let [signing_keys_secret, pepper_secret, database_secret] =
            ["keys", "pepper", "database"].map(|kind| format!("{name}-{kind}"));
        create_secret(&aws, &signing_keys_secret, &signing_keys(&["k1"])).await;
        create_secret(&aws, &pepper_secret, &BASE64_STANDARD.encode([7; 32])).await;
        let url = testing::database_url(&testing::connect_options(&pool, Role::Auth));
        let credentials = json!({"url": url, "engine": "postgres"});
        create_secret(&aws, &database_secret, &credentials.to_string()).await;
        let sessions_table = create_table(&aws, &["session_id"]).await;
        let variables = vec![
            ("DATABASE_CREDENTIALS_SECRET", database_secret.clone()),
            ("SESSIONS_TABLE", sessions_table.clone()),
            ("NOTIFICATION_QUEUE_URL", queue_url.clone()),
            ("AUTH_ISSUER", ISSUER.to_owned()),
            ("USER_SIGNING_KEYS_SECRET", signing_keys_secret.clone()),
            ("REFRESH_PEPPER_SECRET", pepper_secret.clone()),
        ];
        Self {
            pool,
            aws,
            sessions_table,
            variables,
            queue_url,
            signing_keys_secret,
            pepper_secret,
            database_secret,
        }
    }

    /// Sets an environment variable for the functions that the test starts later.
    pub fn set_variable(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.push((name, value.into()));
    }

    /// Creates a secret and returns its name.
    pub async fn create_secret(&self, value: &str) -> String {
        let name = format!("auth-{}", uuid_v7(Clock::system().now()));
        create_secret(&self.aws, &name, value).await;
        name
    }

    /// Starts a function, which reaches only the keys of the sessions table that the template permits.
    pub async fn function(&self, name: &str) -> TestFunction {
        let table = KeyedTable {
            logical_id: "SessionsTable",
            name: &self.sessions_table,
            key: "session_id",
        };
        let aws_endpoint_url = start_table_rights_proxy(name, table, self.aws.endpoint_url().unwrap()).await;
        let variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain([("AWS_ENDPOINT_URL", aws_endpoint_url.as_str())])
            .collect();
        TestFunction(
            FunctionProcess::start(EXECUTABLE, name, &variables)
                .await
                .unwrap(),
        )
    }

    /// Registers a user with [`EMAIL`] and [`PASSWORD`], and returns the link token of the welcome mail.
    pub async fn register_user(&self) -> String {
        let register = self.function("register").await;
        let body = json!({"email": EMAIL, "password": PASSWORD, "name": "Hanako"});
        let response = register.post("/v1/auth/register", &body).await;
        assert_eq!(response.status, 202, "{response:?}");
        let mail = self.next_mail().await;
        assert_eq!(mail["mail"], "welcome");
        mail["token"].as_str().unwrap().to_owned()
    }

    /// Takes the next mail request from the queue.
    pub async fn next_mail(&self) -> Value {
        let sqs = aws_sdk_sqs::Client::new(&self.aws);
        let output = sqs
            .receive_message()
            .queue_url(&self.queue_url)
            .wait_time_seconds(5)
            .max_number_of_messages(1)
            .send()
            .await
            .unwrap();
        let message = output
            .messages()
            .first()
            .expect("the queue contains a mail request")
            .clone();
        sqs.delete_message()
            .queue_url(&self.queue_url)
            .receipt_handle(message.receipt_handle.unwrap())
            .send()
            .await
            .unwrap();
        let body = message.body.unwrap();
        serde_json::from_str::<AccountMailRequest>(&body).expect("notification-sender can parse it");
        serde_json::from_str(&body).unwrap()
    }

    /// The audit log: each entry's action, and whether it has an actor and a subject.
    pub async fn audit_actions(&self) -> Vec<(String, bool, bool)> {
        let rows: Vec<(String, bool, bool)> = sqlx::query_as(
            "SELECT action, actor_id IS NOT NULL, subject IS NOT NULL FROM accounts.audit_log ORDER BY id",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows
    }

    /// The client address in the latest entry of the audit log.
    pub async fn last_audit_address(&self) -> String {
        let (address,): (String,) =
            sqlx::query_as("SELECT address FROM accounts.audit_log ORDER BY id DESC LIMIT 1")
                .fetch_one(&self.pool)
                .await
                .unwrap();
        address
    }

    /// The whole audit log as text, to search it for secrets.
    pub async fn audit_log_text(&self) -> String {
        let rows: Vec<(Value,)> = sqlx::query_as("SELECT to_jsonb(audit_log) FROM accounts.audit_log")
            .fetch_all(&self.pool)
            .await
            .unwrap();
        rows.into_iter().map(|(row,)| row.to_string()).collect()
    }

    /// Replaces the signing keys in the existing secret.
    pub async fn replace_signing_keys(&self, kids: &[&str]) {
        self.replace_secret(&self.signing_keys_secret, &signing_keys(kids))
            .await;
    }

    /// Replaces the value of an existing secret.
    pub async fn replace_secret(&self, name: &str, value: &str) {
        aws_sdk_secretsmanager::Client::new(&self.aws)
            .put_secret_value()
            .secret_id(name)
            .secret_string(value)
            .send()
            .await
            .unwrap();
    }

    /// The peppers of the functions. They are read again once they have reached `max_age`.
    pub async fn load_peppers(&self, max_age: TimeDelta, clock: Clock) -> Secret<Peppers> {
        let client = aws_sdk_secretsmanager::Client::new(&self.aws);
        let parse = |text: &SecretString| Ok(text.expose_secret().parse()?);
        Secret::load(client, self.pepper_secret.clone(), max_age, clock, parse)
            .await
            .unwrap()
    }

    /// The sessions table of the functions.
    pub fn sessions_table(&self) -> SessionsTable {
        SessionsTable::new(aws_sdk_dynamodb::Client::new(&self.aws), &self.sessions_table)
    }

    /// Creates a secret with signing keys.
    pub async fn create_signing_keys(&self, name: &str, kids: &[&str]) {
        create_secret(&self.aws, name, &signing_keys(kids)).await;
    }

    /// Verifies an access token with the JWKS of the function `jwks`.
    pub async fn verified_claims(&self, access_token: &str) -> Result<Claims, TokenError> {
        let jwks = self.function("jwks").await;
        let response = jwks.get("/.well-known/jwks.json", "").await;
        assert_eq!(response.status, 200, "{response:?}");
        TokenVerifier::from_jwks(&response.body.to_string(), ISSUER, "matsuri", Clock::system())
            .unwrap()
            .verify(access_token)
    }
}

impl TestFunction {
    pub async fn post(&self, path: &str, body: &Value) -> TestResponse {
        self.post_from("203.0.113.9", path, body).await
    }

    pub async fn post_from(&self, ip: &str, path: &str, body: &Value) -> TestResponse {
        self.post_with_headers(ip, path, json!({}), body).await
    }

    /// `headers` are sent in addition to the content type.
    pub async fn post_with_headers(
        &self,
        ip: &str,
        path: &str,
        mut headers: Value,
        body: &Value,
    ) -> TestResponse {
        headers["content-type"] = json!("application/json");
        let event = json!({
            "version": "2.0",
            "routeKey": format!("POST {path}"),
            "rawPath": path,
            "rawQueryString": "",
            "headers": headers,
            "requestContext": {"http": {"method": "POST", "path": path, "sourceIp": ip}},
            "body": body.to_string(),
            "isBase64Encoded": false,
        });
        self.invoke(event).await
    }

    pub async fn get(&self, path: &str, query: &str) -> TestResponse {
        self.get_with(path, query, "").await
    }

    pub async fn get_with(&self, path: &str, query: &str, cookie: &str) -> TestResponse {
        let event = json!({
            "version": "2.0",
            "routeKey": format!("GET {path}"),
            "rawPath": path,
            "rawQueryString": query,
            "headers": {"cookie": cookie},
            "requestContext": {"http": {"method": "GET", "path": path, "sourceIp": "203.0.113.9"}},
            "isBase64Encoded": false,
        });
        self.invoke(event).await
    }

    /// The log lines that contain `text`.
    pub async fn log_lines(&self, text: &str) -> String {
        self.0.wait_for_log(text).await.concat()
    }

    async fn invoke(&self, event: Value) -> TestResponse {
        let response = self.0.invoke(event).await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let body = response["body"].as_str().unwrap_or("");
        TestResponse {
            status: response["statusCode"].as_u64().unwrap(),
            headers: response["headers"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            cookies: response["cookies"].as_array().unwrap().iter().map(text).collect(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }
}

impl TestResponse {
    pub fn string(&self, member: &str) -> String {
        self.body[member]
            .as_str()
            .unwrap_or_else(|| panic!("{member} in {self:?}"))
            .to_owned()
    }

    /// The slug of the problem document.
    pub fn problem_slug(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], self.status);
        let problem_type = self.body["type"].as_str().unwrap();
        problem_type
            .strip_prefix("https://matsuri.dev/problems/")
            .unwrap()
    }
}

async fn create_secret(aws: &SdkConfig, name: &str, value: &str) {
    aws_sdk_secretsmanager::Client::new(aws)
        .create_secret()
        .name(name)
        .secret_string(value)
        .send()
        .await
        .unwrap();
}

/// The content of the signing keys' secret. The last key signs.
fn signing_keys(kids: &[&str]) -> String {
    let keys: Vec<Value> = kids
        .iter()
        .enumerate()
        .map(|(index, kid)| {
            let signs_from = format!("2026-01-0{}T00:00:00Z", index + 1);
            json!({"kid": kid, "private_key_pem": private_key_pem(), "signs_from": signs_from})
        })
        .collect();
    json!({"keys": keys}).to_string()
}

fn private_key_pem() -> String {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let text = BASE64_STANDARD.encode(pair.as_der().unwrap().as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}
