//! A client of the authentication API at the API gateway: registration, login, sessions and account mails.

use domain::ids::uuid_v7;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{ApiResponse, TestSystem, eventually, send};

/// A user with a password.
#[derive(Clone, Debug)]
pub struct TestUser {
    pub email: String,
    pub password: String,
}

/// The tokens of a session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Valid for 15 minutes.
    pub access_token: String,
    pub refresh_token: String,
}

impl TestSystem {
    /// A request to the API gateway.
    pub fn gateway_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.gateway_url))
    }

    /// Posts JSON to the API gateway, and retries while it is temporarily unavailable.
    pub async fn post_gateway(&self, path: &str, body: &Value) -> ApiResponse {
        eventually("a definite response", async || {
            let response = send(self.gateway_request(Method::POST, path).json(body)).await;
            (!is_temporarily_unavailable(&response)).then_some(response)
        })
        .await
    }

    /// Sends a GET request to the API gateway, and retries while it is temporarily unavailable.
    pub async fn get_gateway(&self, path: &str, access_token: &str) -> ApiResponse {
        eventually("a definite response", async || {
            let response = send(self.gateway_request(Method::GET, path).bearer_auth(access_token)).await;
            (!is_temporarily_unavailable(&response)).then_some(response)
        })
        .await
    }

    /// Registers a new user.
    pub async fn register_user(&self) -> TestUser {
        let id = uuid_v7(self.now());
        let user = TestUser {
            email: format!("{id}@example.com"),
            // Independent of the e-mail address, so that it is a strong password.
            password: format!("correct horse {}", uuid_v7(self.now())),
        };
        let body = json!({"email": user.email, "password": user.password, "name": "Hanako"});
        self.post_gateway("/v1/auth/register", &body)
            .await
            .expect_status(202);
        user
    }

    pub async fn try_sign_in(&self, email: &str, password: &str) -> ApiResponse {
        let body = json!({"email": email, "password": password});
        self.post_gateway("/v1/auth/login", &body).await
    }

    pub async fn sign_in(&self, user: &TestUser) -> Session {
        Session::from_response(
            &self
                .try_sign_in(&user.email, &user.password)
                .await
                .expect_status(200),
        )
    }

    pub async fn try_refresh(&self, refresh_token: &str) -> ApiResponse {
        let body = json!({"refresh_token": refresh_token});
        self.post_gateway("/v1/auth/refresh", &body).await
    }

    /// Exchanges the refresh token for new tokens.
    pub async fn refresh(&self, session: &Session) -> Session {
        Session::from_response(&self.try_refresh(&session.refresh_token).await.expect_status(200))
    }

    /// Waits for `at_least` mails to an address whose subject starts with `subject`, and returns them.
    pub async fn wait_for_mail(&self, address: &str, subject: &str, at_least: usize) -> Vec<Value> {
        eventually(
            &format!("{at_least} mails with subject {subject:?}"),
            async || {
                let mut mails = self.sent_mails(address).await;
                mails.retain(|mail| {
                    mail["Subject"]
                        .as_str()
                        .is_some_and(|text| text.starts_with(subject))
                });
                (mails.len() >= at_least).then_some(mails)
            },
        )
        .await
    }

    /// Waits for a mail and returns the token in its link to `page`.
    pub async fn link_token(&self, address: &str, subject: &str, page: &str) -> String {
        let mail = self.wait_for_mail(address, subject, 1).await.remove(0);
        let text = mail["BodyText"].as_str().expect("a mail has a text part");
        let start = format!("https://matsuri.example/{page}?token=");
        let links: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&start))
            .collect();
        let [link] = links[..] else {
            panic!("expected exactly one link to {page} in {text}")
        };
        link.to_owned()
    }
}

impl Session {
    /// Reads the tokens from the response of a login or refresh.
    pub fn from_response(response: &Value) -> Self {
        let text = |member: &str| response[member].as_str().expect("tokens are strings").to_owned();
        assert_eq!(
            (&response["token_type"], &response["expires_in"]),
            (&json!("Bearer"), &json!(900))
        );
        Self {
            access_token: text("access_token"),
            refresh_token: text("refresh_token"),
        }
    }

    /// The id of the key that signed the access token.
    pub fn kid(&self) -> String {
        let header = jsonwebtoken::decode_header(&self.access_token).expect("the access token is a JWT");
        header.kid.expect("the access token names its key")
    }
}

/// Whether the local AWS throttles the function, or an upstream is restarting. Our own rate limits send
/// `retry-after`, so they do not count.
fn is_temporarily_unavailable(response: &ApiResponse) -> bool {
    let throttled = response.status == 429 && !response.headers.contains_key("retry-after");
    throttled || response.status == 503
}
