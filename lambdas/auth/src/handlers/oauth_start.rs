//! `oauth-start`: redirects the browser to an identity provider, which redirects it back to `oauth-callback`.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::Redirect};
use axum_extra::extract::CookieJar;
use chrono::TimeDelta;
use domain::Clock;
use http_server::{Path, Problem, Query};
use lambda_shared::{FunctionContext, InitError};
use serde::Deserialize;
use users::Provider;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AuthError, bootstrap,
    oauth::{NewSignIn, Providers, pending_sign_in_key, sign_in_cookie},
    sessions_table::SessionsTable,
};

/// The user must finish the sign-in at the provider within this time.
const SIGN_IN_TIMEOUT: TimeDelta = TimeDelta::minutes(10);

pub(crate) struct OauthStartState {
    providers: Providers,
    sessions_table: SessionsTable,
    clock: Clock,
}

#[derive(Deserialize)]
pub(crate) struct StartQuery {
    redirect_to: Option<String>,
}

/// Creates the route. The crate documentation lists its environment variables.
pub async fn routes(context: &FunctionContext) -> Result<Router, InitError> {
    let state = Arc::new(OauthStartState {
        providers: Providers::from_env(context)?,
        sessions_table: bootstrap::sessions_table(context).await?,
        clock: context.clock.clone(),
    });
    Ok(OpenApiRouter::new()
        .routes(routes!(oauth_start))
        .with_state(state)
        .into())
}

/// Redirects the browser to an identity provider.
#[utoipa::path(
    get, path = "/v1/auth/oauth/{provider}", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    params(("provider" = String, Path, description = "`google` or `github`"),
           ("redirect_to" = Option<String>, Query,
            description = "An allowed page, which gets the refresh token in its fragment")),
    responses(
        (status = 303, description = "The page of the provider",
         headers(("Location" = String), ("Set-Cookie" = String, description = "Binds the sign-in to the browser"))),
        (status = 400, description = "`invalid-redirect`: the URL is not allowed",
         body = openapi::Problem, content_type = "application/problem+json"),
        (status = 502, description = "`provider-failed`: the provider is unreachable",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn oauth_start(
    State(state): State<Arc<OauthStartState>>,
    Path(provider): Path<String>,
    Query(StartQuery { redirect_to }): Query<StartQuery>,
) -> Result<(CookieJar, Redirect), AuthError> {
    let provider: Provider = provider.parse().map_err(|_| Problem::not_found())?;
    if redirect_to
        .as_deref()
        .is_some_and(|url| !state.providers.is_allowed_redirect(url))
    {
        return Err(redirect_not_allowed().into());
    }
    let sign_in = NewSignIn::new(provider, redirect_to);
    let url = state
        .providers
        .authorization_url(provider, &sign_in)
        .await?
        .ok_or_else(Problem::not_found)?;
    let expires_at = state.clock.now() + SIGN_IN_TIMEOUT;
    state
        .sessions_table
        .insert(&pending_sign_in_key(&sign_in.state), &sign_in.pending, expires_at)
        .await?;
    let cookie = sign_in_cookie(sign_in.cookie, SIGN_IN_TIMEOUT);
    Ok((CookieJar::new().add(cookie), Redirect::to(url.as_str())))
}

fn redirect_not_allowed() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-redirect",
        "Redirect URL not allowed",
    )
    .detail("Omit `redirect_to`, or use an allowed redirect URL.")
}
