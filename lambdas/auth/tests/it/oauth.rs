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

use crate::world::{Answer, EMAIL, Function, World};

const PAGE: &str = "https://shop.test/signed-in";

/// A provider that takes for a code what binds the sign-in: `<challenge>.<nonce>`.
#[derive(Clone)]
struct Stub {
    origin: String,
    key: EncodingKey,
    /// What it says of whoever comes.
    says: Arc<Mutex<Value>>,
}

struct Oauth {
    world: World,
    stub: Stub,
    start: Function,
    callback: Function,
}

/// A browser at the provider's door.
struct AtTheDoor {
    state: String,
    code: String,
    cookie: String,
}

impl Oauth {
    async fn new(pool: PgPool) -> Self {
        let stub = Stub::start().await;
        let mut world = World::new(pool).await;
        world.set("GOOGLE_ISSUER", &stub.origin);
        world.set("GOOGLE_CLIENT_ID", "our-id");
        world.set("GOOGLE_CLIENT_SECRET", world.secret("hunter2").await);
        world.set("GITHUB_URL", &stub.origin);
        world.set("GITHUB_API_URL", &stub.origin);
        world.set("GITHUB_CLIENT_ID", "our-id");
        world.set("GITHUB_CLIENT_SECRET", world.secret("hunter2").await);
        world.set("OAUTH_CALLBACKS", "https://api.test/v1/auth/oauth");
        world.set("OAUTH_REDIRECTS", format!("{PAGE},https://shop.test/other"));
        Self {
            start: world.function("oauth-start").await,
            callback: world.function("oauth-callback").await,
            stub,
            world,
        }
    }

    fn says(&self, subject: &str, email: &str, verified: bool) {
        let says = json!({"sub": subject, "email": email, "verified": verified});
        *self.stub.says.lock().unwrap() = says;
    }

