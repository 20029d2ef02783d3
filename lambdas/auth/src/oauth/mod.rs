//! Signing in by a provider: authorization code with PKCE (RFC 6749, RFC 7636), bound to the browser it began in.

mod github;
mod openid_connect;

use lambda_shared::{FunctionContext, InitError};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;
use users::Provider;

use crate::{bootstrap, random_token};
use github::GitHubProvider;
use openid_connect::OpenIdConnectProvider;

/// The cookie that binds a sign-in to its browser. No other host can set one of this name.
pub const SIGN_IN_COOKIE: &str = "__Host-matsuri-sign-in";

/// A provider that does not answer for so long has not answered.
const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// A provider did not answer as its protocol has it.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It could not be reached, or its answer could not be read.
    #[error("the provider cannot be reached")]
    Unreachable(#[from] reqwest::Error),
    /// Its answer is not to be believed.
    #[error("the provider's answer is not valid: {0}")]
    InvalidResponse(&'static str),
    /// Its token is not what a token of its is.
    #[error("the provider's token is not valid")]
    InvalidToken(#[from] jsonwebtoken::errors::Error),
}

/// What a provider says of a person.
#[derive(Clone, Debug)]
pub struct ProviderProfile {
    /// Its own name of the account.
    pub subject: String,
    /// The address of mail, and only one that it has found to be theirs.
    pub verified_email: Option<String>,
    /// How they call themselves there.
    pub name: Option<String>,
}

/// A sign-in that was begun. Only digests of what the browser and the provider carry are kept, and what we need
/// ourselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSignIn {
    /// With which provider.
    pub provider: String,
    /// The digest of the browser's cookie.
    pub browser: String,
    /// What proves to the provider that it is we who come for the code.
    pub verifier: String,
    /// What the provider says again in its token.
    pub nonce: String,
    /// Where the person goes in the end.
    pub redirect_to: Option<String>,
}

/// The secrets of a sign-in that begins.
pub struct NewSignIn {
    /// What goes around by the provider.
    pub state: String,
    /// What stays in the browser.
    pub cookie: String,
    /// What is kept.
    pub pending: PendingSignIn,
}

/// The providers that are configured.
pub struct Providers {
    google: Option<OpenIdConnectProvider>,
    github: Option<GitHubProvider>,
    callback_base_url: String,
    allowed_redirects: Vec<String>,
}

/// By which name a provider knows us.
pub(crate) struct ClientCredentials {
    id: String,
    secret: SecretString,
}

impl Providers {
    /// Those whose client ids are there: `GOOGLE_CLIENT_ID` at `GOOGLE_ISSUER`, `GITHUB_CLIENT_ID` at `GITHUB_URL`
    /// and `GITHUB_API_URL`. `GOOGLE_CLIENT_SECRET` and `GITHUB_CLIENT_SECRET` name the secrets that hold theirs; if they
    /// do not, it is `ecommerce/oauth-google` and `ecommerce/oauth-github`. They send people back to `OAUTH_CALLBACK_BASE_URL`/{provider}/callback, and we send them on to
    /// one of `OAUTH_ALLOWED_REDIRECTS`, which has commas between them.
    pub async fn from_env(init: &FunctionContext) -> Result<Self, InitError> {
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("matsuri")
            .build()?;
        let url = |name: &'static str, usual: &str| -> Result<String, InitError> {
            let configured: Option<String> = init.environment.optional(name)?;
            let url = configured.unwrap_or_else(|| usual.to_owned());
            Ok(url.trim_end_matches('/').to_owned())
        };
        let google = client_credentials(
            init,
            "GOOGLE_CLIENT_ID",
            "GOOGLE_CLIENT_SECRET",
            "ecommerce/oauth-google",
        )
        .await?;
        let issuer = url("GOOGLE_ISSUER", "https://accounts.google.com")?;
        let github = client_credentials(
            init,
            "GITHUB_CLIENT_ID",
            "GITHUB_CLIENT_SECRET",
            "ecommerce/oauth-github",
        )
        .await?;
        let (site, api) = (
            url("GITHUB_URL", "https://github.com")?,
            url("GITHUB_API_URL", "https://api.github.com")?,
        );
        let redirects: Option<String> = init.environment.optional("OAUTH_ALLOWED_REDIRECTS")?;
        let callbacks: String = init.environment.required("OAUTH_CALLBACK_BASE_URL")?;
        Ok(Self {
            google: google
                .map(|client| OpenIdConnectProvider::new(http.clone(), issuer, client, init.clock.clone())),
            github: github.map(|client| GitHubProvider::new(http, site, api, client)),
            callback_base_url: callbacks.trim_end_matches('/').to_owned(),
            allowed_redirects: redirects
                .unwrap_or_default()
                .split(',')
                .map(|url| url.trim().to_owned())
                .filter(|url| !url.is_empty())
                .collect(),
        })
    }

    /// Whether people may be sent there: only to what is on the list, letter by letter.
    #[must_use]
    pub fn is_allowed_redirect(&self, url: &str) -> bool {
        self.allowed_redirects.iter().any(|known| known == url)
    }

    /// Whether people may come by this provider.
    #[must_use]
    pub fn is_configured(&self, provider: Provider) -> bool {
        match provider {
            Provider::Google => self.google.is_some(),
            Provider::GitHub => self.github.is_some(),
        }
    }

    /// Where the person tells the provider that they want to come in; none where it is not configured.
    pub async fn authorization_url(
        &self,
        provider: Provider,
        beginning: &NewSignIn,
    ) -> Result<Option<Url>, ProviderError> {
        let (door, client, scope) = match provider {
            Provider::Google => match &self.google {
                Some(google) => (
                    google.authorization_endpoint().await?,
                    google.client_id(),
                    "openid email profile",
                ),
                None => return Ok(None),
            },
            Provider::GitHub => match &self.github {
                Some(github) => (
                    github.authorization_url(),
                    github.client_id(),
                    "read:user user:email",
                ),
                None => return Ok(None),
            },
        };
        let mut door =
            Url::parse(&door).map_err(|_| ProviderError::InvalidResponse("its authorization endpoint"))?;
        door.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", client)
            .append_pair("redirect_uri", &self.callback_url(provider))
            .append_pair("scope", scope)
            .append_pair("state", &beginning.state)
            .append_pair("nonce", &beginning.pending.nonce)
            .append_pair("code_challenge", &code_challenge(&beginning.pending.verifier))
            .append_pair("code_challenge_method", "S256");
        Ok(Some(door))
    }

    /// What the provider says of the person who came back with `code`.
    pub async fn fetch_profile(
        &self,
        provider: Provider,
        code: &str,
        begun: &PendingSignIn,
    ) -> Result<Option<ProviderProfile>, ProviderError> {
        let callback = self.callback_url(provider);
        match (provider, &self.google, &self.github) {
            (Provider::Google, Some(google), _) => {
                google.fetch_profile(code, &callback, begun).await.map(Some)
            }
            (Provider::GitHub, _, Some(github)) => {
                github.fetch_profile(code, &callback, begun).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    fn callback_url(&self, provider: Provider) -> String {
        format!("{}/{}/callback", self.callback_base_url, provider.as_str())
    }
}

impl NewSignIn {
    /// Fresh secrets.
    #[must_use]
    pub fn new(provider: Provider, redirect_to: Option<String>) -> Self {
        let cookie = random_token::generate();
        Self {
            state: random_token::generate(),
            pending: PendingSignIn {
                provider: provider.as_str().to_owned(),
                browser: random_token::digest(&cookie),
                verifier: random_token::generate(),
                nonce: random_token::generate(),
                redirect_to,
            },
            cookie,
        }
    }
}

impl PendingSignIn {
    /// Whether it was begun by whoever has this cookie, with this provider.
    #[must_use]
    pub fn matches(&self, cookie: Option<&str>, provider: Provider) -> bool {
        cookie.is_some_and(|cookie| random_token::digest(cookie) == self.browser)
            && self.provider == provider.as_str()
    }
}

/// Under what a sign-in is kept.
#[must_use]
pub fn pending_sign_in_key(state: &str) -> String {
    format!("oauth#{}", random_token::digest(state))
}

/// What the provider is told of the verifier beforehand (RFC 7636, 4.2).
fn code_challenge(verifier: &str) -> String {
    random_token::digest(verifier)
}

/// The client whose id is in one variable, and whose secret in the secret that another names.
async fn client_credentials(
    init: &FunctionContext,
    id: &'static str,
    secret: &'static str,
    usual: &str,
) -> Result<Option<ClientCredentials>, InitError> {
    let Some(id) = init.environment.optional(id)? else {
        return Ok(None);
    };
    let name = bootstrap::secret_name(init, secret, usual)?;
    let secret = bootstrap::secrets_manager(init).read(&name).await?;
    Ok(Some(ClientCredentials { id, secret }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn providers(redirects: &[&str]) -> Providers {
        let client = ClientCredentials {
            id: "our-id".to_owned(),
            secret: "hunter2".to_owned().into(),
        };
        let site = "https://github.test".to_owned();
        Providers {
            google: None,
            github: Some(GitHubProvider::new(
                reqwest::Client::new(),
                site.clone(),
                site,
                client,
            )),
            callback_base_url: "https://api.test/v1/auth/oauth".to_owned(),
            allowed_redirects: redirects.iter().map(|url| (*url).to_owned()).collect(),
        }
    }

    #[tokio::test]
    async fn the_door_takes_all_that_binds_the_way_back() {
        let beginning = NewSignIn::new(Provider::GitHub, None);
        let providers = providers(&[]);
        let door = providers
            .authorization_url(Provider::GitHub, &beginning)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            &door[..url::Position::AfterPath],
            "https://github.test/login/oauth/authorize"
        );
        let asked: std::collections::HashMap<_, _> = door.query_pairs().collect();
        assert_eq!(asked["client_id"], "our-id");
        assert_eq!(
            asked["redirect_uri"],
            "https://api.test/v1/auth/oauth/github/callback"
        );
        assert_eq!(asked["state"], beginning.state);
        assert_eq!(asked["code_challenge_method"], "S256");
        assert_eq!(
            asked["code_challenge"],
            code_challenge(&beginning.pending.verifier)
        );
        for secret in ["hunter2", &beginning.cookie, &beginning.pending.verifier] {
            assert!(!door.as_str().contains(secret), "{door}");
        }
        assert!(
            providers
                .authorization_url(Provider::Google, &beginning)
                .await
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn people_are_sent_on_only_to_what_is_on_the_list() {
        let providers = providers(&["https://shop.test/signed-in"]);
        assert!(providers.is_allowed_redirect("https://shop.test/signed-in"));
        for elsewhere in [
            "",
            "https://shop.test/",
            "https://shop.test/signed-in/",
            "https://shop.test/signed-in?x=1",
            "https://shop.test/signed-in@evil.example",
            "https://shop.test.evil.example/signed-in",
            "//evil.example",
            "javascript:alert(1)",
        ] {
            assert!(!providers.is_allowed_redirect(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_sign_in_is_of_the_browser_that_began_it() {
        let NewSignIn {
            cookie,
            pending: begun,
            ..
        } = NewSignIn::new(Provider::GitHub, None);
        assert!(begun.matches(Some(&cookie), Provider::GitHub));
        assert!(!begun.matches(Some(&cookie), Provider::Google));
        assert!(!begun.matches(Some("another"), Provider::GitHub));
        assert!(!begun.matches(None, Provider::GitHub));
    }

    /// The example of RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_standard() {
        assert_eq!(
            code_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
