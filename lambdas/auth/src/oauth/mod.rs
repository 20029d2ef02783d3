//! Sign-in with an identity provider: authorization code flow with PKCE (RFC 6749, RFC 7636).

mod github;
mod openid_connect;
mod pending_sign_in;
mod provider_http;

use lambda_shared::{FunctionContext, InitError};
use openidconnect::{ClaimsVerificationError, ConfigurationError, IssuerUrl, RedirectUrl};
use secrecy::SecretString;
use secrets::{MAX_AGE, Secret};
use url::Url;
use users::Provider;

use crate::bootstrap;
use github::GitHubProvider;
use openid_connect::OpenIdConnectProvider;
pub use pending_sign_in::{NewSignIn, PendingSignIn, SIGN_IN_COOKIE, pending_sign_in_key, sign_in_cookie};
use provider_http::ProviderHttp;

/// The provider failed, or its response violates the protocol.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The provider is unreachable, answered with an error status, or its response could not be parsed.
    #[error("a request to the provider failed")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the provider's response is invalid: {0}")]
    InvalidResponse(&'static str),
    #[error("the provider's discovery document lacks an endpoint")]
    MissingEndpoint(#[from] ConfigurationError),
    #[error("the provider's ID token is invalid")]
    InvalidToken(#[from] ClaimsVerificationError),
}

impl ProviderError {
    fn request(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Request(Box::new(error))
    }
}

/// The user's profile at the provider.
#[derive(Clone, Debug)]
pub struct ProviderProfile {
    /// The provider's id of the account.
    pub subject: String,
    /// `None` when the provider has not verified the e-mail address.
    pub verified_email: Option<String>,
    pub name: Option<String>,
}

/// The configured identity providers.
pub struct Providers {
    google: Option<OpenIdConnectProvider>,
    github: Option<GitHubProvider>,
    callback_base_url: String,
    allowed_redirects: Vec<String>,
}

/// Our client secrets at the configured providers. Only the redemption of an authorization code needs them.
pub struct ClientSecrets {
    google: Option<Secret<SecretString>>,
    github: Option<Secret<SecretString>>,
}

impl Providers {
    /// Reads the providers from the environment. A provider without a client id is not configured.
    ///
    /// | variable | meaning and default |
    /// |---|---|
    /// | `GOOGLE_CLIENT_ID`, `GITHUB_CLIENT_ID` | our client ids; optional |
    /// | `GOOGLE_ISSUER` | `https://accounts.google.com` |
    /// | `GITHUB_URL`, `GITHUB_API_URL` | `https://github.com`, `https://api.github.com` |
    /// | `OAUTH_CALLBACK_BASE_URL` | the providers redirect to `{this}/{provider}/callback`; required |
    /// | `OAUTH_ALLOWED_REDIRECTS` | allowed values of `redirect_to`, separated by commas; none |
    pub fn from_env(context: &FunctionContext) -> Result<Self, InitError> {
        let http = ProviderHttp::new()?;
        let url = |name: &'static str, default: &str| -> Result<String, InitError> {
            let configured: Option<String> = context.environment.optional(name)?;
            let url = configured.unwrap_or_else(|| default.to_owned());
            Ok(url.trim_end_matches('/').to_owned())
        };
        let google: Option<String> = context.environment.optional("GOOGLE_CLIENT_ID")?;
        let issuer = url("GOOGLE_ISSUER", "https://accounts.google.com")?;
        let github: Option<String> = context.environment.optional("GITHUB_CLIENT_ID")?;
        let (site_url, api_url) = (
            url("GITHUB_URL", "https://github.com")?,
            url("GITHUB_API_URL", "https://api.github.com")?,
        );
        let allowed_redirects: Option<String> = context.environment.optional("OAUTH_ALLOWED_REDIRECTS")?;
        let callback_base_url: String = context.environment.required("OAUTH_CALLBACK_BASE_URL")?;
        let clock = context.clock.clone();
        let issuer = IssuerUrl::new(issuer)?;
        let github = github.map(|client_id| GitHubProvider::new(http.clone(), &site_url, api_url, client_id));
        Ok(Self {
            google: google.map(|client_id| OpenIdConnectProvider::new(http, issuer, client_id, clock)),
            github: github.transpose()?,
            callback_base_url: callback_base_url.trim_end_matches('/').to_owned(),
            allowed_redirects: allowed_redirects
                .unwrap_or_default()
                .split(',')
                .map(|url| url.trim().to_owned())
                .filter(|url| !url.is_empty())
                .collect(),
        })
    }

    /// Whether the sign-in may end at this URL. It must equal an allowed URL exactly.
    #[must_use]
    pub fn is_allowed_redirect(&self, url: &str) -> bool {
        self.allowed_redirects.iter().any(|allowed| allowed == url)
    }

    #[must_use]
    pub fn is_configured(&self, provider: Provider) -> bool {
        match provider {
            Provider::Google => self.google.is_some(),
            Provider::GitHub => self.github.is_some(),
        }
    }

    /// The URL at which the user signs in at the provider. Returns `None` when the provider is not
    /// configured.
    pub async fn authorization_url(
        &self,
        provider: Provider,
        sign_in: &NewSignIn,
    ) -> Result<Option<Url>, ProviderError> {
        let callback_url = self.callback_url(provider)?;
        Ok(match provider {
            Provider::Google => match &self.google {
                Some(google) => Some(google.authorization_url(callback_url, sign_in).await?),
                None => None,
            },
            Provider::GitHub => {
                let github = self.github.as_ref();
                github.map(|github| github.authorization_url(callback_url, sign_in))
            }
        })
    }

    /// Redeems the authorization code and returns the user's profile. Returns `None` when the provider is not
    /// configured.
    pub async fn fetch_profile(
        &self,
        provider: Provider,
        code: String,
        pending: &PendingSignIn,
        client_secrets: &ClientSecrets,
    ) -> Result<Option<ProviderProfile>, ProviderError> {
        let callback_url = self.callback_url(provider)?;
        let profile = match provider {
            Provider::Google => match (&self.google, &client_secrets.google) {
                (Some(google), Some(secret)) => {
                    let secret = secret.current().await;
                    google.fetch_profile(code, callback_url, pending, &secret).await?
                }
                _ => return Ok(None),
            },
            Provider::GitHub => match (&self.github, &client_secrets.github) {
                (Some(github), Some(secret)) => {
                    let secret = secret.current().await;
                    github.fetch_profile(code, callback_url, pending, &secret).await?
                }
                _ => return Ok(None),
            },
        };
        Ok(Some(profile))
    }

    fn callback_url(&self, provider: Provider) -> Result<RedirectUrl, ProviderError> {
        let url = format!("{}/{}/callback", self.callback_base_url, provider.as_str());
        RedirectUrl::new(url).map_err(ProviderError::request)
    }
}

impl ClientSecrets {
    /// Reads the secrets of the configured providers. `GOOGLE_CLIENT_SECRET` and `GITHUB_CLIENT_SECRET` are
    /// the names of the secrets, by default `ecommerce/oauth-google` and `ecommerce/oauth-github`.
    pub async fn load(context: &FunctionContext, providers: &Providers) -> Result<Self, InitError> {
        let load = async |provider, variable, default| -> Result<_, InitError> {
            if !providers.is_configured(provider) {
                return Ok(None);
            }
            let name = bootstrap::secret_name(context, variable, default)?;
            let secret = bootstrap::secret(context, name, MAX_AGE, |text| Ok(text.clone())).await?;
            Ok(Some(secret))
        };
        Ok(Self {
            google: load(Provider::Google, "GOOGLE_CLIENT_SECRET", "ecommerce/oauth-google").await?,
            github: load(Provider::GitHub, "GITHUB_CLIENT_SECRET", "ecommerce/oauth-github").await?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn providers(allowed_redirects: &[&str]) -> Providers {
        let site_url = "https://github.test".to_owned();
        Providers {
            google: None,
            github: Some(
                GitHubProvider::new(
                    ProviderHttp::new().unwrap(),
                    &site_url,
                    site_url.clone(),
                    "our-id".to_owned(),
                )
                .unwrap(),
            ),
            callback_base_url: "https://api.test/v1/auth/oauth".to_owned(),
            allowed_redirects: allowed_redirects.iter().map(|url| (*url).to_owned()).collect(),
        }
    }

    #[tokio::test]
    async fn authorization_url_binds_the_callback_and_contains_no_secret() {
        let sign_in = NewSignIn::new(Provider::GitHub, None);
        let providers = providers(&[]);
        let url = providers
            .authorization_url(Provider::GitHub, &sign_in)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            &url[..url::Position::AfterPath],
            "https://github.test/login/oauth/authorize"
        );
        let parameters: std::collections::HashMap<_, _> = url.query_pairs().collect();
        assert_eq!(parameters["client_id"], "our-id");
        assert_eq!(
            parameters["redirect_uri"],
            "https://api.test/v1/auth/oauth/github/callback"
        );
        assert_eq!(parameters["state"], sign_in.state);
        assert_eq!(parameters["code_challenge_method"], "S256");
        assert_eq!(
            parameters["code_challenge"],
            tokens::random_token::digest(&sign_in.pending.code_verifier)
        );
        for secret in [&sign_in.cookie, &sign_in.pending.code_verifier] {
            assert!(!url.as_str().contains(secret), "{url}");
        }
        assert!(
            providers
                .authorization_url(Provider::Google, &sign_in)
                .await
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn redirect_must_equal_an_allowed_url() {
        let providers = providers(&["https://shop.test/signed-in"]);
        assert!(providers.is_allowed_redirect("https://shop.test/signed-in"));
        for other in [
            "",
            "https://shop.test/",
            "https://shop.test/signed-in/",
            "https://shop.test/signed-in?x=1",
            "https://shop.test/signed-in@evil.example",
            "https://shop.test.evil.example/signed-in",
            "//evil.example",
            "javascript:alert(1)",
        ] {
            assert!(!providers.is_allowed_redirect(other), "{other}");
        }
    }
}
