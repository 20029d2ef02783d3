//! `jwks`: what those need to know who verify our tokens: `/.well-known/jwks.json` and
//! `/.well-known/openid-configuration`.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use lambda_shared::{Handler, Init, InitError};
use serde_json::{Value, json};
use web::Problem;

use crate::{
    AuthError,
    http::{self, Reply, Request},
    keys::Keys,
    start,
};

/// A new key is published an hour and more before it signs; five minutes are nothing to that.
const CACHED: &str = "public, max-age=300";

struct Jwks {
    keys: Keys,
    configuration: Value,
}

/// Makes the function: it tells of `AUTH_ISSUER`, whose keys are found at `AUTH_JWKS_URI`, or else below the issuer.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let issuer: String = init.environment.required("AUTH_ISSUER")?;
    let jwks_uri = init.environment.optional("AUTH_JWKS_URI")?;
    let jwks_uri =
        jwks_uri.unwrap_or_else(|| format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')));
    let jwks = Arc::new(Jwks {
        keys: start::keys(&init).await?,
        configuration: configuration(&issuer, &jwks_uri),
    });
    Ok(http::handler(init.clock, move |request| {
        let jwks = Arc::clone(&jwks);
        async move { jwks.answer(&request).await }
    }))
}

impl Jwks {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let reply = if request.path.ends_with("/.well-known/jwks.json") {
            Reply::json(StatusCode::OK, &self.keys.current().await.public())
        } else if request.path.ends_with("/.well-known/openid-configuration") {
            Reply::json(StatusCode::OK, &self.configuration)
        } else {
            return Err(Problem::not_found().into());
        };
        Ok(reply.header(header::CACHE_CONTROL, HeaderValue::from_static(CACHED)))
    }
}

/// As much of OpenID Connect Discovery as those need who only verify: nobody else signs in by us.
fn configuration(issuer: &str, jwks_uri: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["iss", "aud", "sub", "role", "email", "email_verified", "iat", "exp", "jti"],
    })
}
