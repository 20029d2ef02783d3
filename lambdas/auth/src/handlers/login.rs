//! `login`: starts a session with an e-mail address and a password.
//!
//! A wrong password and an unknown address get the same response.

use std::sync::Arc;

use axum::{Router, extract::State, routing::post};
use http_server::Json;
use lambda_shared::{FunctionContext, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;

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

struct LoginState {
    users: Users,
    throttle: LoginThrottle,
    sessions: Sessions,
    token_issuer: UserTokenIssuer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    email: String,
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
    Ok(Router::new()
        .route("/v1/auth/login", post(login))
        .with_state(state))
}

async fn login(
    State(state): State<Arc<LoginState>>,
    context: RequestContext,
    Json(body): Json<RequestBody>,
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
