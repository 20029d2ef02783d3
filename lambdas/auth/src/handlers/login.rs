//! `login`: starts a session with an e-mail address and a password.
//!
//! A wrong password and an unknown address get the same response.

use std::sync::Arc;

use axum::http::StatusCode;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;

use crate::{
    AuthError,
    access_token::UserTokenIssuer,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    login_throttle::{LoginThrottle, ThrottleDecision},
    password,
    sessions::{Sessions, TokenResponse},
    validation,
};

struct LoginHandler {
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

/// Creates the function. The crate documentation lists its environment variables.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let sessions_table = bootstrap::sessions_table(&context).await?;
    let handler = Arc::new(LoginHandler {
        users: bootstrap::users(&context).await?,
        throttle: bootstrap::login_throttle(&context, sessions_table.clone())?,
        sessions: Sessions::new(sessions_table, context.clock.clone()),
        token_issuer: bootstrap::user_token_issuer(&context).await?,
    });
    let cloudfront = bootstrap::cloudfront(&context).await?;
    Ok(api_gateway::handler(context.clock, cloudfront, move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(&request).await }
    }))
}

impl LoginHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let email = validation::validate_email(&body.email)?;
        let permit = match self.throttle.check(email.as_str(), &request.client_ip).await? {
            ThrottleDecision::Allowed(permit) => permit,
            ThrottleDecision::Blocked(wait) => {
                let details = json!({"reason": "too_many_attempts"});
                audit::record(&self.users, request, "login_refused", None, None, details).await;
                return Err(AuthError::TooManyAttempts(wait));
            }
        };
        let credentials = self.users.find_by_email(&email).await?;
        let stored_hash = credentials
            .as_ref()
            .and_then(|credentials| credentials.password_hash.as_deref());
        let is_correct = password::verify(&body.password, stored_hash)?;
        let user_id = credentials.as_ref().map(|credentials| credentials.user.id);
        let Some(credentials) = credentials.filter(|_| is_correct) else {
            let details = json!({"reason": "wrong_credentials"});
            audit::record(&self.users, request, "login_refused", None, user_id, details).await;
            return Err(AuthError::InvalidCredentials);
        };

        self.throttle.record_success(permit).await?;
        let refresh_token = self.sessions.create(credentials.user.id).await?;
        let access_token = self.token_issuer.issue(&credentials.user).await?;
        audit::record(&self.users, request, "login", user_id, user_id, json!({})).await;
        let tokens = TokenResponse::new(access_token, refresh_token);
        Ok(Response::json(StatusCode::OK, &tokens))
    }
}
