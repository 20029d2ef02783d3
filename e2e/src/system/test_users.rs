//! Test users and service callers with their tokens, and the orders that they place.

use chrono::{DateTime, Utc};
use domain::{OrderId, UserId, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use tokens::Role;
use users::{DisplayName, EmailAddress};

use super::{ApiResponse, TestSystem, eventually, send};

/// A user or service with an access token.
#[derive(Clone)]
pub struct ApiCaller {
    /// The token's subject.
    pub id: String,
    /// Valid for 15 minutes.
    pub token: String,
}

impl TestSystem {
    /// Creates a user with the role customer.
    pub async fn customer(&self) -> ApiCaller {
        self.create_user(Role::Customer).await
    }

    /// Creates a customer who wants SMS about orders. The number is stored directly in the database: its
    /// owner received no code.
    pub async fn customer_with_stored_number(&self) -> ApiCaller {
        let customer = self.customer().await;
        let id: UserId = customer.id.parse().expect("a user id is a UUID");
        eventually("the number to be stored", async || {
            let stored = sqlx::query!(
                r#"UPDATE accounts.users
                   SET phone_number = $2, preferences = preferences || '{"order_sms": true}'
                   WHERE id = $1"#,
                id.0,
                self.unused_phone_number(),
            );
            stored.execute(&self.database).await.ok()
        })
        .await;
        customer
    }

    /// Creates a user with the role administrator.
    pub async fn admin(&self) -> ApiCaller {
        self.create_user(Role::Admin).await
    }

    /// Issues a token for one of our services.
    pub fn service_caller(&self) -> ApiCaller {
        self.issue_token(uuid_v7(self.now()).to_string(), Role::Service)
    }

    /// Issues a new token for an existing customer.
    pub fn customer_with_id(&self, id: &str) -> ApiCaller {
        self.issue_token(id.to_owned(), Role::Customer)
    }

    /// Creates an account directly in the database, and a token like one from the auth API. Most tests need
    /// no password, and hashing one takes time.
    async fn create_user(&self, role: Role) -> ApiCaller {
        let id = UserId::new(self.now());
        let email = EmailAddress::parse(&email_address(&id.to_string())).unwrap();
        let name = DisplayName::parse("Hanako").unwrap();
        eventually("a new account", async || {
            // Another test may have stopped the database, or all its connections may be in use.
            self.users.upsert_account(id, &email, &name, role).await.ok()
        })
        .await;
        self.issue_token(id.to_string(), role)
    }

    fn issue_token(&self, id: String, role: Role) -> ApiCaller {
        let claims = self.token_claims(&id, role);
        ApiCaller {
            token: self.sign_token(&claims, role),
            id,
        }
    }

    /// The claims of a valid token for this role.
    pub fn token_claims(&self, id: &str, role: Role) -> Value {
        let now = self.now().timestamp();
        json!({
            "iss": if role == Role::Service { "https://services.matsuri.local" } else { &self.gateway_url },
            "aud": "matsuri", "sub": id, "role": role, "email": email_address(id),
            "iat": now, "exp": now + 900, "jti": uuid_v7(self.now()),
        })
    }

    /// Signs claims with the key of the role's token issuer.
    pub fn sign_token(&self, claims: &Value, role: Role) -> String {
        let (kid, key, algorithm) = if role == Role::Service {
            let jwks: Value = serde_json::from_str(&self.read_key_file("services.jwks.json")).unwrap();
            let key = EncodingKey::from_ed_pem(self.read_key_file("services.pem").as_bytes());
            (jwks["keys"][0]["kid"].clone(), key, Algorithm::EdDSA)
        } else {
            let (kid, pem) = self.user_signing_key();
            (kid, EncodingKey::from_rsa_pem(pem.as_bytes()), Algorithm::RS256)
        };
        let header = Header {
            kid: Some(kid.as_str().expect("the key has an id").to_owned()),
            ..Header::new(algorithm)
        };
        encode(&header, claims, &key.unwrap()).unwrap()
    }

    /// The id and the PEM of the key that currently signs user tokens.
    fn user_signing_key(&self) -> (Value, String) {
        let mut set: Value = serde_json::from_str(&self.read_key_file("user-signing-keys.json")).unwrap();
        let from = |key: &Value| {
            key["signs_from"]
                .as_str()
                .unwrap()
                .parse::<DateTime<Utc>>()
                .unwrap()
        };
        let mut keys = set["keys"].as_array_mut().unwrap().to_owned();
        keys.retain(|key| from(key) <= self.now());
        let mut key = keys.into_iter().max_by_key(from).expect("one key must be active");
        let pem = key["private_key_pem"].as_str().unwrap().to_owned();
        (key["kid"].take(), pem)
    }

    /// Sends an order request once.
    pub async fn post_order(&self, caller: &ApiCaller, key: &str, body: &Value) -> ApiResponse {
        let request = self
            .core_api_request(Method::POST, "/v1/orders")
            .bearer_auth(&caller.token);
        send(request.header("Idempotency-Key", key).json(body)).await
    }

    /// Places an order and asserts that it is accepted.
    pub async fn place_order(
        &self,
        caller: &ApiCaller,
        product_id: &str,
        quantity: u32,
        payment_method: &str,
    ) -> OrderId {
        let body = json!({
            "items": [{"product_id": product_id, "quantity": quantity}],
            "payment_method": payment_method,
        });
        let key = uuid_v7(self.now()).to_string();
        let response = self.post_order_with_retry(caller, &key, &body).await;
        response.expect_status(202)["order_id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Sends an order request, and retries while the API responds with 503: another test may have made the
    /// store fail, and the circuit breaker is open for a moment.
    pub async fn post_order_with_retry(&self, caller: &ApiCaller, key: &str, body: &Value) -> ApiResponse {
        eventually("a response to an order request", async || {
            let response = self.post_order(caller, key, body).await;
            (response.status != 503).then_some(response)
        })
        .await
    }

    /// Reads an order as `caller`, who may be its customer or another user.
    pub async fn get_order(&self, caller: &ApiCaller, order_id: OrderId) -> ApiResponse {
        send(
            self.core_api_request(Method::GET, &format!("/v1/orders/{order_id}"))
                .bearer_auth(&caller.token),
        )
        .await
    }

    /// Waits until the order waits for its customer, and returns what the customer must do.
    pub async fn wait_for_next_action(&self, caller: &ApiCaller, order_id: OrderId) -> Value {
        eventually(
            &format!("order {order_id} to wait for its customer"),
            async || {
                let response = self.get_order(caller, order_id).await;
                (response.status != 503)
                    .then(|| response.expect_status(200)["next_action"].take())
                    .filter(Value::is_object)
            },
        )
        .await
    }

    /// Tells core-api that the customer has returned from the action that the payment requires.
    pub async fn return_from_payment_action(&self, caller: &ApiCaller, order_id: OrderId) -> ApiResponse {
        let path = format!("/v1/orders/{order_id}/payment-action/return");
        send(
            self.core_api_request(Method::POST, &path)
                .bearer_auth(&caller.token),
        )
        .await
    }

    /// Waits until the order is completed, failed or cancelled, and returns it.
    pub async fn wait_for_final_status(&self, caller: &ApiCaller, order_id: OrderId) -> Value {
        eventually(&format!("order {order_id} to reach a final status"), async || {
            let response = self.get_order(caller, order_id).await;
            if response.status == 503 {
                return None;
            }
            let order = response.expect_status(200);
            let is_final = ["completed", "failed", "cancelled"].contains(&order["status"].as_str().unwrap());
            is_final.then_some(order)
        })
        .await
    }
}

/// The e-mail address of the user with this id, if [`TestSystem::customer`] or [`TestSystem::admin`] created
/// it.
pub fn email_address(id: &str) -> String {
    format!("{id}@example.com")
}

/// The statuses in the history of an order, oldest first.
pub fn status_history(order: &Value) -> Vec<&str> {
    let history = order["history"].as_array().expect("an order has a history");
    history
        .iter()
        .map(|change| change["status"].as_str().expect("a change has a status"))
        .collect()
}
