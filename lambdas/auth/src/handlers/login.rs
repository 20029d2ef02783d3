//! `login`: starts a session with an e-mail address and a password.
//!
//! A wrong password and an unknown address get the same response.

use std::sync::Arc;

use axum::{Router, extract::State};
use http_server::Json;
use lambda_shared::{FunctionContext, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AuthError,
    access_token::UserTokenIssuer,
    audit, bootstrap,
    http::RequestContext,
    login_throttle::{LoginThrottle, ThrottleDecision},
    password,
    sessions::{Sessions, TokenResponse},
    validation,
};

pub(crate) struct LoginState {
    users: Users,
    throttle: LoginThrottle,
    sessions: Sessions,
    token_issuer: UserTokenIssuer,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    #[schema(format = Email)]
    email: String,
    #[schema(format = Password)]
    password: String,
}

/// Creates the route. The crate documentation lists its environment variables.
pub async fn routes(context: &FunctionContext) -> Result<Router, InitError> {
    let sessions_table = bootstrap::sessions_table(context).await?;
    let state = Arc::new(LoginState {
        users: bootstrap::users(context).await?,
        throttle: bootstrap::login_throttle(context, sessions_table.clone())?,
        sessions: Sessions::new(sessions_table, context.clock.clone()),
        token_issuer: bootstrap::user_token_issuer(context).await?,
    });
    Ok(OpenApiRouter::new()
        .routes(routes!(login))
        .with_state(state)
        .into())
}

/// Starts a session with an e-mail address and a password.
#[utoipa::path(
    post, path = "/v1/auth/login", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    request_body = LoginRequest,
    responses(
        (status = 200, description = "The tokens of the session", body = TokenResponse),
        (status = 401, description = "`invalid-credentials`: the e-mail address or the password is wrong",
         body = openapi::Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too-many-attempts`: too many failed sign-ins, of the account or \
                                      from the address",
         body = openapi::Problem, content_type = "application/problem+json",
         headers(("Retry-After" = u32, description = "Seconds to wait"))),
    ),
)]
pub(crate) async fn login(
    State(state): State<Arc<LoginState>>,
    context: RequestContext,
    Json(body): Json<LoginRequest>,
) -> Result<Json<TokenResponse>, AuthError> {
    let email = validation::validate_email(&body.email)?;
    let permit = match state.throttle.check(email.as_str(), &context.client_ip).await? {
        ThrottleDecision::Allowed(permit) => permit,
        ThrottleDecision::Blocked(wait) => {
            let details = json!({"reason": "too_many_attempts"});
            audit::record(&state.users, &context, "login_refused", None, None, details).await;
            return Err(AuthError::TooManyAttempts(wait));
        }
    };
    let credentials = state.users.find_by_email(&email).await?;
    let stored_hash = credentials
        .as_ref()
        .and_then(|credentials| credentials.password_hash.as_deref());
    let is_correct = password::verify(&body.password, stored_hash)?;
    let user_id = credentials.as_ref().map(|credentials| credentials.user.id);
    let Some(credentials) = credentials.filter(|_| is_correct) else {
        let details = json!({"reason": "wrong_credentials"});
        audit::record(&state.users, &context, "login_refused", None, user_id, details).await;
        return Err(AuthError::InvalidCredentials);
    };

    state.throttle.record_success(permit).await?;
    let refresh_token = state.sessions.create(credentials.user.id).await?;
    let access_token = state.token_issuer.issue(&credentials.user).await?;
    audit::record(&state.users, &context, "login", user_id, user_id, json!({})).await;
    let tokens = TokenResponse::new(access_token, refresh_token);
    Ok(Json(tokens))
}
