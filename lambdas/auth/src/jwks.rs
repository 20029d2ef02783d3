//! `jwks`: what those need to know who verify our tokens: `/.well-known/jwks.json` and
//! `/.well-known/openid-configuration`.

use std::{error::Error, sync::Arc};

use axum::http::{HeaderValue, StatusCode, header};
use http_server::Problem;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    bootstrap,
    signing_keys::CachedSigningKeys,
};

/// A new key is published an hour and more before it signs; five minutes are nothing to that.
const CACHE_CONTROL: &str = "public, max-age=300";

struct JwksHandler {
    context: FunctionContext,
    signing_keys: OnceCell<CachedSigningKeys>,
    openid_configuration: Value,
}

/// Makes the function: it tells of `AUTH_ISSUER`, whose keys are found at `AUTH_JWKS_URI`, or else below the issuer.
///
/// Who the issuer is, it tells before there are any keys: API Gateway asks for it when the front door is first deployed,
/// and the keys are put into their secret after that.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let issuer: String = init.environment.required("AUTH_ISSUER")?;
    let jwks_uri = init.environment.optional("AUTH_JWKS_URI")?;
    let jwks_uri =
        jwks_uri.unwrap_or_else(|| format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')));
    let jwks = Arc::new(JwksHandler {
        signing_keys: OnceCell::new(),
        openid_configuration: openid_configuration(&issuer, &jwks_uri),
        context: init,
    });
    if let Err(error) = jwks.signing_keys().await {
        let error: &(dyn Error + 'static) = &error;
        tracing::warn!(error, "there are no keys to publish yet");
    }
    let clock = jwks.context.clock.clone();
    Ok(api_gateway::handler(clock, move |request| {
        let jwks = Arc::clone(&jwks);
        async move { jwks.handle(&request).await }
    }))
}

impl JwksHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let reply = if request.path.ends_with("/.well-known/jwks.json") {
            Response::json(
                StatusCode::OK,
                &self.signing_keys().await?.current().await.jwk_set(),
            )
        } else if request.path.ends_with("/.well-known/openid-configuration") {
            Response::json(StatusCode::OK, &self.openid_configuration)
        } else {
            return Err(Problem::not_found().into());
        };
        Ok(reply.header(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL)))
    }

    async fn signing_keys(&self) -> Result<&CachedSigningKeys, AuthError> {
        let read = self
            .signing_keys
            .get_or_try_init(|| bootstrap::signing_keys(&self.context));
        read.await.map_err(AuthError::SigningKeys)
    }
}

/// As much of OpenID Connect Discovery as those need who only verify: nobody else signs in by us.
fn openid_configuration(issuer: &str, jwks_uri: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["iss", "aud", "sub", "role", "email", "email_verified", "iat", "exp", "jti"],
    })
}
