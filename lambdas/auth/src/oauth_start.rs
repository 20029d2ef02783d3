//! `oauth-start`: sends a person to a provider, from where they come back to `oauth-callback`.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use chrono::TimeDelta;
use domain::Clock;
use http_server::Problem;
use lambda_shared::{FunctionContext, Handler, InitError};
use users::Provider;

use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    bootstrap,
    oauth::{self, NewSignIn, Providers, SIGN_IN_COOKIE},
    sessions_table::SessionsTable,
};

/// So long a person may take at the provider.
const SIGN_IN_TIMEOUT: TimeDelta = TimeDelta::minutes(10);

struct OauthStartHandler {
    providers: Providers,
    sessions_table: SessionsTable,
    clock: Clock,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let oauth = Arc::new(OauthStartHandler {
        providers: Providers::from_env(&init).await?,
        sessions_table: bootstrap::sessions_table(&init).await?,
        clock: init.clock.clone(),
    });
    Ok(api_gateway::handler(init.clock, move |request| {
        let oauth = Arc::clone(&oauth);
        async move { oauth.handle(&request).await }
    }))
}

impl OauthStartHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let provider = request.path_parameter("provider").and_then(Provider::from_name);
        let provider = provider.ok_or_else(Problem::not_found)?;
        let redirect_to = request.query_parameter("redirect_to");
        if redirect_to.is_some_and(|url| !self.providers.is_allowed_redirect(url)) {
            return Err(redirect_not_allowed().into());
        }
        let beginning = NewSignIn::new(provider, redirect_to.map(str::to_owned));
        let door = self.providers.authorization_url(provider, &beginning).await?;
        let door = door.ok_or_else(Problem::not_found)?;
        let ends = self.clock.now() + SIGN_IN_TIMEOUT;
        self.sessions_table
            .insert(
                &oauth::pending_sign_in_key(&beginning.state),
                &beginning.pending,
                ends,
            )
            .await?;
        let door = HeaderValue::from_str(door.as_str()).map_err(|_| Problem::not_found())?;
        Ok(Response::empty(StatusCode::SEE_OTHER)
            .header(header::LOCATION, door)
            .cookie(format!(
                "{SIGN_IN_COOKIE}={}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax",
                beginning.cookie,
                SIGN_IN_TIMEOUT.num_seconds()
            )))
    }
}

fn redirect_not_allowed() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-redirect",
        "Redirect URL not allowed",
    )
    .detail("Omit `redirect_to`, or use an allowed redirect URL.")
}
