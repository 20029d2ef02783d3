//! Signing in by a provider: a real one of OpenID Connect, of somebody else's making, stands where Google would.

use domain::ids::uuid_v7;
use reqwest::{Method, Url, header, redirect};
use serde_json::{Value, json};

use e2e::system::{ApiResponse, Session, TestSystem, env_var, eventually, send};

const START: &str = "/v1/auth/oauth/google";
const CALLBACK: &str = "/v1/auth/oauth/google/callback";

/// A browser, which keeps the cookie of the sign-in that it began.
struct Browser<'a> {
    system: &'a TestSystem,
    http: reqwest::Client,
}

/// A sign-in on its way.
struct PendingSignIn {
    /// The provider's page.
    authorization_url: Url,
    /// What the browser keeps.
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
        eventually("an answer that is one", async || {
            let mut request = self.http.get(format!("{}{path}", self.system.gateway_url));
            if let Some(cookie) = cookie {
                request = request.header(header::COOKIE, cookie);
            }
            let answer = send(request).await;
            (answer.status != 503).then_some(answer)
        })
        .await
    }

    async fn start_sign_in(&self, query: &str) -> PendingSignIn {
        let answer = self.get(&format!("{START}{query}"), None).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
        // A browser takes a cookie of this prefix only with this path and without a domain.
        assert!(cookie.starts_with("__Host-"), "{cookie}");
        assert!(
            cookie.contains("; Path=/; ") && !cookie.contains("Domain"),
            "{cookie}"
        );
        assert!(cookie.contains("; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
        PendingSignIn {
            authorization_url: answer.headers[header::LOCATION]
                .to_str()
                .unwrap()
                .parse()
                .unwrap(),
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    /// Lets somebody in at the provider; the way back, as the provider tells it.
    async fn approve_at_provider(&self, door: &Url, subject: &str) -> Url {
        let answer = send(self.http.post(door.clone()).form(&[("sub", subject)])).await;
        assert_eq!(answer.status, 302, "{answer:?}");
        answer.headers[header::LOCATION]
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Comes back from the provider.
    async fn follow_callback(&self, back: &Url, cookie: Option<&str>) -> ApiResponse {
        assert_eq!(
            back.as_str().split('?').next(),
            Some(&*format!("{}{CALLBACK}", self.system.gateway_url))
        );
        let path = format!("{CALLBACK}?{}", back.query().unwrap());
        self.get(&path, cookie).await
    }

    async fn sign_in(&self, subject: &str) -> ApiResponse {
        let begun = self.start_sign_in("").await;
        let back = self.approve_at_provider(&begun.authorization_url, subject).await;
        self.follow_callback(&back, Some(&begun.cookie)).await
    }
}

/// Makes somebody an account at the provider; their name there.
async fn create_provider_account(system: &TestSystem, email: &str, verified: bool) -> String {
    let subject = uuid_v7(system.now()).to_string();
    update_provider_account(system, &subject, email, verified).await;
    subject
}

/// Has the provider say this of an account from now on.
async fn update_provider_account(system: &TestSystem, subject: &str, email: &str, verified: bool) {
    let url = format!("{}/users/{subject}", env_var("IDENTITY_PROVIDER_URL"));
    let claims = json!({"email": email, "email_verified": verified, "name": "Hanako of Elsewhere"});
    send(system.http.put(url).json(&claims)).await.expect_status(204);
}

fn unique_email(system: &TestSystem) -> String {
    format!("{}@example.com", uuid_v7(system.now()))
}

async fn fetch_account(system: &TestSystem, answer: ApiResponse) -> Value {
    let session = Session::from_response(&answer.expect_status(200));
    system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200)
}

#[tokio::test]
async fn somebody_comes_by_a_provider_and_is_the_same_person_the_next_time() {
    let system = TestSystem::shared().await;
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
    // By their account there, whatever the provider says of their address by then.
    update_provider_account(&system, &subject, &unique_email(&system), false).await;
    let moved = fetch_account(&system, browser.sign_in(&subject).await).await;
    assert_eq!((&moved["id"], &moved["email"]), (&first["id"], &first["email"]));
}

#[tokio::test]
async fn the_shops_page_gets_a_token_that_no_server_is_shown() {
    let system = TestSystem::shared().await;
    let browser = Browser::new(&system);
    let subject = create_provider_account(&system, &unique_email(&system), true).await;
    let page = "https://matsuri.example/signed-in";
    let begun = browser
        .start_sign_in(&format!(
            "?redirect_to={}",
            page.replace(':', "%3A").replace('/', "%2F")
        ))
        .await;
    let back = browser
        .approve_at_provider(&begun.authorization_url, &subject)
        .await;
    let answer = browser.follow_callback(&back, Some(&begun.cookie)).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let location = answer.headers[header::LOCATION].to_str().unwrap();
    let token = location
        .strip_prefix(&format!("{page}#refresh_token="))
        .expect("a browser keeps what follows # to itself");
    let session = Session::from_response(&system.try_refresh(token).await.expect_status(200));
    system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200);
}

/// An attacker's way back, in somebody else's browser, would sign that person in to the attacker's account.
#[tokio::test]
async fn the_way_back_is_good_in_the_browser_that_began_and_once() {
    let system = TestSystem::shared().await;
    let (mallory, victim) = (Browser::new(&system), Browser::new(&system));
    let subject = create_provider_account(&system, &unique_email(&system), true).await;
    let begun = mallory.start_sign_in("").await;
    let back = mallory
        .approve_at_provider(&begun.authorization_url, &subject)
        .await;

    let others = victim.start_sign_in("").await;
    for cookie in [
        None,
        Some(others.cookie.as_str()),
        Some("__Host-matsuri-sign-in="),
    ] {
        let answer = victim.follow_callback(&back, cookie).await;
        assert_eq!(answer.expect_problem(400), "sign-in-not-started");
    }
    let mut other_state = back.clone();
    let code = back
        .query_pairs()
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    other_state
        .query_pairs_mut()
        .clear()
        .append_pair("code", &code)
        .append_pair("state", "made-up");
    let answer = mallory.follow_callback(&other_state, Some(&begun.cookie)).await;
    assert_eq!(answer.expect_problem(400), "sign-in-not-started");

    mallory
        .follow_callback(&back, Some(&begun.cookie))
        .await
        .expect_status(200);
    let again = mallory.follow_callback(&back, Some(&begun.cookie)).await;
    assert_eq!(again.expect_problem(400), "sign-in-not-started");
}

#[tokio::test]
async fn nobody_is_sent_to_a_page_that_is_not_the_shops() {
    let system = TestSystem::shared().await;
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
        let answer = browser
            .get(&format!("{START}?redirect_to={elsewhere}"), None)
            .await;
        assert!(!answer.headers.contains_key(header::LOCATION), "{answer:?}");
        assert_eq!(answer.expect_problem(400), "invalid-redirect", "{elsewhere}");
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

/// Whoever registers with another's address, at the provider or here, must not come to share that other's account.
#[tokio::test]
async fn an_address_that_nobody_has_verified_takes_no_account_over() {
    let system = TestSystem::shared().await;
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
async fn whoever_turns_back_at_the_provider_is_told_so() {
    let system = TestSystem::shared().await;
    let browser = Browser::new(&system);
    let begun = browser.start_sign_in("").await;
    let denied = send(
        browser
            .http
            .post(begun.authorization_url.clone())
            .form(&[("action", "deny")]),
    )
    .await;
    assert_eq!(denied.status, 302, "{denied:?}");
    let mut back: Url = denied.headers[header::LOCATION]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    // This provider forgets the state then, which RFC 6749, 4.1.2.1 has it give back.
    let (_, state) = begun
        .authorization_url
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap();
    back.query_pairs_mut().append_pair("state", &state);
    let answer = browser.follow_callback(&back, Some(&begun.cookie)).await;
    assert_eq!(answer.expect_problem(403), "sign-in-denied");
    // A page elsewhere cannot finish what was not begun.
    let request = system.gateway_request(Method::GET, &format!("{CALLBACK}?code=stolen&state=made-up"));
    assert_eq!(send(request).await.expect_problem(400), "sign-in-not-started");
}
