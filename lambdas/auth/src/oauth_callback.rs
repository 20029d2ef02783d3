//! `oauth-callback`: a session for a person who comes back from a provider.
//!
//! A provider's account opens the account here that it was linked to. It is linked to one that is here already only
//! when both the provider and we have found the address to be the person's; otherwise whoever registers with
//! another's address, there or here, would come to share that other's account.

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
    oauth::{self, PendingSignIn, ProviderProfile, Providers, SIGN_IN_COOKIE},
    sessions::Sessions,
    sessions_table::SessionsTable,
    token_response::TokenResponse,
};

struct OauthCallbackHandler {
    providers: Providers,
    sessions_table: SessionsTable,
    users: Users,
    sessions: Sessions,
    token_issuer: UserTokenIssuer,
    clock: Clock,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let store = bootstrap::sessions_table(&init).await?;
    let oauth = Arc::new(OauthCallbackHandler {
        providers: Providers::from_env(&init).await?,
        users: bootstrap::users(&init).await?,
        sessions: bootstrap::sessions(&init, store.clone()).await?,
        token_issuer: bootstrap::issuer(&init).await?,
        sessions_table: store,
        clock: init.clock.clone(),
    });
    Ok(api_gateway::handler(init.clock, move |request| {
        let oauth = Arc::clone(&oauth);
        async move { oauth.handle(&request).await }
    }))
}

impl OauthCallbackHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let provider = request.path_parameter("provider").and_then(Provider::from_name);
        let provider = provider.filter(|provider| self.providers.is_configured(*provider));
        let provider = provider.ok_or_else(Problem::not_found)?;
        let begun = self.consume_pending_sign_in(provider, request).await?;
        let code = request
            .query_parameter("code")
            .ok_or(AuthError::DeniedByProvider)?;
        let profile = self.providers.fetch_profile(provider, code, &begun).await?;
        let profile = profile.ok_or_else(Problem::not_found)?;
        let user = match self.find_or_register(provider, profile, request).await {
            Ok(user) => user,
            Err(error) => {
                let details = json!({"provider": provider.as_str(), "reason": error.to_string()});
                audit::record(&self.users, request, "login_refused", None, None, details).await;
                return Err(error);
            }
        };

        let refresh_token = self.sessions.create(user.id).await?;
        let details = json!({"provider": provider.as_str()});
        audit::record(
            &self.users,
            request,
            "login",
            Some(user.id),
            Some(user.id),
            details,
        )
        .await;
        let forget = format!("{SIGN_IN_COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
        let reply = match begun.redirect_to {
            // What stands after # is not sent to any server. The page asks for the next token with it at once, and
            // then it is good for nothing.
            Some(page) => {
                let page = format!("{page}#refresh_token={}", refresh_token.into_string());
                let page = HeaderValue::from_str(&page).map_err(|_| Problem::not_found())?;
                Response::empty(StatusCode::SEE_OTHER).header(header::LOCATION, page)
            }
            None => {
                let tokens = TokenResponse::new(self.token_issuer.issue(&user).await?, refresh_token);
                Response::json(StatusCode::OK, &tokens)
            }
        };
        Ok(reply.cookie(forget))
    }

    /// The sign-in that began in this browser. It is used up, and only by this browser.
    async fn consume_pending_sign_in(
        &self,
        provider: Provider,
        request: &Request,
    ) -> Result<PendingSignIn, AuthError> {
        let id = oauth::pending_sign_in_key(
            request
                .query_parameter("state")
                .ok_or(AuthError::SignInNotStarted)?,
        );
        let now = self.clock.now();
        let begun: Option<PendingSignIn> = self.sessions_table.find(&id, now).await?;
        if !begun.is_some_and(|begun| begun.matches(request.cookie(SIGN_IN_COOKIE), provider)) {
            return Err(AuthError::SignInNotStarted);
        }
        self.sessions_table
            .remove(&id, now)
            .await?
            .ok_or(AuthError::SignInNotStarted)
    }

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
        let new = NewUser {
            name: display_name(profile.name.as_deref(), &email),
            email,
            credential: Credential::Identity(identity.clone()),
        };
        match self.users.register(&new, request.traceparent).await? {
            Registration::Created(user) => {
                let (who, details) = (Some(user.id), json!({"provider": provider.as_str()}));
                audit::record(&self.users, request, "registered", who, who, details).await;
                Ok(user)
            }
            Registration::AlreadyRegistered(user) => self.link_identity(user, &identity, request).await,
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
        let (who, details) = (Some(user.id), json!({"provider": identity.provider.as_str()}));
        audit::record(&self.users, request, "identity_linked", who, who, details).await;
        Ok(user)
    }
}

/// How they call themselves at the provider, if that is a name here too.
fn display_name(name: Option<&str>, email: &EmailAddress) -> DisplayName {
    let local = email.as_str().split('@').next().unwrap_or_default();
    [name.unwrap_or_default(), local, "Matsuri"]
        .into_iter()
        .find_map(|name| DisplayName::parse(name).ok())
        .expect("the last of them is a name")
}
