//! Coming in by a provider, with one of our own making behind both protocols.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{digest, encoding::AsDer, rsa};
use axum::{
    Form, Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::Clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;
use url::Url;

use crate::support::{EMAIL, TestContext, TestFunction, TestResponse};

const REDIRECT_URL: &str = "https://shop.test/signed-in";

/// A provider that takes for a code what binds the sign-in: `<challenge>.<nonce>`.
#[derive(Clone)]
struct ProviderStub {
    origin: String,
    key: EncodingKey,
    /// What it says of whoever comes.
    profile: Arc<Mutex<Value>>,
}

struct OauthContext {
    context: TestContext,
    provider: ProviderStub,
    oauth_start: TestFunction,
    oauth_callback: TestFunction,
}

/// A browser at the provider's door.
struct StartedSignIn {
    state: String,
    code: String,
    cookie: String,
}

impl OauthContext {
    async fn new(pool: PgPool) -> Self {
        let stub = ProviderStub::start().await;
        let mut world = TestContext::new(pool).await;
        world.set_variable("GOOGLE_ISSUER", &stub.origin);
        world.set_variable("GOOGLE_CLIENT_ID", "our-id");
        world.set_variable("GOOGLE_CLIENT_SECRET", world.create_secret("hunter2").await);
        world.set_variable("GITHUB_URL", &stub.origin);
        world.set_variable("GITHUB_API_URL", &stub.origin);
        world.set_variable("GITHUB_CLIENT_ID", "our-id");
        world.set_variable("GITHUB_CLIENT_SECRET", world.create_secret("hunter2").await);
        world.set_variable("OAUTH_CALLBACK_BASE_URL", "https://api.test/v1/auth/oauth");
        world.set_variable(
            "OAUTH_ALLOWED_REDIRECTS",
            format!("{REDIRECT_URL},https://shop.test/other"),
        );
        Self {
            oauth_start: world.function("oauth-start").await,
            oauth_callback: world.function("oauth-callback").await,
            provider: stub,
            context: world,
        }
    }

    fn set_profile(&self, subject: &str, email: &str, verified: bool) {
        let says = json!({"sub": subject, "email": email, "verified": verified});
        *self.provider.profile.lock().unwrap() = says;
    }

    async fn start_sign_in(&self, provider: &str, query: &str) -> StartedSignIn {
        let path = format!("/v1/auth/oauth/{provider}");
        let answer = self.oauth_start.get_with(&path, query, Some(provider), "").await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let door = Url::parse(&answer.headers["location"]).unwrap();
        let asked: HashMap<_, _> = door.query_pairs().into_owned().collect();
        let cookie = &answer.cookies[0];
        assert!(
            cookie.starts_with("__Host-")
                && cookie.ends_with("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"),
            "{cookie}"
        );
        StartedSignIn {
            state: asked["state"].clone(),
            code: format!("{}.{}", asked["code_challenge"], asked["nonce"]),
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    async fn complete_sign_in(&self, provider: &str, door: &StartedSignIn) -> TestResponse {
        let path = format!("/v1/auth/oauth/{provider}/callback");
        let query = format!("code={}&state={}", door.code, door.state);
        self.oauth_callback
            .get_with(&path, &query, Some(provider), &door.cookie)
            .await
    }

    async fn sign_in(&self, provider: &str) -> TestResponse {
        let door = self.start_sign_in(provider, "").await;
        self.complete_sign_in(provider, &door).await
    }

    async fn user_id(&self, answer: &TestResponse) -> String {
        assert_eq!(answer.status, 200, "{answer:?}");
        self.context
            .verified_claims(&answer.string("access_token"))
            .await
            .unwrap()
            .sub
    }
}

impl StartedSignIn {
    fn with_cookie(&self, cookie: &str) -> Self {
        Self {
            state: self.state.clone(),
            code: self.code.clone(),
            cookie: cookie.to_owned(),
        }
    }
}

impl ProviderStub {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64_STANDARD.encode(pair.as_der().unwrap().as_ref())
        );
        let stub = Self {
            origin: format!("http://{}", listener.local_addr().unwrap()),
            key: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
            profile: Arc::default(),
        };
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/jwks", get(jwks))
            .route("/token", post(id_token))
            .route("/login/oauth/access_token", post(access_token))
            .route("/user", get(user))
            .route("/user/emails", get(emails))
            .with_state(stub.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        stub
    }

    fn profile_field(&self, member: &str) -> Value {
        self.profile.lock().unwrap()[member].clone()
    }
}

type TokenForm = Form<HashMap<String, String>>;

/// The nonce in the code, if whoever comes for it is who sent the person here.
fn verify_code(fields: &HashMap<String, String>) -> Option<String> {
    let (challenge, nonce) = fields["code"].split_once('.')?;
    let verifier = digest::digest(&digest::SHA256, fields["code_verifier"].as_bytes());
    let ours = fields["client_secret"] == "hunter2" && BASE64_URL_SAFE_NO_PAD.encode(verifier) == challenge;
    ours.then(|| nonce.to_owned())
}

async fn configuration(State(stub): State<ProviderStub>) -> Json<Value> {
    let origin = &stub.origin;
    Json(json!({
        "issuer": origin,
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "jwks_uri": format!("{origin}/jwks"),
    }))
}

async fn jwks(State(stub): State<ProviderStub>) -> Json<Value> {
    let mut jwk = Jwk::from_encoding_key(&stub.key, Algorithm::RS256).unwrap();
    jwk.common.key_id = Some("theirs".to_owned());
    Json(json!({"keys": [jwk]}))
}

async fn id_token(
    State(stub): State<ProviderStub>,
    Form(fields): TokenForm,
) -> Result<Json<Value>, StatusCode> {
    let nonce = verify_code(&fields).ok_or(StatusCode::BAD_REQUEST)?;
    let now = Clock::system().now().timestamp();
    let claims = json!({
        "iss": stub.origin, "aud": "our-id", "sub": stub.profile_field("sub"), "nonce": nonce, "iat": now, "exp": now + 60,
        "email": stub.profile_field("email"), "email_verified": stub.profile_field("verified"), "name": "Hanako",
    });
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some("theirs".to_owned());
    let token = encode(&header, &claims, &stub.key).unwrap();
    Ok(Json(
        json!({"id_token": token, "access_token": "unused", "token_type": "Bearer"}),
    ))
}

async fn access_token(Form(fields): TokenForm) -> Json<Value> {
    Json(match verify_code(&fields) {
        Some(_) => json!({"access_token": "gho", "token_type": "bearer"}),
        None => json!({"error": "bad_verification_code"}),
    })
}

async fn user(State(stub): State<ProviderStub>) -> Json<Value> {
    let id: u64 = stub.profile_field("sub").as_str().unwrap().parse().unwrap();
    Json(json!({"id": id, "login": "hanako", "name": null}))
}

async fn emails(State(stub): State<ProviderStub>) -> Json<Value> {
    Json(json!([
        {"email": "other@example.com", "primary": false, "verified": true},
        {"email": stub.profile_field("email"), "primary": true, "verified": stub.profile_field("verified")},
    ]))
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn who_comes_by_a_provider_is_the_same_person_each_time(pool: PgPool) {
    let oauth = OauthContext::new(pool).await;
    for (provider, subject, email) in [
        ("google", "17", "google@example.com"),
        ("github", "18", "github@example.com"),
    ] {
        oauth.set_profile(subject, email, true);
        let first = oauth.user_id(&oauth.sign_in(provider).await).await;
        // The address at the provider may change; the account does not.
        oauth.set_profile(subject, "another@example.com", false);
        assert_eq!(oauth.user_id(&oauth.sign_in(provider).await).await, first);
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_page_of_the_shop_gets_a_token_that_is_good_once(pool: PgPool) {
    let oauth = OauthContext::new(pool).await;
    oauth.set_profile("17", "hanako@example.com", true);
    let door = oauth
        .start_sign_in("google", "redirect_to=https%3A%2F%2Fshop.test%2Fsigned-in")
        .await;
    let answer = oauth.complete_sign_in("google", &door).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let (page, token) = answer.headers["location"].split_once("#refresh_token=").unwrap();
    assert_eq!(page, REDIRECT_URL);
    assert!(answer.cookies[0].contains("Max-Age=0"), "{answer:?}");
    let refresh = oauth.context.function("refresh").await;
    let next = refresh
        .post("/v1/auth/refresh", &json!({"refresh_token": token}))
        .await;
    assert_eq!(next.status, 200, "{next:?}");

    for elsewhere in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "https%3A%2F%2Fshop.test%2Fsigned-in%3Fx",
        "",
    ] {
        let query = format!("redirect_to={elsewhere}");
        let answer = oauth
            .oauth_start
            .get_with("/v1/auth/oauth/google", &query, Some("google"), "")
            .await;
        assert_eq!(
            (answer.status, answer.problem_slug()),
            (400, "invalid-redirect"),
            "{elsewhere}"
        );
        assert!(!answer.headers.contains_key("location"));
    }
    let unknown = oauth
        .oauth_start
        .get_with("/v1/auth/oauth/evil", "", Some("evil"), "")
        .await;
    assert_eq!(unknown.status, 404);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_sign_in_ends_in_the_browser_in_which_it_began_and_once(pool: PgPool) {
    let oauth = OauthContext::new(pool).await;
    oauth.set_profile("17", "hanako@example.com", true);
    let (mine, theirs) = (
        oauth.start_sign_in("google", "").await,
        oauth.start_sign_in("google", "").await,
    );

    for forged in [
        theirs.with_cookie(&mine.cookie),
        theirs.with_cookie(""),
        StartedSignIn {
            state: "made-up".to_owned(),
            ..mine.with_cookie(&mine.cookie)
        },
    ] {
        let answer = oauth.complete_sign_in("google", &forged).await;
        assert_eq!(
            (answer.status, answer.problem_slug()),
            (400, "sign-in-not-started")
        );
    }
    let crossed = oauth.complete_sign_in("github", &mine).await;
    assert_eq!(
        crossed.problem_slug(),
        "sign-in-not-started",
        "begun with another provider"
    );

    // Another's code in one's own sign-in: PKCE and the nonce tell.
    let swapped = StartedSignIn {
        code: theirs.code.clone(),
        ..mine.with_cookie(&mine.cookie)
    };
    let answer = oauth.complete_sign_in("google", &swapped).await;
    assert_eq!((answer.status, answer.problem_slug()), (502, "provider-failed"));
    let again = oauth.complete_sign_in("google", &mine).await;
    assert_eq!(again.problem_slug(), "sign-in-not-started", "it is used up");

    assert_eq!(oauth.complete_sign_in("google", &theirs).await.status, 200);
    assert_eq!(
        oauth.complete_sign_in("google", &theirs).await.problem_slug(),
        "sign-in-not-started"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_unverified_address_never_takes_an_account_over(pool: PgPool) {
    let oauth = OauthContext::new(pool).await;
    let link = oauth.context.register_user().await;
    for provider in ["google", "github"] {
        oauth.set_profile("17", EMAIL, false);
        let answer = oauth.sign_in(provider).await;
        assert_eq!(
            (answer.status, answer.problem_slug()),
            (409, "email-not-verified")
        );
        oauth.set_profile("17", "new@example.com", false);
        let answer = oauth.sign_in(provider).await;
        assert_eq!(
            answer.problem_slug(),
            "email-not-verified",
            "nor does it make one"
        );

        // Whoever registered here may be anybody until the address is verified.
        oauth.set_profile("17", EMAIL, true);
        let answer = oauth.sign_in(provider).await;
        assert_eq!((answer.status, answer.problem_slug()), (409, "account-exists"));
    }

    let verify = oauth.context.function("email-verify").await;
    let verified = verify
        .post("/v1/auth/email/verify", &json!({"token": link}))
        .await;
    assert_eq!(verified.status, 204);
    let by_google = oauth.user_id(&oauth.sign_in("google").await).await;
    let login = oauth.context.function("login").await;
    let body = json!({"email": EMAIL, "password": crate::support::PASSWORD});
    let by_password = login.post("/v1/auth/login", &body).await;
    assert_eq!(oauth.user_id(&by_password).await, by_google);
}
