//! `jwks`: the documents for verifiers of our access tokens, `/.well-known/jwks.json` and
//! `/.well-known/openid-configuration`.

use std::{error::Error, sync::Arc};

use axum::http::{HeaderValue, StatusCode, header};
use http_server::Problem;
use lambda_shared::{FunctionContext, Handler, InitError};
use secrets::Secret;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    bootstrap,
    signing_keys::SigningKeys,
};

/// A new key is published at least an hour before it signs, so verifiers may cache the JWKS for five minutes.
const CACHE_CONTROL: &str = "public, max-age=300";

struct JwksHandler {
    context: FunctionContext,
    signing_keys: OnceCell<Secret<SigningKeys>>,
    openid_configuration: Value,
}

/// Creates the function. The crate documentation lists its environment variables.
///
/// The function starts without signing keys: API Gateway reads the issuer's configuration when the system is
/// deployed for the first time, and the keys are created after that.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let issuer: String = context.environment.required("AUTH_ISSUER")?;
    let jwks_uri = context.environment.optional("AUTH_JWKS_URI")?;
    let jwks_uri =
        jwks_uri.unwrap_or_else(|| format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')));
    let handler = Arc::new(JwksHandler {
        signing_keys: OnceCell::new(),
        openid_configuration: openid_configuration(&issuer, &jwks_uri),
        context,
    });
    if let Err(error) = handler.signing_keys().await {
        let error: &(dyn Error + 'static) = &error;
        tracing::warn!(error, "there are no signing keys to publish yet");
    }
    let clock = handler.context.clock.clone();
    // The documents are public and not limited per client, and API Gateway reads them directly.
    Ok(api_gateway::handler(clock, None, move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(&request).await }
    }))
}

impl JwksHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let response = if request.path.ends_with("/.well-known/jwks.json") {
            let signing_keys = self.signing_keys().await?.current().await;
            Response::json(StatusCode::OK, &signing_keys.jwk_set())
        } else if request.path.ends_with("/.well-known/openid-configuration") {
            Response::json(StatusCode::OK, &self.openid_configuration)
        } else {
            return Err(Problem::not_found().into());
        };
        Ok(response.header(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL)))
    }

    /// Loads the keys on first use. After a failure, the next request tries again.
    async fn signing_keys(&self) -> Result<&Secret<SigningKeys>, AuthError> {
        self.signing_keys
            .get_or_try_init(|| bootstrap::signing_keys(&self.context))
            .await
            .map_err(AuthError::SigningKeys)
    }
}

/// The members of OpenID Connect Discovery that verifiers need. We do not offer sign-in to other systems.
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
