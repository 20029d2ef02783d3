//! People who come in by the front door, as everybody does who has no key to the house.

use domain::ids::uuid_v7;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{ApiResponse, TestSystem, eventually, send};

/// Somebody with an address and a password.
#[derive(Clone, Debug)]
pub struct TestUser {
    /// Where mail reaches them.
    pub email: String,
    /// What they sign in with.
    pub password: String,
}

/// What somebody got who signed in.
#[derive(Clone, Debug)]
pub struct Session {
    /// For a quarter of an hour.
    pub access_token: String,
    /// For the next ones.
    pub refresh_token: String,
}

impl TestSystem {
    /// A request to the front door.
    pub fn gateway_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.gateway_url))
    }

    /// Posts JSON to the front door. Who is told to come again in a moment does so.
    pub async fn post_gateway(&self, path: &str, body: &Value) -> ApiResponse {
        eventually("an answer that is one", async || {
            let answer = send(self.gateway_request(Method::POST, path).json(body)).await;
            (!is_temporarily_unavailable(&answer)).then_some(answer)
        })
        .await
    }

    /// Reads what is the bearer's.
    pub async fn get_gateway(&self, path: &str, access_token: &str) -> ApiResponse {
        eventually("an answer that is one", async || {
            let answer = send(self.gateway_request(Method::GET, path).bearer_auth(access_token)).await;
            (!is_temporarily_unavailable(&answer)).then_some(answer)
        })
        .await
    }

    /// Somebody who has just registered.
    pub async fn register_user(&self) -> TestUser {
        let id = uuid_v7(self.now());
        let visitor = TestUser {
            email: format!("{id}@example.com"),
            password: format!("correct horse {id}"),
        };
        let body = json!({"email": visitor.email, "password": visitor.password, "name": "Hanako"});
        self.post_gateway("/v1/auth/register", &body)
            .await
            .expect_status(202);
        visitor
    }

    /// Tries to sign in.
    pub async fn try_sign_in(&self, email: &str, password: &str) -> ApiResponse {
        let body = json!({"email": email, "password": password});
        self.post_gateway("/v1/auth/login", &body).await
    }

    /// Signs in.
    pub async fn sign_in(&self, visitor: &TestUser) -> Session {
        Session::from_response(
            &self
                .try_sign_in(&visitor.email, &visitor.password)
                .await
                .expect_status(200),
        )
    }

    /// Shows a refresh token.
    pub async fn try_refresh(&self, refresh_token: &str) -> ApiResponse {
        let body = json!({"refresh_token": refresh_token});
        self.post_gateway("/v1/auth/refresh", &body).await
    }

    /// The next tokens of a session.
    pub async fn refresh(&self, session: &Session) -> Session {
        Session::from_response(&self.try_refresh(&session.refresh_token).await.expect_status(200))
    }

    /// The mails with this subject to somebody, once there are so many.
    pub async fn wait_for_mail(&self, address: &str, subject: &str, at_least: usize) -> Vec<Value> {
        eventually(&format!("a mail about {subject:?}"), async || {
            let mut mails = self.sent_mails(address).await;
            mails.retain(|mail| {
                mail["Subject"]
                    .as_str()
                    .is_some_and(|text| text.starts_with(subject))
            });
            (mails.len() >= at_least).then_some(mails)
        })
        .await
    }

    /// The secret in the link to a page of the shop, from somebody's mail with this subject.
    pub async fn link_token(&self, address: &str, subject: &str, page: &str) -> String {
        let mail = self.wait_for_mail(address, subject, 1).await.remove(0);
        let text = mail["BodyText"].as_str().expect("a mail has a text");
        let start = format!("https://matsuri.example/{page}?token=");
        let links: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&start))
            .collect();
        let [link] = links[..] else {
            panic!("one link to {page} in {text}")
        };
        link.to_owned()
    }
}

impl Session {
    /// What an answer gives.
    pub fn from_response(answer: &Value) -> Self {
        let text = |member: &str| answer[member].as_str().expect("tokens are text").to_owned();
        assert_eq!(
            (&answer["token_type"], &answer["expires_in"]),
            (&json!("Bearer"), &json!(900))
        );
        Self {
            access_token: text("access_token"),
            refresh_token: text("refresh_token"),
        }
    }

    /// The id of the key that signed the access token.
    pub fn kid(&self) -> String {
        let header = jsonwebtoken::decode_header(&self.access_token).expect("it is a token");
        header.kid.expect("it names its key")
    }
}

/// Whether the local AWS runs as many of a function as it may, or something behind it is just coming back. That is not
/// what any of these tests is about.
fn is_temporarily_unavailable(answer: &ApiResponse) -> bool {
    let throttled = answer.status == 429 && !answer.headers.contains_key("retry-after");
    throttled || answer.status == 503
}
