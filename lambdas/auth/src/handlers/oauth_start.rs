//! `oauth-start`: redirects the browser to an identity provider, which redirects it back to `oauth-callback`.

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
    oauth::{NewSignIn, Providers, SIGN_IN_COOKIE, pending_sign_in_key},
    sessions_table::SessionsTable,
};

/// The user must finish the sign-in at the provider within this time.
const SIGN_IN_TIMEOUT: TimeDelta = TimeDelta::minutes(10);

struct OauthStartHandler {
    providers: Providers,
    sessions_table: SessionsTable,
    clock: Clock,
}

/// Creates the function. The crate documentation lists its environment variables.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let handler = Arc::new(OauthStartHandler {
        providers: Providers::from_env(&context)?,
        sessions_table: bootstrap::sessions_table(&context).await?,
        clock: context.clock.clone(),
    });
    let cloudfront = bootstrap::cloudfront(&context).await?;
    Ok(api_gateway::handler(context.clock, cloudfront, move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(&request).await }
    }))
}

impl OauthStartHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let provider: Provider = request
            .path_parameter("provider")
            .and_then(|name| name.parse().ok())
            .ok_or_else(Problem::not_found)?;
        let redirect_to = request.query_parameter("redirect_to");
        if redirect_to.is_some_and(|url| !self.providers.is_allowed_redirect(url)) {
            return Err(redirect_not_allowed().into());
        }
        let sign_in = NewSignIn::new(provider, redirect_to.map(str::to_owned));
        let url = self
            .providers
            .authorization_url(provider, &sign_in)
            .await?
            .ok_or_else(Problem::not_found)?;
        let expires_at = self.clock.now() + SIGN_IN_TIMEOUT;
        self.sessions_table
            .insert(&pending_sign_in_key(&sign_in.state), &sign_in.pending, expires_at)
            .await?;
        let location = HeaderValue::from_str(url.as_str()).expect("a parsed URL is printable ASCII");
        Ok(Response::empty(StatusCode::SEE_OTHER)
            .header(header::LOCATION, location)
            .cookie(format!(
                "{SIGN_IN_COOKIE}={}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax",
                sign_in.cookie,
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
