//! Sign-in with an OAuth provider. A third-party OpenID Connect server takes the place of Google.

use domain::ids::uuid_v7;
use reqwest::{Method, Url, header, redirect};
use serde_json::{Value, json};

use e2e::system::{ApiResponse, Session, TestSystem, env_var, eventually, send};

const START: &str = "/v1/auth/oauth/google";
const CALLBACK: &str = "/v1/auth/oauth/google/callback";

/// A browser that does not follow redirects.
struct Browser<'a> {
    system: &'a TestSystem,
    http: reqwest::Client,
}

/// A sign-in that was started and not completed.
struct PendingSignIn {
    /// The provider's authorization page.
    authorization_url: Url,
    /// The cookie that binds the sign-in to the browser.
    cookie: String,
}

impl<'a> Browser<'a> {
    fn new(system: &'a TestSystem) -> Self {
        let http = reqwest::Client::builder().redirect(redirect::Policy::none());
        Self {
            system,
            http: http.build().unwrap(),
        }
    }

    async fn get(&self, path: &str, cookie: Option<&str>) -> ApiResponse {
        eventually("a definite response", async || {
            let mut request = self.http.get(format!("{}{path}", self.system.gateway_url));
            if let Some(cookie) = cookie {
                request = request.header(header::COOKIE, cookie);
            }
            let response = send(request).await;
            (response.status != 503).then_some(response)
        })
        .await
    }

    async fn start_sign_in(&self, query: &str) -> PendingSignIn {
        let response = self.get(&format!("{START}{query}"), None).await;
        assert_eq!(response.status, 303, "{response:?}");
        let cookie = response.headers[header::SET_COOKIE].to_str().unwrap();
        // Browsers accept a cookie with this prefix only with this path and without a domain.
        assert!(cookie.starts_with("__Host-"), "{cookie}");
        assert!(!cookie.contains("Domain"), "{cookie}");
        for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(cookie.split("; ").any(|found| found == attribute), "{cookie}");
        }
        PendingSignIn {
            authorization_url: response.headers[header::LOCATION]
                .to_str()
                .unwrap()
                .parse()
                .unwrap(),
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    /// Signs the user in at the provider, and returns the callback URL that the provider redirects to.
    async fn approve_at_provider(&self, authorization_url: &Url, subject: &str) -> Url {
        let response = send(
            self.http
                .post(authorization_url.clone())
                .form(&[("sub", subject)]),
        )
        .await;
        assert_eq!(response.status, 302, "{response:?}");
        response.headers[header::LOCATION]
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Requests the callback URL with the cookie.
    async fn follow_callback(&self, callback: &Url, cookie: Option<&str>) -> ApiResponse {
        assert_eq!(
            callback.as_str().split('?').next(),
            Some(&*format!("{}{CALLBACK}", self.system.gateway_url))
        );
        let path = format!("{CALLBACK}?{}", callback.query().unwrap());
        self.get(&path, cookie).await
    }

    async fn sign_in(&self, subject: &str) -> ApiResponse {
        let pending = self.start_sign_in("").await;
        let callback = self
            .approve_at_provider(&pending.authorization_url, subject)
            .await;
        self.follow_callback(&callback, Some(&pending.cookie)).await
    }
}

/// Creates an account at the provider, and returns its subject.
async fn create_provider_account(system: &TestSystem, email: &str, verified: bool) -> String {
    let subject = uuid_v7(system.now()).to_string();
    update_provider_account(system, &subject, email, verified).await;
    subject
}

/// Changes the claims that the provider returns for an account.
async fn update_provider_account(system: &TestSystem, subject: &str, email: &str, verified: bool) {
    let url = format!("{}/users/{subject}", env_var("IDENTITY_PROVIDER_URL"));
    let claims = json!({"email": email, "email_verified": verified, "name": "Hanako of Elsewhere"});
    send(system.http.put(url).json(&claims)).await.expect_status(204);
}

fn unique_email(system: &TestSystem) -> String {
    format!("{}@example.com", uuid_v7(system.now()))
}

async fn fetch_account(system: &TestSystem, response: ApiResponse) -> Value {
    let session = Session::from_response(&response.expect_status(200));
    system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200)
}

#[tokio::test]
async fn provider_sign_in_creates_one_account_per_subject() {
    let system = TestSystem::shared();
    let (browser, email) = (Browser::new(&system), unique_email(&system));
    let subject = create_provider_account(&system, &email, true).await;

    let first = fetch_account(&system, browser.sign_in(&subject).await).await;
    assert_eq!(
        (
            &first["email"],
            &first["email_verified"],
            &first["name"],
            &first["role"]
        ),
        (
            &json!(email),
            &json!(true),
            &json!("Hanako of Elsewhere"),
            &json!("customer")
        )
    );
    let again = fetch_account(&system, browser.sign_in(&subject).await).await;
    assert_eq!(again["id"], first["id"]);
    // The provider's subject identifies the account, even after the e-mail address changes there.
    update_provider_account(&system, &subject, &unique_email(&system), false).await;
    let moved = fetch_account(&system, browser.sign_in(&subject).await).await;
    assert_eq!((&moved["id"], &moved["email"]), (&first["id"], &first["email"]));
}

#[tokio::test]
async fn redirect_passes_the_refresh_token_in_the_url_fragment() {
    let system = TestSystem::shared();
    let browser = Browser::new(&system);
    let subject = create_provider_account(&system, &unique_email(&system), true).await;
    let page = "https://matsuri.example/signed-in";
    let pending = browser
        .start_sign_in(&format!(
            "?redirect_to={}",
            page.replace(':', "%3A").replace('/', "%2F")
        ))
        .await;
    let callback = browser
        .approve_at_provider(&pending.authorization_url, &subject)
        .await;
    let response = browser.follow_callback(&callback, Some(&pending.cookie)).await;
    assert_eq!(response.status, 303, "{response:?}");
    let location = response.headers[header::LOCATION].to_str().unwrap();
    let token = location
        .strip_prefix(&format!("{page}#refresh_token="))
        .expect("the token is in the fragment, which browsers do not send to servers");
    let session = Session::from_response(&system.try_refresh(token).await.expect_status(200));
    system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200);
}

