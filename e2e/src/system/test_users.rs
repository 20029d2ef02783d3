//! People and programs, with the tokens that they come with.

use chrono::{DateTime, Utc};
use domain::{OrderId, UserId, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use tokens::Role;
use users::{DisplayName, EmailAddress};

use super::{ApiResponse, TestSystem, eventually, send};

/// Somebody with a token.
#[derive(Clone)]
pub struct ApiCaller {
    /// The token's subject.
    pub id: String,
    /// Good for a quarter of an hour.
    pub token: String,
}

impl TestSystem {
    /// Somebody new who buys.
    pub async fn customer(&self) -> ApiCaller {
        self.create_user(Role::Customer).await
    }

    /// Somebody new who looks after the catalogue.
    pub async fn admin(&self) -> ApiCaller {
        self.create_user(Role::Admin).await
    }

    /// One of our own programs.
    pub fn service_caller(&self) -> ApiCaller {
        self.issue_token(uuid_v7(self.now()).to_string(), Role::Service)
    }

    /// A customer who was here before, with a new token.
    pub fn customer_with_id(&self, id: &str) -> ApiCaller {
        self.issue_token(id.to_owned(), Role::Customer)
    }

    /// Somebody new, with an account and a token that the front door might have given them: most tests are about what
    /// people do once they are here, and passwords cost time.
    async fn create_user(&self, role: Role) -> ApiCaller {
        let id = UserId::new(self.now());
        let email = EmailAddress::parse(&email_address(&id.to_string())).unwrap();
        let name = DisplayName::parse("Hanako").unwrap();
        eventually("a new account", async || {
            // The database may just be down for another test, or have too many guests.
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

    /// What a good token of this role says.
    pub fn token_claims(&self, id: &str, role: Role) -> Value {
        let now = self.now().timestamp();
        json!({
            "iss": if role == Role::Service { "https://services.matsuri.local" } else { &self.gateway_url },
            "aud": "matsuri", "sub": id, "role": role, "email": email_address(id),
            "iat": now, "exp": now + 900, "jti": uuid_v7(self.now()),
        })
    }

    /// Signs claims with the key of the role's issuer.
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

    /// The id and the text of the key that signs people's tokens at this moment.
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
        let mut key = keys.into_iter().max_by_key(from).expect("a key signs");
        let pem = key["private_key_pem"].as_str().unwrap().to_owned();
        (key["kid"].take(), pem)
    }

    /// Sends an order as it stands.
    pub async fn post_order(&self, person: &ApiCaller, key: &str, body: &Value) -> ApiResponse {
        let request = self
            .core_api_request(Method::POST, "/v1/orders")
            .bearer_auth(&person.token);
        send(request.header("Idempotency-Key", key).json(body)).await
    }

    /// Places an order that is accepted.
    pub async fn place_order(
        &self,
        person: &ApiCaller,
        product_id: &str,
        quantity: u32,
        payment_method: &str,
    ) -> OrderId {
        let body = json!({
            "items": [{"product_id": product_id, "quantity": quantity}],
            "payment_method": payment_method,
        });
        let key = uuid_v7(self.now()).to_string();
        let answer = self.post_order_with_retry(person, &key, &body).await;
        answer.expect_status(202)["order_id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Sends an order, and again when it is told to come again: another test may have made the store fail, and then
    /// nobody is let through to it for a moment.
    pub async fn post_order_with_retry(&self, person: &ApiCaller, key: &str, body: &Value) -> ApiResponse {
        eventually("an answer to an order", async || {
            let answer = self.post_order(person, key, body).await;
            (answer.status != 503).then_some(answer)
        })
        .await
    }

    /// The order as its customer, or somebody else, is shown it.
    pub async fn get_order(&self, person: &ApiCaller, order_id: OrderId) -> ApiResponse {
        send(
            self.core_api_request(Method::GET, &format!("/v1/orders/{order_id}"))
                .bearer_auth(&person.token),
        )
        .await
    }

    /// The order, once it has come to an end.
    pub async fn wait_for_final_status(&self, person: &ApiCaller, order_id: OrderId) -> Value {
        eventually(&format!("the end of order {order_id}"), async || {
            let answer = self.get_order(person, order_id).await;
            if answer.status == 503 {
                return None;
            }
            let order = answer.expect_status(200);
            let settled = ["completed", "failed", "cancelled"].contains(&order["status"].as_str().unwrap());
            settled.then_some(order)
        })
        .await
    }
}

/// Where mail reaches the person with this id, if a test made them.
pub fn email_address(id: &str) -> String {
    format!("{id}@example.com")
}

/// The statuses that an order has had.
pub fn status_history(order: &Value) -> Vec<&str> {
    let history = order["history"].as_array().expect("an order has a history");
    history
        .iter()
        .map(|change| change["status"].as_str().expect("a change has a status"))
        .collect()
}
