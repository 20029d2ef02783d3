//! `oauth-callback`: starts a session for a user who returns from an identity provider.
//!
//! An identity signs in to the account that it is linked to. A new identity is linked to an existing account
//! only when both the provider and we have verified the e-mail address. Otherwise an attacker could register
//! the address of another person, here or at the provider, and would share that person's account later.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::{CookieJar, cookie::Cookie};
use chrono::TimeDelta;
use domain::Clock;
use http_server::{Json, Path, Problem, Query};
use lambda_shared::{FunctionContext, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{Credential, DisplayName, EmailAddress, Identity, NewUser, Provider, Registration, User, Users};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AuthError,
    access_token::UserTokenIssuer,
    audit, bootstrap,
    http::RequestContext,
    oauth::{
        ClientSecrets, PendingSignIn, ProviderProfile, Providers, SIGN_IN_COOKIE, pending_sign_in_key,
        sign_in_cookie,
    },
    sessions::{Sessions, TokenResponse},
    sessions_table::SessionsTable,
};

/// The name of a user whose provider and e-mail address give no valid one.
const DEFAULT_NAME: &str = "Matsuri";

pub(crate) struct OauthCallbackState {
    providers: Providers,
    client_secrets: ClientSecrets,
    sessions_table: SessionsTable,
    users: Users,
    sessions: Sessions,
    token_issuer: UserTokenIssuer,
    clock: Clock,
}

#[derive(Deserialize)]
pub(crate) struct CallbackQuery {
    state: Option<String>,
    /// Absent if the user has cancelled at the provider, or the provider has refused.
    code: Option<String>,
}

/// Creates the route. The crate documentation lists its environment variables.
pub async fn routes(context: &FunctionContext) -> Result<Router, InitError> {
    let sessions_table = bootstrap::sessions_table(context).await?;
    let providers = Providers::from_env(context)?;
    let state = Arc::new(OauthCallbackState {
        client_secrets: ClientSecrets::load(context, &providers).await?,
        providers,
        users: bootstrap::users(context).await?,
        sessions: Sessions::new(sessions_table.clone(), context.clock.clone()),
        token_issuer: bootstrap::user_token_issuer(context).await?,
        sessions_table,
        clock: context.clock.clone(),
    });
    Ok(OpenApiRouter::new()
        .routes(routes!(oauth_callback))
        .with_state(state)
        .into())
}

