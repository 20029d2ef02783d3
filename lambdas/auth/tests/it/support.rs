//! A shop's people: a database, a table, a queue and secrets of a test's own, and the functions as they are deployed.

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_lc_rs::{encoding::AsDer, rsa};
use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{Clock, ids::uuid_v7};
use events::AccountMailRequest;
use lambda_shared::testing::{FunctionProcess, create_table};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgPool};
use tokens::{Claims, TokenError, TokenVerifier};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_auth");

pub const ISSUER: &str = "https://auth.test";
pub const EMAIL: &str = "hanako@example.com";
pub const PASSWORD: &str = "correct horse";

/// What everything is made of.
pub struct TestContext {
    pub pool: PgPool,
    aws: SdkConfig,
    variables: Vec<(&'static str, String)>,
    queue_url: String,
    signing_keys_secret: String,
}

/// A function that runs.
pub struct TestFunction(FunctionProcess);

/// What a function answers.
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
        let queue = aws_sdk_sqs::Client::new(&aws)
            .create_queue()
            .queue_name(&name)
            .send()
            .await
            .unwrap()
            .queue_url
            .unwrap();
        let [keys, pepper, database] = ["keys", "pepper", "database"].map(|of| format!("{name}-{of}"));
        create_secret(&aws, &keys, &signing_keys(&["k1"])).await;
        create_secret(&aws, &pepper, &BASE64_STANDARD.encode([7; 32])).await;
        let credentials =
            json!({"url": pool.connect_options().to_url_lossy().to_string(), "engine": "postgres"});
        create_secret(&aws, &database, &credentials.to_string()).await;
        let variables = vec![
            ("DATABASE_CREDENTIALS_SECRET", database),
            ("SESSIONS_TABLE", create_table(&aws, &["session_id"]).await),
            ("NOTIFICATION_QUEUE_URL", queue.clone()),
            ("AUTH_ISSUER", ISSUER.to_owned()),
            ("USER_SIGNING_KEYS_SECRET", keys.clone()),
            ("REFRESH_PEPPER_SECRET", pepper),
        ];
        Self {
            pool,
            aws,
            variables,
            queue_url: queue,
            signing_keys_secret: keys,
        }
    }

    /// Another variable for the functions that start from now on.
    pub fn set_variable(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.push((name, value.into()));
    }

    /// A secret of this test's own that holds `value`; gives its name.
    pub async fn create_secret(&self, value: &str) -> String {
        let name = format!("auth-{}", uuid_v7(Clock::system().now()));
        create_secret(&self.aws, &name, value).await;
        name
    }

    pub async fn function(&self, name: &str) -> TestFunction {
        let variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        TestFunction(
            FunctionProcess::start(EXECUTABLE, name, &variables)
                .await
                .unwrap(),
        )
    }

    /// Registers the person of [`EMAIL`] and [`PASSWORD`], and gives the secret of their first mail.
    pub async fn register_user(&self) -> String {
        let register = self.function("register").await;
        let body = json!({"email": EMAIL, "password": PASSWORD, "name": "Hanako"});
        let answer = register.post("/v1/auth/register", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let mail = self.next_mail().await;
        assert_eq!(mail["mail"], "welcome");
        mail["token"].as_str().unwrap().to_owned()
    }

    /// The next mail in the queue.
    pub async fn next_mail(&self) -> Value {
        let sqs = aws_sdk_sqs::Client::new(&self.aws);
        let received = sqs
            .receive_message()
            .queue_url(&self.queue_url)
            .wait_time_seconds(5)
            .max_number_of_messages(1)
            .send()
            .await
            .unwrap();
        let message = received
            .messages()
            .first()
            .expect("a mail is in the queue")
            .clone();
        sqs.delete_message()
            .queue_url(&self.queue_url)
            .receipt_handle(message.receipt_handle.unwrap())
            .send()
            .await
            .unwrap();
        let body = message.body.unwrap();
        serde_json::from_str::<AccountMailRequest>(&body).expect("it is what notification-sender reads");
        serde_json::from_str(&body).unwrap()
    }

    /// What was noted, as actions and whether an actor and a subject are with them.
    pub async fn audit_actions(&self) -> Vec<(String, bool, bool)> {
        let rows: Vec<(String, bool, bool)> = sqlx::query_as(
            "SELECT action, actor_id IS NOT NULL, subject IS NOT NULL FROM audit_log ORDER BY id",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows
    }

    /// All that is kept of what was done, as text, to look for what should not be in it.
    pub async fn audit_log_text(&self) -> String {
        let rows: Vec<(Value,)> = sqlx::query_as("SELECT to_jsonb(audit_log) FROM audit_log")
            .fetch_all(&self.pool)
            .await
            .unwrap();
        rows.into_iter().map(|(row,)| row.to_string()).collect()
    }

    /// Puts other signing keys in the place of those that there are.
    pub async fn replace_signing_keys(&self, kids: &[&str]) {
        aws_sdk_secretsmanager::Client::new(&self.aws)
            .put_secret_value()
            .secret_id(&self.signing_keys_secret)
            .secret_string(signing_keys(kids))
            .send()
            .await
            .unwrap();
    }

    /// Signing keys in a secret of this name, which was not there.
    pub async fn create_signing_keys(&self, name: &str, kids: &[&str]) {
        create_secret(&self.aws, name, &signing_keys(kids)).await;
    }

    /// What an access token says, once the function `jwks` has vouched for it.
    pub async fn verified_claims(&self, access_token: &str) -> Result<Claims, TokenError> {
        let jwks = self.function("jwks").await;
        let keys = jwks.get("/.well-known/jwks.json", "").await;
        assert_eq!(keys.status, 200, "{keys:?}");
        TokenVerifier::from_jwks(&keys.body.to_string(), ISSUER, "matsuri", Clock::system())
            .unwrap()
            .verify(access_token)
    }
}

impl TestFunction {
    pub async fn post(&self, path: &str, body: &Value) -> TestResponse {
        self.post_from("203.0.113.9", path, body).await
    }

    pub async fn post_from(&self, address: &str, path: &str, body: &Value) -> TestResponse {
        let event = json!({
            "version": "2.0",
            "routeKey": format!("POST {path}"),
            "rawPath": path,
            "rawQueryString": "",
            "headers": {"content-type": "application/json"},
            "requestContext": {"http": {"method": "POST", "path": path, "sourceIp": address}},
            "body": body.to_string(),
            "isBase64Encoded": false,
        });
        self.invoke(event).await
    }

    pub async fn get(&self, path: &str, query: &str) -> TestResponse {
        self.get_with(path, query, None, "").await
    }

    pub async fn get_with(
        &self,
        path: &str,
        query: &str,
        provider: Option<&str>,
        cookie: &str,
    ) -> TestResponse {
        let event = json!({
            "version": "2.0",
            "routeKey": format!("GET {path}"),
            "rawPath": path,
            "rawQueryString": query,
            "headers": {"cookie": cookie},
            "pathParameters": provider.map(|provider| json!({"provider": provider})),
            "requestContext": {"http": {"method": "GET", "path": path, "sourceIp": "203.0.113.9"}},
            "isBase64Encoded": false,
        });
        self.invoke(event).await
    }

    /// Every line that it has logged that has `text` in it.
    pub async fn log_lines(&self, text: &str) -> String {
        self.0.wait_for_log(text).await.concat()
    }

    async fn invoke(&self, event: Value) -> TestResponse {
        let answer = self.0.invoke(event).await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let body = answer["body"].as_str().unwrap_or("");
        TestResponse {
            status: answer["statusCode"].as_u64().unwrap(),
            headers: answer["headers"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            cookies: answer["cookies"].as_array().unwrap().iter().map(text).collect(),
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

    /// The slug of the problem that it is.
    pub fn problem_slug(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], self.status);
        let kind = self.body["type"].as_str().unwrap();
        kind.strip_prefix("https://matsuri.dev/problems/").unwrap()
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

/// Keys of which the last signs.
fn signing_keys(kids: &[&str]) -> String {
    let keys: Vec<Value> = kids
        .iter()
        .enumerate()
        .map(|(at, kid)| {
            let from = format!("2026-01-0{}T00:00:00Z", at + 1);
            json!({"kid": kid, "private_key_pem": private_key_pem(), "signs_from": from})
        })
        .collect();
    json!({"keys": keys}).to_string()
}

fn private_key_pem() -> String {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let text = BASE64_STANDARD.encode(pair.as_der().unwrap().as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}
