//! Sign-in with an identity provider. A stub plays Google (OpenID Connect) and GitHub (OAuth 2.0).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use aws_lc_rs::{digest, encoding::AsDer, rsa};
use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderName, StatusCode, header},
    response::IntoResponse,
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

/// A provider stub. Its authorization codes are `<code challenge>.<nonce>`.
#[derive(Clone)]
struct ProviderStub {
    origin: String,
    key: EncodingKey,
    /// The profile of every user who signs in: `sub`, `email` and `verified`.
    profile: Arc<Mutex<Value>>,
    key_id: Arc<Mutex<String>>,
    /// The header of the discovery document and of the keys.
    cache_control: Arc<Mutex<&'static str>>,
    /// How often the discovery document was requested.
    discoveries: Arc<Mutex<u32>>,
}

struct OauthContext {
    context: TestContext,
    provider: ProviderStub,
    oauth_start: TestFunction,
    oauth_callback: TestFunction,
}

/// A sign-in after the redirect to the provider.
struct StartedSignIn {
    state: String,
    code: String,
    cookie: String,
}

impl OauthContext {
    async fn new(pool: PgPool) -> Self {
        let stub = ProviderStub::start().await;
        let mut context = TestContext::new(pool).await;
        context.set_variable("GOOGLE_ISSUER", &stub.origin);
        context.set_variable("GOOGLE_CLIENT_ID", "our-id");
        context.set_variable("GOOGLE_CLIENT_SECRET", context.create_secret("hunter2").await);
        context.set_variable("GITHUB_URL", &stub.origin);
        context.set_variable("GITHUB_API_URL", &stub.origin);
        context.set_variable("GITHUB_CLIENT_ID", "our-id");
        context.set_variable("GITHUB_CLIENT_SECRET", context.create_secret("hunter2").await);
        context.set_variable("OAUTH_CALLBACK_BASE_URL", "https://api.test/v1/auth/oauth");
        context.set_variable(
            "OAUTH_ALLOWED_REDIRECTS",
            format!("{REDIRECT_URL},https://shop.test/other"),
        );
        Self {
            oauth_start: context.function("oauth-start").await,
            oauth_callback: context.function("oauth-callback").await,
            provider: stub,
            context,
        }
    }

    fn set_profile(&self, subject: &str, email: &str, verified: bool) {
        self.set_profile_with(subject, email, json!(verified));
    }

    fn set_profile_with(&self, subject: &str, email: &str, verified: Value) {
        let profile = json!({"sub": subject, "email": email, "verified": verified});
        *self.provider.profile.lock().unwrap() = profile;
    }

