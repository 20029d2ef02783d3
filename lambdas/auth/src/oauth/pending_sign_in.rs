//! A sign-in between its start and the provider's callback, bound to the browser that started it.

use axum_extra::extract::cookie::{Cookie, SameSite};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tokens::random_token;
use users::Provider;

/// The cookie that binds a sign-in to its browser. The prefix `__Host-` prevents other hosts from setting it.
pub const SIGN_IN_COOKIE: &str = "__Host-matsuri-sign-in";

/// A started sign-in as it is stored. It contains the tokens of the browser as digests only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSignIn {
    /// `google` or `github`.
    pub provider: String,
    /// The digest of the browser's cookie.
    #[serde(rename = "browser")]
    pub cookie_digest: String,
    /// The PKCE code verifier, which proves to the provider that the code is redeemed by the client that
    /// requested it.
    #[serde(rename = "verifier")]
    pub code_verifier: String,
    /// The provider repeats it in its ID token.
    pub nonce: String,
    /// The page that the browser goes to at the end.
    pub redirect_to: Option<String>,
}

/// The tokens of a new sign-in.
pub struct NewSignIn {
    /// Travels to the provider and back in the URL.
    pub state: String,
    /// Stays in the browser.
    pub cookie: String,
    /// Is stored.
    pub pending: PendingSignIn,
}

impl NewSignIn {
    #[must_use]
    pub fn new(provider: Provider, redirect_to: Option<String>) -> Self {
        let cookie = random_token::generate();
        Self {
            state: random_token::generate(),
            pending: PendingSignIn {
                provider: provider.as_str().to_owned(),
                cookie_digest: random_token::digest(&cookie),
                code_verifier: random_token::generate(),
                nonce: random_token::generate(),
                redirect_to,
            },
            cookie,
        }
    }
}

impl PendingSignIn {
    /// Whether the browser with this cookie has started the sign-in, with this provider.
    #[must_use]
    pub fn matches(&self, cookie: Option<&str>, provider: Provider) -> bool {
        cookie.is_some_and(|cookie| random_token::digest(cookie) == self.cookie_digest)
            && self.provider == provider.as_str()
    }
}

/// The key of a pending sign-in in the sessions table.
#[must_use]
pub fn pending_sign_in_key(state: &str) -> String {
    format!("oauth#{}", random_token::digest(state))
}

/// The cookie that binds a sign-in to its browser. An empty value without a lifetime removes it.
#[must_use]
pub fn sign_in_cookie(value: String, lifetime: TimeDelta) -> Cookie<'static> {
    Cookie::build((SIGN_IN_COOKIE, value))
        .path("/")
        .max_age(time::Duration::seconds(lifetime.num_seconds()))
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax)
        .build()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sign_in_matches_only_its_browser_and_provider() {
        let NewSignIn { cookie, pending, .. } = NewSignIn::new(Provider::GitHub, None);
        assert!(pending.matches(Some(&cookie), Provider::GitHub));
        assert!(!pending.matches(Some(&cookie), Provider::Google));
        assert!(!pending.matches(Some("another"), Provider::GitHub));
        assert!(!pending.matches(None, Provider::GitHub));
    }

    #[test]
    fn stored_attributes_keep_their_names() {
        let stored = json!({
            "provider": "google", "browser": "digest", "verifier": "v", "nonce": "n", "redirect_to": null,
        });
        let pending: PendingSignIn = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&pending).unwrap(), stored);
    }
}
