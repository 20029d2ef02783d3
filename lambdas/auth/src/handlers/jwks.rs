//! `jwks`: the documents for verifiers of our access tokens, `/.well-known/jwks.json` and
//! `/.well-known/openid-configuration`.

use std::{error::Error, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, header},
};
use http_server::Json;
use jsonwebtoken::jwk::JwkSet;
use lambda_shared::{FunctionContext, Handler, InitError};
use secrets::Secret;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{AuthError, bootstrap, http, signing_keys::SigningKeys};

/// A new key is published at least an hour before it signs, so verifiers may cache the JWKS for five minutes.
const CACHE_CONTROL: [(HeaderName, HeaderValue); 1] = [(
    header::CACHE_CONTROL,
    HeaderValue::from_static("public, max-age=300"),
)];

pub(crate) struct JwksState {
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
    let state = Arc::new(JwksState {
        signing_keys: OnceCell::new(),
        openid_configuration: openid_configuration(&issuer, &jwks_uri),
        context,
    });
    if let Err(error) = state.signing_keys().await {
        let error: &(dyn Error + 'static) = &error;
        tracing::warn!(error, "there are no signing keys to publish yet");
    }
    let context = state.context.clone();
    let routes = OpenApiRouter::new()
        .routes(routes!(jwks))
        .routes(routes!(openid_configuration_document))
        .with_state(state);
    // The documents are public and not limited per client, and API Gateway reads them directly.
    Ok(http::function_past_cloudfront(context, routes.into()))
}

/// The keys that verify access tokens (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    responses(
        (status = 200, description = "The key set", body = Object,
         headers(("Cache-Control" = String))),
    ),
)]
pub(crate) async fn jwks(
    State(state): State<Arc<JwksState>>,
) -> Result<([(HeaderName, HeaderValue); 1], Json<JwkSet>), AuthError> {
    let signing_keys = state.signing_keys().await?.current().await;
    Ok((CACHE_CONTROL, Json(signing_keys.jwk_set())))
}

/// The issuer of access tokens (OpenID Connect Discovery).
#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    responses(
        (status = 200, description = "The metadata of the issuer", body = Object,
         headers(("Cache-Control" = String))),
    ),
)]
pub(crate) async fn openid_configuration_document(
    State(state): State<Arc<JwksState>>,
) -> ([(HeaderName, HeaderValue); 1], Json<Value>) {
    (CACHE_CONTROL, Json(state.openid_configuration.clone()))
}

impl JwksState {
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