    async fn begin(&self, provider: &str, query: &str) -> AtTheDoor {
        let path = format!("/v1/auth/oauth/{provider}");
        let answer = self.start.get_with(&path, query, Some(provider), "").await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let door = Url::parse(&answer.headers["location"]).unwrap();
        let asked: HashMap<_, _> = door.query_pairs().into_owned().collect();
        let cookie = &answer.cookies[0];
        assert!(
            cookie.starts_with("__Host-")
                && cookie.ends_with("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"),
            "{cookie}"
        );
        AtTheDoor {
            state: asked["state"].clone(),
            code: format!("{}.{}", asked["code_challenge"], asked["nonce"]),
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    async fn come_back(&self, provider: &str, door: &AtTheDoor) -> Answer {
        let path = format!("/v1/auth/oauth/{provider}/callback");
        let query = format!("code={}&state={}", door.code, door.state);
        self.callback
            .get_with(&path, &query, Some(provider), &door.cookie)
            .await
    }

    async fn sign_in(&self, provider: &str) -> Answer {
        let door = self.begin(provider, "").await;
        self.come_back(provider, &door).await
    }

    async fn sub(&self, answer: &Answer) -> String {
        assert_eq!(answer.status, 200, "{answer:?}");
        self.world.claims(&answer.text("access_token")).await.unwrap().sub
    }
}

impl AtTheDoor {
    fn with_cookie(&self, cookie: &str) -> Self {
        Self {
            state: self.state.clone(),
            code: self.code.clone(),
            cookie: cookie.to_owned(),
        }
    }
}

impl Stub {
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
            says: Arc::default(),
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

    fn says(&self, member: &str) -> Value {
        self.says.lock().unwrap()[member].clone()
    }
}

type Fields = Form<HashMap<String, String>>;

/// The nonce in the code, if whoever comes for it is who sent the person here.
fn nonce(fields: &HashMap<String, String>) -> Option<String> {
    let (challenge, nonce) = fields["code"].split_once('.')?;
    let verifier = digest::digest(&digest::SHA256, fields["code_verifier"].as_bytes());
    let ours = fields["client_secret"] == "hunter2" && BASE64_URL_SAFE_NO_PAD.encode(verifier) == challenge;
    ours.then(|| nonce.to_owned())
}

async fn configuration(State(stub): State<Stub>) -> Json<Value> {
    let origin = &stub.origin;
    Json(json!({
        "issuer": origin,
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "jwks_uri": format!("{origin}/jwks"),
    }))
}

async fn jwks(State(stub): State<Stub>) -> Json<Value> {
    let mut jwk = Jwk::from_encoding_key(&stub.key, Algorithm::RS256).unwrap();
    jwk.common.key_id = Some("theirs".to_owned());
    Json(json!({"keys": [jwk]}))
}

async fn id_token(State(stub): State<Stub>, Form(fields): Fields) -> Result<Json<Value>, StatusCode> {
    let nonce = nonce(&fields).ok_or(StatusCode::BAD_REQUEST)?;
    let now = Clock::system().now().timestamp();
    let claims = json!({
        "iss": stub.origin, "aud": "our-id", "sub": stub.says("sub"), "nonce": nonce, "iat": now, "exp": now + 60,
        "email": stub.says("email"), "email_verified": stub.says("verified"), "name": "Hanako",
    });
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some("theirs".to_owned());
    let token = encode(&header, &claims, &stub.key).unwrap();
    Ok(Json(
        json!({"id_token": token, "access_token": "unused", "token_type": "Bearer"}),
    ))
}

async fn access_token(Form(fields): Fields) -> Json<Value> {
    Json(match nonce(&fields) {
        Some(_) => json!({"access_token": "gho", "token_type": "bearer"}),
        None => json!({"error": "bad_verification_code"}),
    })
}

async fn user(State(stub): State<Stub>) -> Json<Value> {
    let id: u64 = stub.says("sub").as_str().unwrap().parse().unwrap();
    Json(json!({"id": id, "login": "hanako", "name": null}))
}

async fn emails(State(stub): State<Stub>) -> Json<Value> {
    Json(json!([
        {"email": "other@example.com", "primary": false, "verified": true},
        {"email": stub.says("email"), "primary": true, "verified": stub.says("verified")},
    ]))
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn who_comes_by_a_provider_is_the_same_person_each_time(pool: PgPool) {
    let oauth = Oauth::new(pool).await;
    for (provider, subject, email) in [
        ("google", "17", "google@example.com"),
        ("github", "18", "github@example.com"),
    ] {
        oauth.says(subject, email, true);
        let first = oauth.sub(&oauth.sign_in(provider).await).await;
        // The address at the provider may change; the account does not.
        oauth.says(subject, "another@example.com", false);
        assert_eq!(oauth.sub(&oauth.sign_in(provider).await).await, first);
    }
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn a_page_of_the_shop_gets_a_token_that_is_good_once(pool: PgPool) {
    let oauth = Oauth::new(pool).await;
    oauth.says("17", "hanako@example.com", true);
    let door = oauth
        .begin("google", "redirect_to=https%3A%2F%2Fshop.test%2Fsigned-in")
        .await;
    let answer = oauth.come_back("google", &door).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let (page, token) = answer.headers["location"].split_once("#refresh_token=").unwrap();
    assert_eq!(page, PAGE);
    assert!(answer.cookies[0].contains("Max-Age=0"), "{answer:?}");
    let refresh = oauth.world.function("refresh").await;
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
            .start
            .get_with("/v1/auth/oauth/google", &query, Some("google"), "")
            .await;
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "invalid-redirect"),
            "{elsewhere}"
        );
        assert!(!answer.headers.contains_key("location"));
    }
    let unknown = oauth
        .start
        .get_with("/v1/auth/oauth/evil", "", Some("evil"), "")
        .await;
    assert_eq!(unknown.status, 404);
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn a_sign_in_ends_in_the_browser_in_which_it_began_and_once(pool: PgPool) {
    let oauth = Oauth::new(pool).await;
    oauth.says("17", "hanako@example.com", true);
    let (mine, theirs) = (oauth.begin("google", "").await, oauth.begin("google", "").await);

    for forged in [
        theirs.with_cookie(&mine.cookie),
        theirs.with_cookie(""),
        AtTheDoor {
            state: "made-up".to_owned(),
            ..mine.with_cookie(&mine.cookie)
        },
    ] {
        let answer = oauth.come_back("google", &forged).await;
        assert_eq!((answer.status, answer.problem()), (400, "sign-in-not-begun"));
    }
    let crossed = oauth.come_back("github", &mine).await;
    assert_eq!(
        crossed.problem(),
        "sign-in-not-begun",
        "begun with another provider"
    );

    // Another's code in one's own sign-in: PKCE and the nonce tell.
    let swapped = AtTheDoor {
        code: theirs.code.clone(),
        ..mine.with_cookie(&mine.cookie)
    };
    let answer = oauth.come_back("google", &swapped).await;
    assert_eq!((answer.status, answer.problem()), (502, "provider-failed"));
    let again = oauth.come_back("google", &mine).await;
    assert_eq!(again.problem(), "sign-in-not-begun", "it is used up");

    assert_eq!(oauth.come_back("google", &theirs).await.status, 200);
    assert_eq!(
        oauth.come_back("google", &theirs).await.problem(),
        "sign-in-not-begun"
    );
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn an_unverified_address_never_takes_an_account_over(pool: PgPool) {
    let oauth = Oauth::new(pool).await;
    let link = oauth.world.register().await;
    for provider in ["google", "github"] {
        oauth.says("17", EMAIL, false);
        let answer = oauth.sign_in(provider).await;
        assert_eq!((answer.status, answer.problem()), (409, "address-not-verified"));
        oauth.says("17", "new@example.com", false);
        let answer = oauth.sign_in(provider).await;
        assert_eq!(answer.problem(), "address-not-verified", "nor does it make one");

        // Whoever registered here may be anybody until the address is verified.
        oauth.says("17", EMAIL, true);
        let answer = oauth.sign_in(provider).await;
        assert_eq!((answer.status, answer.problem()), (409, "sign-in-first"));
    }

    let verify = oauth.world.function("email-verify").await;
    let verified = verify
        .post("/v1/auth/email/verify", &json!({"token": link}))
        .await;
    assert_eq!(verified.status, 204);
    let by_google = oauth.sub(&oauth.sign_in("google").await).await;
    let login = oauth.world.function("login").await;
    let body = json!({"email": EMAIL, "password": crate::world::PASSWORD});
    let by_password = login.post("/v1/auth/login", &body).await;
    assert_eq!(oauth.sub(&by_password).await, by_google);
}
