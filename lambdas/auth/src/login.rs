//! `login`: a session for an address and its password. Who does not know the password learns nothing, not even
//! whether there is an account.

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
    sessions::Sessions,
    token_response::TokenResponse,
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

/// Makes the function; see [`crate`] for its variables.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let store = bootstrap::sessions_table(&init).await?;
    let login = Arc::new(LoginHandler {
        users: bootstrap::users(&init).await?,
        throttle: bootstrap::login_throttle(&init, store.clone())?,
        sessions: bootstrap::sessions(&init, store).await?,
        token_issuer: bootstrap::issuer(&init).await?,
    });
    Ok(api_gateway::handler(init.clock, move |request| {
        let login = Arc::clone(&login);
        async move { login.handle(&request).await }
    }))
}

impl LoginHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let email = validation::validate_email(&body.email)?;
        let permit = match self.throttle.check(email.as_str(), &request.client_ip).await? {
            ThrottleDecision::Allowed(permit) => permit,
            ThrottleDecision::Blocked(wait) => {
                let details = json!({"reason": "too_many_tries"});
                audit::record(&self.users, request, "login_refused", None, None, details).await;
                return Err(AuthError::TooManyAttempts(wait));
            }
        };
        let found = self.users.find_by_email(&email).await?;
        let kept = found.as_ref().and_then(|found| found.password_hash.as_deref());
        let right = password::verify(&body.password, kept)?;
        let subject = found.as_ref().map(|found| found.user.id);
        let Some(found) = found.filter(|_| right) else {
            let details = json!({"reason": "wrong_credentials"});
            audit::record(&self.users, request, "login_refused", None, subject, details).await;
            return Err(AuthError::InvalidCredentials);
        };

        self.throttle.record_success(permit).await?;
        let refresh_token = self.sessions.create(found.user.id).await?;
        let access_token = self.token_issuer.issue(&found.user).await?;
        audit::record(&self.users, request, "login", subject, subject, json!({})).await;
        let tokens = TokenResponse::new(access_token, refresh_token);
        Ok(Response::json(StatusCode::OK, &tokens))
    }
}