/// Without the check, a victim's browser that requests an attacker's callback would sign in to the attacker's
/// account.
#[tokio::test]
async fn callback_works_once_and_only_in_the_browser_that_started_it() {
    let system = TestSystem::shared();
    let (mallory, victim) = (Browser::new(&system), Browser::new(&system));
    let subject = create_provider_account(&system, &unique_email(&system), true).await;
    let pending = mallory.start_sign_in("").await;
    let callback = mallory
        .approve_at_provider(&pending.authorization_url, &subject)
        .await;

    let victims_sign_in = victim.start_sign_in("").await;
    for cookie in [
        None,
        Some(victims_sign_in.cookie.as_str()),
        Some("__Host-matsuri-sign-in="),
    ] {
        let response = victim.follow_callback(&callback, cookie).await;
        assert_eq!(response.expect_problem(400), "sign-in-not-started");
    }
    let mut other_state = callback.clone();
    let code = callback
        .query_pairs()
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    other_state
        .query_pairs_mut()
        .clear()
        .append_pair("code", &code)
        .append_pair("state", "forged");
    let response = mallory.follow_callback(&other_state, Some(&pending.cookie)).await;
    assert_eq!(response.expect_problem(400), "sign-in-not-started");

    mallory
        .follow_callback(&callback, Some(&pending.cookie))
        .await
        .expect_status(200);
    let again = mallory.follow_callback(&callback, Some(&pending.cookie)).await;
    assert_eq!(again.expect_problem(400), "sign-in-not-started");
}

#[tokio::test]
async fn rejects_redirects_to_other_sites_and_unknown_providers() {
    let system = TestSystem::shared();
    let browser = Browser::new(&system);
    for elsewhere in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "https%3A%2F%2Fmatsuri.example%2Fsigned-in%40evil.example",
        "https%3A%2F%2Fmatsuri.example.evil.example%2Fsigned-in",
        "https%3A%2F%2Fmatsuri.example%2Fsigned-in%0d%0aSet-Cookie%3A%20a%3Db",
        "javascript%3Aalert(1)",
        "",
    ] {
        let response = browser
            .get(&format!("{START}?redirect_to={elsewhere}"), None)
            .await;
        assert!(!response.headers.contains_key(header::LOCATION), "{response:?}");
        assert_eq!(response.expect_problem(400), "invalid-redirect", "{elsewhere}");
    }
    for unknown in [
        "/v1/auth/oauth/github",
        "/v1/auth/oauth/evil",
        "/v1/auth/oauth/evil/callback",
    ] {
        assert_eq!(
            browser.get(unknown, None).await.expect_problem(404),
            "not-found",
            "{unknown}"
        );
    }
}

/// A user who registers with another user's address, at the provider or here, must not get access to that
/// user's account.
#[tokio::test]
async fn unverified_addresses_are_not_linked_to_accounts() {
    let system = TestSystem::shared();
    let browser = Browser::new(&system);
    let hanako = system.register_user().await;

    let unverified_there = create_provider_account(&system, &hanako.email, false).await;
    assert_eq!(
        browser.sign_in(&unverified_there).await.expect_problem(409),
        "email-not-verified"
    );
    let unverified_here = create_provider_account(&system, &hanako.email, true).await;
    assert_eq!(
        browser.sign_in(&unverified_here).await.expect_problem(409),
        "account-exists"
    );

    let link = json!({"token": system.link_token(&hanako.email, "Welcome", "verify").await});
    let verified = system.post_gateway("/v1/auth/email/verify", &link).await;
    assert_eq!(verified.status, 204, "{verified:?}");
    let by_provider = fetch_account(&system, browser.sign_in(&unverified_here).await).await;
    let session = system.sign_in(&hanako).await;
    let by_password = system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200);
    assert_eq!(by_provider["id"], by_password["id"]);
    assert_eq!(
        browser.sign_in(&unverified_there).await.expect_problem(409),
        "email-not-verified"
    );

    let admin = system.admin().await;
    let path = format!(
        "/v1/audit?subject={}&action=identity_linked",
        by_password["id"].as_str().unwrap()
    );
    let log = system.get_gateway(&path, &admin.token).await.expect_status(200);
    assert_eq!(log["items"].as_array().unwrap().len(), 1, "{log}");
}

#[tokio::test]
async fn denied_consent_returns_sign_in_denied() {
    let system = TestSystem::shared();
    let browser = Browser::new(&system);
    let pending = browser.start_sign_in("").await;
    let denied = send(
        browser
            .http
            .post(pending.authorization_url.clone())
            .form(&[("action", "deny")]),
    )
    .await;
    assert_eq!(denied.status, 302, "{denied:?}");
    let mut callback: Url = denied.headers[header::LOCATION]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    // This provider omits the state on denial, although RFC 6749, section 4.1.2.1 requires it.
    let (_, state) = pending
        .authorization_url
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap();
    callback.query_pairs_mut().append_pair("state", &state);
    let response = browser.follow_callback(&callback, Some(&pending.cookie)).await;
    assert_eq!(response.expect_problem(403), "sign-in-denied");
    // Another site cannot complete a sign-in that was not started.
    let request = system.gateway_request(Method::GET, &format!("{CALLBACK}?code=stolen&state=forged"));
    assert_eq!(send(request).await.expect_problem(400), "sign-in-not-started");
}
