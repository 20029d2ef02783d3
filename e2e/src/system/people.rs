//! People and programs, with the tokens that they come with.

use access_tokens::Role;
use chrono::{DateTime, Utc};
use domain::{OrderId, UserId, ids::uuid_v7};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use users::{EmailAddress, PersonName};

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
    pub async fn customer(&self) -> Person {
        self.person(Role::Customer).await
    }

    /// Somebody new who looks after the catalogue.
    pub async fn admin(&self) -> Person {
        self.person(Role::Admin).await
    }

    /// One of our own programs.
    pub fn program(&self) -> Person {
        self.with_token(uuid_v7(self.now()).to_string(), Role::Service)
    }

    /// A customer who was here before, with a new token.
    pub fn customer_again(&self, id: &str) -> Person {
        self.with_token(id.to_owned(), Role::Customer)
    }

    /// Somebody new, with an account and a token that the front door might have given them: most tests are about what
    /// people do once they are here, and passwords cost time.
    async fn person(&self, role: Role) -> Person {
        let id = UserId::new(self.now());
        let email = EmailAddress::parse(&address(&id.to_string())).unwrap();
        let name = PersonName::parse("Hanako").unwrap();
        eventually("a new account", async || {
            // The database may just be down for another test, or have too many guests.
            self.users.make(id, &email, &name, role).await.ok()
        })
        .await;
        self.with_token(id.to_string(), role)
    }

    fn with_token(&self, id: String, role: Role) -> Person {
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
            "iss": if role == Role::Service { "https://services.matsuri.local" } else { &self.front_door },
            "aud": "matsuri", "sub": id, "role": role, "email": address(id),
            "iat": now, "exp": now + 900, "jti": uuid_v7(self.now()),
        })
    }

    /// Signs claims with the key of the role's issuer.
    pub fn sign(&self, claims: &Value, role: Role) -> String {
        let (kid, key, algorithm) = if role == Role::Service {
            let jwks: Value = serde_json::from_str(&self.key_file("services.jwks.json")).unwrap();
            let key = EncodingKey::from_ed_pem(self.key_file("services.pem").as_bytes());
            (jwks["keys"][0]["kid"].clone(), key, Algorithm::EdDSA)
        } else {
            let (kid, pem) = self.persons_key();
            (kid, EncodingKey::from_rsa_pem(pem.as_bytes()), Algorithm::RS256)
        };
        let header = Header {
            kid: Some(kid.as_str().expect("the key has an id").to_owned()),
            ..Header::new(algorithm)
        };
        encode(&header, claims, &key.unwrap()).unwrap()
    }

    /// The id and the text of the key that signs people's tokens at this moment.
    fn persons_key(&self) -> (Value, String) {
        let mut set: Value = serde_json::from_str(&self.key_file("user-signing-keys.json")).unwrap();
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
        let answer = self.post_order_until_answered(person, &key, &body).await;
        answer.expect(202)["order_id"].as_str().unwrap().parse().unwrap()
    }

    /// Sends an order, and again when it is told to come again: another test may have made the store fail, and then
    /// nobody is let through to it for a moment.
    pub async fn post_order_until_answered(&self, person: &Person, key: &str, body: &Value) -> Answer {
        eventually("an answer to an order", async || {
            let answer = self.post_order(person, key, body).await;
            (answer.status != 503).then_some(answer)
        })
        .await
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

/// Where mail reaches the person with this id, if a test made them.
pub fn address(id: &str) -> String {
    format!("{id}@example.com")
}

/// The statuses that an order has had.
pub fn history(order: &Value) -> Vec<&str> {
    let history = order["history"].as_array().expect("an order has a history");
    history
        .iter()
        .map(|change| change["status"].as_str().expect("a change has a status"))
        .collect()
}
