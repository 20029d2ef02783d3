//! `oauth-start`: sends a person to a provider, from where they come back to `oauth-callback`.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use chrono::TimeDelta;
use domain::Clock;
use lambda_shared::{Handler, Init, InitError};
use users::Provider;
use web::Problem;

use crate::{
    AuthError,
    http::{self, Reply, Request},
    oauth::{self, Beginning, COOKIE, Providers},
    start,
    store::Store,
};

/// So long a person may take at the provider.
const LIFETIME: TimeDelta = TimeDelta::minutes(10);

struct OauthStart {
    providers: Providers,
    store: Store,
    clock: Clock,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let oauth = Arc::new(OauthStart {
        providers: Providers::of(&init).await?,
        store: start::store(&init).await?,
        clock: init.clock.clone(),
    });
    Ok(http::handler(init.clock, move |request| {
        let oauth = Arc::clone(&oauth);
        async move { oauth.answer(&request).await }
    }))
}

impl OauthStart {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let provider = request.parameter("provider").and_then(Provider::named);
        let provider = provider.ok_or_else(Problem::not_found)?;
        let redirect_to = request.query("redirect_to");
        if redirect_to.is_some_and(|url| !self.providers.may_redirect_to(url)) {
            return Err(elsewhere().into());
        }
        let beginning = Beginning::new(provider, redirect_to.map(str::to_owned));
        let door = self.providers.door(provider, &beginning).await?;
        let door = door.ok_or_else(Problem::not_found)?;
        let ends = self.clock.now() + LIFETIME;
        self.store
            .keep(&oauth::id(&beginning.state), &beginning.begun, ends)
            .await?;
        let door = HeaderValue::from_str(door.as_str()).map_err(|_| Problem::not_found())?;
        Ok(Reply::empty(StatusCode::SEE_OTHER)
            .header(header::LOCATION, door)
            .cookie(format!(
                "{COOKIE}={}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax",
                beginning.cookie,
                LIFETIME.num_seconds()
            )))
    }
}

fn elsewhere() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-redirect",
        "You cannot be sent there",
    )
    .detail("Leave `redirect_to` out, or give one of the shop's own pages.")
}
