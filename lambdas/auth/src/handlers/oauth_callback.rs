//! `oauth-callback`: starts a session for a user who returns from an identity provider.
//!
//! An identity signs in to the account that it is linked to. A new identity is linked to an existing account
//! only when both the provider and we have verified the e-mail address. Otherwise an attacker could register
//! the address of another person, here or at the provider, and would share that person's account later.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use domain::Clock;
use http_server::Problem;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde_json::json;
use users::{Credential, DisplayName, EmailAddress, Identity, NewUser, Provider, Registration, User, Users};

use crate::{
    AuthError,
    access_token::UserTokenIssuer,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    oauth::{ClientSecrets, PendingSignIn, ProviderProfile, Providers, SIGN_IN_COOKIE, pending_sign_in_key},
    sessions::{Sessions, TokenResponse},
    sessions_table::SessionsTable,
};

/// The name of a user whose provider and e-mail address give no valid one.
const DEFAULT_NAME: &str = "Matsuri";

struct OauthCallbackHandler {
    providers: Providers,
    client_secrets: ClientSecrets,
    sessions_table: SessionsTable,
    users: Users,
    sessions: Sessions,
    token_issuer: UserTokenIssuer,
    clock: Clock,
}

/// Creates the function. The crate documentation lists its environment variables.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let sessions_table = bootstrap::sessions_table(&context).await?;
    let providers = Providers::from_env(&context)?;
    let handler = Arc::new(OauthCallbackHandler {
        client_secrets: ClientSecrets::load(&context, &providers).await?,
        providers,
        users: bootstrap::users(&context).await?,
        sessions: Sessions::new(sessions_table.clone(), context.clock.clone()),
        token_issuer: bootstrap::user_token_issuer(&context).await?,
        sessions_table,
        clock: context.clock.clone(),
    });
    let cloudfront = bootstrap::cloudfront(&context).await?;
    Ok(api_gateway::handler(context.clock, cloudfront, move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(&request).await }
    }))
}

impl OauthCallbackHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let provider: Provider = request
            .path_parameter("provider")
            .and_then(|name| name.parse().ok())
            .filter(|provider| self.providers.is_configured(*provider))
            .ok_or_else(Problem::not_found)?;
        let pending = self.consume_pending_sign_in(provider, request).await?;
        let code = request
            .query_parameter("code")
            .ok_or(AuthError::DeniedByProvider)?;
        let profile = self
            .providers
            .fetch_profile(provider, code, &pending, &self.client_secrets)
            .await?
            .ok_or_else(Problem::not_found)?;
        let user = match self.find_or_register(provider, profile, request).await {
            Ok(user) => user,
            Err(error) => {
                let details = json!({"provider": provider.as_str(), "reason": error.to_string()});
                audit::record(&self.users, request, "login_refused", None, None, details).await;
                return Err(error);
            }
        };

        let refresh_token = self.sessions.create(user.id).await?;
        let (user_id, details) = (Some(user.id), json!({"provider": provider.as_str()}));
        audit::record(&self.users, request, "login", user_id, user_id, details).await;
        let response = match pending.redirect_to {
            // Browsers do not send the fragment to servers. The page refreshes at once, which invalidates
            // this token.
            Some(page) => {
                let location = format!("{page}#refresh_token={}", refresh_token.into_string());
                let location = HeaderValue::from_str(&location).map_err(|_| Problem::not_found())?;
                Response::empty(StatusCode::SEE_OTHER).header(header::LOCATION, location)
            }
            None => {
                let tokens = TokenResponse::new(self.token_issuer.issue(&user).await?, refresh_token);
                Response::json(StatusCode::OK, &tokens)
            }
        };
        let delete_cookie = format!("{SIGN_IN_COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
        Ok(response.cookie(delete_cookie))
    }

    /// Uses up the pending sign-in. A request from another browser fails and does not use it up.
    async fn consume_pending_sign_in(
        &self,
        provider: Provider,
        request: &Request,
    ) -> Result<PendingSignIn, AuthError> {
        let state = request
            .query_parameter("state")
            .ok_or(AuthError::SignInNotStarted)?;
        let key = pending_sign_in_key(state);
        let now = self.clock.now();
        let pending: Option<PendingSignIn> = self.sessions_table.find(&key, now).await?;
        if !pending.is_some_and(|pending| pending.matches(request.cookie(SIGN_IN_COOKIE), provider)) {
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
        request: &Request,
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
        match self.users.register(&new_user, request.traceparent).await? {
            Registration::Created(user) => {
                let (user_id, details) = (Some(user.id), json!({"provider": provider.as_str()}));
                audit::record(&self.users, request, "registered", user_id, user_id, details).await;
                Ok(user)
            }
            Registration::AlreadyRegistered(user) => self.link_identity(user, &identity, request).await,
            Registration::Conflict => Err(AuthError::AccountExists),
        }
    }

    async fn link_identity(
        &self,
        user: User,
        identity: &Identity,
        request: &Request,
    ) -> Result<User, AuthError> {
        if user.email_verified_at.is_none() || !self.users.link_identity(user.id, identity).await? {
            return Err(AuthError::AccountExists);
        }
        let (user_id, details) = (Some(user.id), json!({"provider": identity.provider.as_str()}));
        audit::record(&self.users, request, "identity_linked", user_id, user_id, details).await;
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