    async fn start_sign_in(&self, provider: &str, query: &str) -> StartedSignIn {
        let path = format!("/v1/auth/oauth/{provider}");
        let response = self.oauth_start.get_with(&path, query, "").await;
        assert_eq!(response.status, 303, "{response:?}");
        let url = Url::parse(&response.headers["location"]).unwrap();
        let parameters: HashMap<_, _> = url.query_pairs().into_owned().collect();
        let cookie = &response.cookies[0];
        // Browsers accept a cookie with this prefix only with this path and without a domain.
        assert!(cookie.starts_with("__Host-"), "{cookie}");
        let attributes: BTreeSet<&str> = cookie.split("; ").skip(1).collect();
        let expected = ["HttpOnly", "Max-Age=600", "Path=/", "SameSite=Lax", "Secure"];
        assert_eq!(attributes, BTreeSet::from(expected));
        // Only OpenID Connect has a nonce.
        let nonce = parameters.get("nonce").map_or("", String::as_str);
        StartedSignIn {
            state: parameters["state"].clone(),
            code: format!("{}.{nonce}", parameters["code_challenge"]),
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    async fn complete_sign_in(&self, provider: &str, sign_in: &StartedSignIn) -> TestResponse {
        let path = format!("/v1/auth/oauth/{provider}/callback");
        let query = format!("code={}&state={}", sign_in.code, sign_in.state);
        self.oauth_callback.get_with(&path, &query, &sign_in.cookie).await
    }

    async fn sign_in(&self, provider: &str) -> TestResponse {
        let sign_in = self.start_sign_in(provider, "").await;
        self.complete_sign_in(provider, &sign_in).await
    }

    /// Verifies the access token and returns its `sub` claim.
    async fn user_id(&self, response: &TestResponse) -> String {
        assert_eq!(response.status, 200, "{response:?}");
        self.context
            .verified_claims(&response.string("access_token"))
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
            key_id: Arc::new(Mutex::new("provider-key".to_owned())),
            cache_control: Arc::new(Mutex::new("public, max-age=3600")),
            discoveries: Arc::default(),
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

    fn cache_control(&self) -> [(HeaderName, &'static str); 1] {
        [(header::CACHE_CONTROL, *self.cache_control.lock().unwrap())]
    }

    fn profile_field(&self, member: &str) -> Value {
        self.profile.lock().unwrap()[member].clone()
    }
}

type TokenForm = Form<HashMap<String, String>>;

/// Returns the code's nonce if the request has our client secret and the matching PKCE code verifier.
fn verify_code(fields: &HashMap<String, String>) -> Option<String> {
    let (challenge, nonce) = fields["code"].split_once('.')?;
    let verifier = digest::digest(&digest::SHA256, fields["code_verifier"].as_bytes());
    let is_our_client =
        fields["client_secret"] == "hunter2" && BASE64_URL_SAFE_NO_PAD.encode(verifier) == challenge;
    is_our_client.then(|| nonce.to_owned())
}

async fn configuration(State(stub): State<ProviderStub>) -> impl IntoResponse {
    let origin = &stub.origin;
    let document = json!({
        "issuer": origin,
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "jwks_uri": format!("{origin}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    *stub.discoveries.lock().unwrap() += 1;
    (stub.cache_control(), Json(document))
}

async fn jwks(State(stub): State<ProviderStub>) -> impl IntoResponse {
    let mut jwk = Jwk::from_encoding_key(&stub.key, Algorithm::RS256).unwrap();
    jwk.common.key_id = Some(stub.key_id.lock().unwrap().clone());
    (stub.cache_control(), Json(json!({"keys": [jwk]})))
}

async fn id_token(
    State(stub): State<ProviderStub>,
    Form(fields): TokenForm,
) -> Result<Json<Value>, StatusCode> {
    let nonce = verify_code(&fields).ok_or(StatusCode::BAD_REQUEST)?;
    let now = Clock::system().now().timestamp();
    let claims = json!({
        "iss": stub.origin,
        "aud": "our-id",
        "sub": stub.profile_field("sub"),
        "nonce": nonce,
        "iat": now,
        "exp": now + 60,
        "email": stub.profile_field("email"),
        "email_verified": stub.profile_field("verified"),
        "name": "Hanako",
    });
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(stub.key_id.lock().unwrap().clone());
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

/// The primary address is the last one of 150.
async fn emails(
    State(stub): State<ProviderStub>,
    Query(query): Query<HashMap<String, usize>>,
) -> Json<Value> {
    let (page, per_page) = (query["page"], query["per_page"]);
    let primary = json!({
        "email": stub.profile_field("email"), "primary": true, "verified": stub.profile_field("verified"),
    });
    let others = (1..150).map(
        |number| json!({"email": format!("other{number}@example.com"), "primary": false, "verified": true}),
    );
    let all = others.chain([primary]);
    Json(all.skip((page - 1) * per_page).take(per_page).collect())
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn repeated_sign_ins_with_an_identity_are_the_same_user(pool: PgPool) {
    let oauth = OauthContext::new(pool).await;
    for (provider, subject, email) in [
        ("google", "17", "google@example.com"),
        ("github", "18", "github@example.com"),
    ] {
        oauth.set_profile(subject, email, true);
        let first = oauth.user_id(&oauth.sign_in(provider).await).await;
        // The e-mail address at the provider may change. The identity stays linked to the account.
        oauth.set_profile(subject, "another@example.com", false);
        assert_eq!(oauth.user_id(&oauth.sign_in(provider).await).await, first);
    }
}

/// Some providers send the claim as text.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn verified_email_may_be_text(pool: PgPool) {
    let oauth = OauthContext::new(pool).await;
    for (verified, status) in [("false", 409), ("true", 200)] {
        oauth.set_profile_with("17", "hanako@example.com", json!(verified));
        assert_eq!(oauth.sign_in("google").await.status, status, "{verified}");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn discovery_is_cached_as_the_provider_permits(pool: PgPool) {
    let oauth = OauthContext::new(pool).await;
    oauth.set_profile("17", "hanako@example.com", true);
    let discoveries = async || {
        *oauth.provider.discoveries.lock().unwrap() = 0;
        for _ in 0..2 {
            assert_eq!(oauth.sign_in("google").await.status, 200);
        }
        *oauth.provider.discoveries.lock().unwrap()
    };
    *oauth.provider.cache_control.lock().unwrap() = "no-store";
    assert_eq!(discoveries().await, 4, "once per function and sign-in");
    *oauth.provider.cache_control.lock().unwrap() = "public, max-age=3600";
    assert_eq!(discoveries().await, 2, "once per function");

    // The provider signs with a new key, and no sign-in fails.
    *oauth.provider.key_id.lock().unwrap() = "new-key".to_owned();
    assert_eq!(discoveries().await, 1, "the callback reads the new keys");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn provider_that_is_away_is_reported(pool: PgPool) {
    let mut context = TestContext::new(pool).await;
    // Nothing listens there.
    context.set_variable("GOOGLE_ISSUER", "http://127.0.0.1:9");
    context.set_variable("GOOGLE_CLIENT_ID", "our-id");
    context.set_variable("OAUTH_CALLBACK_BASE_URL", "https://api.test/v1/auth/oauth");
    let oauth_start = context.function("oauth-start").await;
    let response = oauth_start.get_with("/v1/auth/oauth/google", "", "").await;
    assert_eq!(
        (response.status, response.problem_slug()),
        (502, "provider-failed")
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn redirect_carries_a_refresh_token_and_must_be_allowed(pool: PgPool) {
    let oauth = OauthContext::new(pool).await;
    oauth.set_profile("17", "hanako@example.com", true);
    let sign_in = oauth
        .start_sign_in("google", "redirect_to=https%3A%2F%2Fshop.test%2Fsigned-in")
        .await;
    let response = oauth.complete_sign_in("google", &sign_in).await;
    assert_eq!(response.status, 303, "{response:?}");
    let (page, token) = response.headers["location"]
        .split_once("#refresh_token=")
        .unwrap();
    assert_eq!(page, REDIRECT_URL);
    assert!(response.cookies[0].contains("Max-Age=0"), "{response:?}");
    let refresh = oauth.context.function("refresh").await;
    let refreshed = refresh
        .post("/v1/auth/refresh", &json!({"refresh_token": token}))
        .await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");

    for not_allowed in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "https%3A%2F%2Fshop.test%2Fsigned-in%3Fx",
        "",
    ] {
        let query = format!("redirect_to={not_allowed}");
        let response = oauth
            .oauth_start
            .get_with("/v1/auth/oauth/google", &query, "")
            .await;
        assert_eq!(
            (response.status, response.problem_slug()),
            (400, "invalid-redirect"),
            "{not_allowed}"
        );
        assert!(!response.headers.contains_key("location"));
    }
    let unknown_provider = oauth.oauth_start.get_with("/v1/auth/oauth/evil", "", "").await;
    assert_eq!(unknown_provider.status, 404);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn sign_in_completes_once_and_only_in_its_browser(pool: PgPool) {
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
            state: "forged".to_owned(),
            ..mine.with_cookie(&mine.cookie)
        },
    ] {
        let response = oauth.complete_sign_in("google", &forged).await;
        assert_eq!(
            (response.status, response.problem_slug()),
            (400, "sign-in-not-started")
        );
    }
    let other_provider = oauth.complete_sign_in("github", &mine).await;
    assert_eq!(
        other_provider.problem_slug(),
        "sign-in-not-started",
        "the sign-in was started with another provider"
    );

    // PKCE and the nonce reject a code that belongs to another sign-in.
    let swapped = StartedSignIn {
        code: theirs.code.clone(),
        ..mine.with_cookie(&mine.cookie)
    };
    let response = oauth.complete_sign_in("google", &swapped).await;
    assert_eq!(
        (response.status, response.problem_slug()),
        (502, "provider-failed")
    );
    let again = oauth.complete_sign_in("google", &mine).await;
    assert_eq!(
        again.problem_slug(),
        "sign-in-not-started",
        "the failed attempt has used the sign-in up"
    );

    assert_eq!(oauth.complete_sign_in("google", &theirs).await.status, 200);
    assert_eq!(
        oauth.complete_sign_in("google", &theirs).await.problem_slug(),
        "sign-in-not-started"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn unverified_email_never_gives_access_to_an_account(pool: PgPool) {
    let oauth = OauthContext::new(pool).await;
    let link = oauth.context.register_user().await;
    for provider in ["google", "github"] {
        oauth.set_profile("17", EMAIL, false);
        let response = oauth.sign_in(provider).await;
        assert_eq!(
            (response.status, response.problem_slug()),
            (409, "email-not-verified")
        );
        oauth.set_profile("17", "new@example.com", false);
        let response = oauth.sign_in(provider).await;
        assert_eq!(
            response.problem_slug(),
            "email-not-verified",
            "no account is created"
        );

        // Our account is not verified, so its owner may be another person.
        oauth.set_profile("17", EMAIL, true);
        let response = oauth.sign_in(provider).await;
        assert_eq!(
            (response.status, response.problem_slug()),
            (409, "account-exists")
        );
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