/// Starts a session for a user who returns from an identity provider.
#[utoipa::path(
    get, path = "/v1/auth/oauth/{provider}/callback", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    params(("provider" = String, Path, description = "`google` or `github`"),
           ("state" = Option<String>, Query), ("code" = Option<String>, Query)),
    responses(
        (status = 200, description = "The tokens of the session", body = TokenResponse),
        (status = 303, description = "The page that the sign-in was started with",
         headers(("Location" = String, description = "With `#refresh_token=`"))),
        (status = 400, description = "`sign-in-not-started`: the sign-in was not started in this browser, or too long ago",
         body = openapi::Problem, content_type = "application/problem+json"),
        (status = 403, description = "`sign-in-denied`: the user or the provider has cancelled the sign-in",
         body = openapi::Problem, content_type = "application/problem+json"),
        (status = 409, description = "`account-exists` or `email-not-verified`: the identity cannot be linked to an account",
         body = openapi::Problem, content_type = "application/problem+json"),
        (status = 502, description = "`provider-failed`: the provider is unreachable",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn oauth_callback(
    State(state): State<Arc<OauthCallbackState>>,
    context: RequestContext,
    Path(provider): Path<String>,
    Query(query): Query<CallbackQuery>,
    cookies: CookieJar,
) -> Result<Response, AuthError> {
    let provider = provider.parse().ok();
    let provider: Provider = provider
        .filter(|provider| state.providers.is_configured(*provider))
        .ok_or_else(Problem::not_found)?;
    let sign_in_state = query.state.ok_or(AuthError::SignInNotStarted)?;
    let cookie = cookies.get(SIGN_IN_COOKIE).map(Cookie::value);
    let pending = state
        .consume_pending_sign_in(provider, &sign_in_state, cookie)
        .await?;
    let code = query.code.ok_or(AuthError::DeniedByProvider)?;
    let profile = state
        .providers
        .fetch_profile(provider, code, &pending, &state.client_secrets)
        .await?
        .ok_or_else(Problem::not_found)?;
    let user = match state.find_or_register(provider, profile, &context).await {
        Ok(user) => user,
        Err(error) => {
            let details = json!({"provider": provider.as_str(), "reason": error.to_string()});
            audit::record(&state.users, &context, "login_refused", None, None, details).await;
            return Err(error);
        }
    };

    let refresh_token = state.sessions.create(user.id).await?;
    let (user_id, details) = (Some(user.id), json!({"provider": provider.as_str()}));
    audit::record(&state.users, &context, "login", user_id, user_id, details).await;
    let remove_cookie = CookieJar::new().add(sign_in_cookie(String::new(), TimeDelta::zero()));
    Ok(match pending.redirect_to {
        // Browsers do not send the fragment to servers. The page refreshes at once, which invalidates this
        // token.
        Some(page) => {
            let location = format!("{page}#refresh_token={}", refresh_token.into_string());
            (remove_cookie, Redirect::to(&location)).into_response()
        }
        None => {
            let tokens = TokenResponse::new(state.token_issuer.issue(&user).await?, refresh_token);
            (remove_cookie, Json(tokens)).into_response()
        }
    })
}

impl OauthCallbackState {
    /// Uses up the pending sign-in. A request from another browser fails and does not use it up.
    async fn consume_pending_sign_in(
        &self,
        provider: Provider,
        state: &str,
        cookie: Option<&str>,
    ) -> Result<PendingSignIn, AuthError> {
        let key = pending_sign_in_key(state);
        let now = self.clock.now();
        let pending: Option<PendingSignIn> = self.sessions_table.find(&key, now).await?;
        if !pending.is_some_and(|pending| pending.matches(cookie, provider)) {
            return Err(AuthError::SignInNotStarted);
        }
        self.sessions_table
            .remove(&key, now)
            .await?
            .ok_or(AuthError::SignInNotStarted)
    }

    /// Finds the user of the identity, or registers a user, or links the identity to an existing account.
    async fn find_or_register(
        &self,
        provider: Provider,
        profile: ProviderProfile,
        context: &RequestContext,
    ) -> Result<User, AuthError> {
        let identity = Identity {
            provider,
            subject: profile.subject,
        };
        if let Some(user) = self.users.find_by_identity(&identity).await? {
            return Ok(user);
        }
        let email = profile.verified_email.as_deref().map(EmailAddress::parse);
        let Some(Ok(email)) = email else {
            return Err(AuthError::EmailNotVerifiedByProvider);
        };
        let new_user = NewUser {
            name: display_name(profile.name.as_deref(), &email),
            email,
            credential: Credential::Identity(identity.clone()),
        };
        match self.users.register(&new_user, context.traceparent).await? {
            Registration::Created(user) => {
                let (user_id, details) = (Some(user.id), json!({"provider": provider.as_str()}));
                audit::record(&self.users, context, "registered", user_id, user_id, details).await;
                Ok(user)
            }
            Registration::AlreadyRegistered(user) => self.link_identity(user, &identity, context).await,
            Registration::Conflict => Err(AuthError::AccountExists),
        }
    }

    async fn link_identity(
        &self,
        user: User,
        identity: &Identity,
        context: &RequestContext,
    ) -> Result<User, AuthError> {
        if user.email_verified_at.is_none() || !self.users.link_identity(user.id, identity).await? {
            return Err(AuthError::AccountExists);
        }
        let (user_id, details) = (Some(user.id), json!({"provider": identity.provider.as_str()}));
        audit::record(&self.users, context, "identity_linked", user_id, user_id, details).await;
        Ok(user)
    }
}

/// The name at the provider if it is a valid display name, or else the local part of the e-mail address.
fn display_name(provider_name: Option<&str>, email: &EmailAddress) -> DisplayName {
    let (local_part, _) = email
        .as_str()
        .split_once('@')
        .expect("an e-mail address contains @");
    [provider_name, Some(local_part), Some(DEFAULT_NAME)]
        .into_iter()
        .flatten()
        .find_map(|name| DisplayName::parse(name).ok())
        .expect("the default name is valid")
}
