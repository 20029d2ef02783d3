//! People and programs, with the tokens that they come with.

use access_tokens::Role;
use domain::{OrderId, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, System, eventually, send};

/// Somebody with a token.
#[derive(Clone)]
pub struct Person {
    /// The token's subject.
    pub id: String,
    /// Good for a quarter of an hour.
    pub token: String,
}

impl System {
    /// Somebody new who buys.
    pub fn customer(&self) -> Person {
        self.person(Role::Customer)
    }

    /// Somebody new who looks after the catalogue.
    pub fn admin(&self) -> Person {
        self.person(Role::Admin)
    }

    /// One of our own programs.
    pub fn program(&self) -> Person {
        self.person(Role::Service)
    }

    /// A customer who was here before, with a new token.
    pub fn customer_again(&self, id: &str) -> Person {
        self.person_with_id(id.to_owned(), Role::Customer)
    }

    fn person(&self, role: Role) -> Person {
        self.person_with_id(uuid_v7(self.now()).to_string(), role)
    }

    fn person_with_id(&self, id: String, role: Role) -> Person {
        let claims = self.claims(&id, role);
        Person {
            token: self.sign(&claims, role),
            id,
        }
    }

    /// What a good token of this role says.
    pub fn claims(&self, id: &str, role: Role) -> Value {
        let now = self.now().timestamp();
        json!({
            "iss": if role == Role::Service { "https://services.matsuri.local" } else { "https://auth.matsuri.local" },
            "aud": "matsuri", "sub": id, "role": role, "email": format!("{id}@example.com"),
            "iat": now, "exp": now + 900, "jti": uuid_v7(self.now()),
        })
    }

    /// Signs claims with the key of the role's issuer.
    pub fn sign(&self, claims: &Value, role: Role) -> String {
        let issuer = if role == Role::Service {
            "services"
        } else {
            "customers"
        };
        let jwks: Value = serde_json::from_str(&self.key_file(&format!("{issuer}.jwks.json"))).unwrap();
        let kid = jwks["keys"][0]["kid"]
            .as_str()
            .expect("the key has an id")
            .to_owned();
        let header = Header {
            kid: Some(kid),
            ..Header::new(Algorithm::RS256)
        };
        let key = EncodingKey::from_rsa_pem(self.key_file(&format!("{issuer}.pem")).as_bytes()).unwrap();
        encode(&header, claims, &key).unwrap()
    }

    /// Sends an order as it stands.
    pub async fn post_order(&self, person: &Person, key: &str, body: &Value) -> Answer {
        let request = self.api(Method::POST, "/v1/orders").bearer_auth(&person.token);
        send(request.header("Idempotency-Key", key).json(body)).await
    }

    /// Places an order that is accepted.
    pub async fn order(
        &self,
        person: &Person,
        product_id: &str,
        quantity: u32,
        payment_method: &str,
    ) -> OrderId {
        let body = json!({
            "items": [{"product_id": product_id, "quantity": quantity}],
            "payment_method": payment_method,
        });
        let key = uuid_v7(self.now()).to_string();
        let answer = self.post_order(person, &key, &body).await.expect(202);
        answer["order_id"].as_str().unwrap().parse().unwrap()
    }

    /// The order as its customer, or somebody else, is shown it.
    pub async fn get_order(&self, person: &Person, order_id: OrderId) -> Answer {
        send(
            self.api(Method::GET, &format!("/v1/orders/{order_id}"))
                .bearer_auth(&person.token),
        )
        .await
    }

    /// The order, once it has come to an end.
    pub async fn settled(&self, person: &Person, order_id: OrderId) -> Value {
        eventually(&format!("the end of order {order_id}"), async || {
            let answer = self.get_order(person, order_id).await;
            if answer.status == 503 {
                return None;
            }
            let order = answer.expect(200);
            let settled = ["completed", "failed", "cancelled"].contains(&order["status"].as_str().unwrap());
            settled.then_some(order)
        })
        .await
    }
}

/// The statuses that an order has had.
pub fn history(order: &Value) -> Vec<&str> {
    let history = order["history"].as_array().expect("an order has a history");
    history
        .iter()
        .map(|change| change["status"].as_str().expect("a change has a status"))
        .collect()
}
