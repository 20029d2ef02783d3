//! `oauth-callback`: a session for a person who comes back from a provider.
//!
//! A provider's account opens the account here that it was linked to. It is linked to one that is here already only
//! when both the provider and we have found the address to be the person's; otherwise whoever registers with
//! another's address, there or here, would come to share that other's account.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use domain::Clock;
use lambda_shared::{Handler, Init, InitError};
use serde_json::json;
use users::{EmailAddress, Identity, Key, NewUser, PersonName, Provider, Registered, User, Users};
use web::Problem;

use crate::{
    AuthError,
    access::Issuer,
    http::{self, Reply, Request},
    journal,
    oauth::{self, Begun, COOKIE, Profile, Providers},
    sessions::Sessions,
    start,
    store::Store,
    tokens::Tokens,
};

struct OauthCallback {
    providers: Providers,
    store: Store,
    users: Users,
    sessions: Sessions,
    issuer: Issuer,
    clock: Clock,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let store = start::store(&init).await?;
    let oauth = Arc::new(OauthCallback {
        providers: Providers::of(&init).await?,
        users: start::users(&init).await?,
        sessions: start::sessions(&init, store.clone()).await?,
        issuer: start::issuer(&init).await?,
        store,
        clock: init.clock.clone(),
    });
    Ok(http::handler(init.clock, move |request| {
        let oauth = Arc::clone(&oauth);
        async move { oauth.answer(&request).await }
    }))
}

impl OauthCallback {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let provider = request.parameter("provider").and_then(Provider::named);
        let provider = provider.filter(|provider| self.providers.knows(*provider));
        let provider = provider.ok_or_else(Problem::not_found)?;
        let begun = self.begun(provider, request).await?;
        let code = request.query("code").ok_or(AuthError::Denied)?;
        let profile = self.providers.profile(provider, code, &begun).await?;
        let profile = profile.ok_or_else(Problem::not_found)?;
        let user = match self.person(provider, profile, request).await {
            Ok(user) => user,
            Err(error) => {
                let details = json!({"provider": provider.as_str(), "reason": error.to_string()});
                journal::note(&self.users, request, "login_refused", None, None, details).await;
                return Err(error);
            }
        };

        let refresh_token = self.sessions.begin(user.id).await?;
        let details = json!({"provider": provider.as_str()});
        journal::note(
            &self.users,
            request,
            "login",
            Some(user.id),
            Some(user.id),
            details,
        )
        .await;
        let forget = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
        let reply = match begun.redirect_to {
            // What stands after # is not sent to any server. The page asks for the next token with it at once, and
            // then it is good for nothing.
            Some(page) => {
                let page = format!("{page}#refresh_token={}", refresh_token.into_text());
                let page = HeaderValue::from_str(&page).map_err(|_| Problem::not_found())?;
                Reply::empty(StatusCode::SEE_OTHER).header(header::LOCATION, page)
            }
            None => {
                let tokens = Tokens::new(self.issuer.issue(&user).await?, refresh_token);
                Reply::json(StatusCode::OK, &tokens)
            }
        };
        Ok(reply.cookie(forget))
    }

    /// The sign-in that began in this browser. It is used up, and only by this browser.
    async fn begun(&self, provider: Provider, request: &Request) -> Result<Begun, AuthError> {
        let id = oauth::id(request.query("state").ok_or(AuthError::NotBegunHere)?);
        let now = self.clock.now();
        let begun: Option<Begun> = self.store.find(&id, now).await?;
        if !begun.is_some_and(|begun| begun.is_of(request.cookie(COOKIE), provider)) {
            return Err(AuthError::NotBegunHere);
        }
        self.store.take(&id, now).await?.ok_or(AuthError::NotBegunHere)
    }

    async fn person(
        &self,
        provider: Provider,
        profile: Profile,
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
            return Err(AuthError::ProviderUnverified);
        };
        let new = NewUser {
            name: name(profile.name.as_deref(), &email),
            email,
            key: Key::Identity(identity.clone()),
        };
        match self.users.register(&new, request.trace).await? {
            Registered::New(user) => {
                let (who, details) = (Some(user.id), json!({"provider": provider.as_str()}));
                journal::note(&self.users, request, "registered", who, who, details).await;
                Ok(user)
            }
            Registered::Taken(user) => self.link(user, &identity, request).await,
        }
    }

    async fn link(&self, user: User, identity: &Identity, request: &Request) -> Result<User, AuthError> {
        if user.email_verified_at.is_none() || !self.users.link_identity(user.id, identity).await? {
            return Err(AuthError::SignInFirst);
        }
        let (who, details) = (Some(user.id), json!({"provider": identity.provider.as_str()}));
        journal::note(&self.users, request, "identity_linked", who, who, details).await;
        Ok(user)
    }
}

/// How they call themselves at the provider, if that is a name here too.
fn name(name: Option<&str>, email: &EmailAddress) -> PersonName {
    let local = email.as_str().split('@').next().unwrap_or_default();
    [name.unwrap_or_default(), local, "Matsuri"]
        .into_iter()
        .find_map(|name| PersonName::parse(name).ok())
        .expect("the last of them is a name")
}
