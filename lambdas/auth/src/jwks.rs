//! `jwks`: what those need to know who verify our tokens: `/.well-known/jwks.json` and
//! `/.well-known/openid-configuration`.

use std::{error::Error, sync::Arc};

use axum::http::{HeaderValue, StatusCode, header};
use lambda_shared::{Handler, Init, InitError};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
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
    init: Init,
    keys: OnceCell<Keys>,
    configuration: Value,
}

/// Makes the function: it tells of `AUTH_ISSUER`, whose keys are found at `AUTH_JWKS_URI`, or else below the issuer.
///
/// Who the issuer is, it tells before there are any keys: API Gateway asks for it when the front door is first deployed,
/// and the keys are put into their secret after that.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let issuer: String = init.environment.required("AUTH_ISSUER")?;
    let jwks_uri = init.environment.optional("AUTH_JWKS_URI")?;
    let jwks_uri =
        jwks_uri.unwrap_or_else(|| format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')));
    let jwks = Arc::new(Jwks {
        keys: OnceCell::new(),
        configuration: configuration(&issuer, &jwks_uri),
        init,
    });
    if let Err(error) = jwks.keys().await {
        let error: &(dyn Error + 'static) = &error;
        tracing::warn!(error, "there are no keys to publish yet");
    }
    let clock = jwks.init.clock.clone();
    Ok(http::handler(clock, move |request| {
        let jwks = Arc::clone(&jwks);
        async move { jwks.answer(&request).await }
    }))
}

impl Jwks {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let reply = if request.path.ends_with("/.well-known/jwks.json") {
            Reply::json(StatusCode::OK, &self.keys().await?.current().await.public())
        } else if request.path.ends_with("/.well-known/openid-configuration") {
            Reply::json(StatusCode::OK, &self.configuration)
        } else {
            return Err(Problem::not_found().into());
        };
        Ok(reply.header(header::CACHE_CONTROL, HeaderValue::from_static(CACHED)))
    }

    async fn keys(&self) -> Result<&Keys, AuthError> {
        let read = self.keys.get_or_try_init(|| start::keys(&self.init));
        read.await.map_err(AuthError::Keys)
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
