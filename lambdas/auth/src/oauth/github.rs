//! Sign-in with GitHub, which supports OAuth 2.0 but not OpenID Connect: the profile comes from its REST API.

use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, TokenResponse as _, TokenUrl, basic::BasicClient,
};
use reqwest::header::ACCEPT;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use super::{NewSignIn, PendingSignIn, ProviderError, ProviderProfile, provider_http::ProviderHttp};

/// GitHub's largest page.
const EMAILS_PER_PAGE: usize = 100;

/// An account with more addresses than these pages hold counts as one without a verified address.
const MAX_EMAIL_PAGES: usize = 5;

pub(crate) struct GitHubProvider {
    http: ProviderHttp,
    authorization_url: AuthUrl,
    token_url: TokenUrl,
    api_url: String,
    client_id: ClientId,
}

#[derive(Deserialize)]
struct GitHubUser {
    /// The id never changes. The login may.
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct GitHubEmail {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHubProvider {
    /// # Errors
    /// When `site_url` is not a URL.
    pub(crate) fn new(
        http: ProviderHttp,
        site_url: &str,
        api_url: String,
        client_id: String,
    ) -> Result<Self, url::ParseError> {
        Ok(Self {
            http,
            authorization_url: AuthUrl::new(format!("{site_url}/login/oauth/authorize"))?,
            token_url: TokenUrl::new(format!("{site_url}/login/oauth/access_token"))?,
            api_url,
            client_id: ClientId::new(client_id),
        })
    }

    pub(crate) fn authorization_url(&self, callback_url: RedirectUrl, sign_in: &NewSignIn) -> Url {
        let client = BasicClient::new(self.client_id.clone())
            .set_auth_uri(self.authorization_url.clone())
            .set_redirect_uri(callback_url);
        let verifier = PkceCodeVerifier::new(sign_in.pending.code_verifier.clone());
        let state = CsrfToken::new(sign_in.state.clone());
        let (url, _) = client
            .authorize_url(|| state)
            .add_scopes(["read:user", "user:email"].map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        url
    }

    pub(crate) async fn fetch_profile(
        &self,
        code: String,
        callback_url: RedirectUrl,
        pending: &PendingSignIn,
        client_secret: &SecretString,
    ) -> Result<ProviderProfile, ProviderError> {
        let client = BasicClient::new(self.client_id.clone())
            .set_client_secret(ClientSecret::new(client_secret.expose_secret().to_owned()))
            .set_auth_type(AuthType::RequestBody)
            .set_token_uri(self.token_url.clone())
            .set_redirect_uri(callback_url);
        // GitHub answers an invalid code with status 200 and without a token, which is an error as well.
        let response = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(pending.code_verifier.clone()))
            .request_async(&self.http)
            .await
            .map_err(ProviderError::request)?;
        let token = response.access_token().secret();
        let user: GitHubUser = self.get_json("/user", token).await?;
        Ok(ProviderProfile {
            subject: user.id.to_string(),
            verified_email: self.find_verified_email(token).await?,
            name: user.name.or(Some(user.login)),
        })
    }

    async fn find_verified_email(&self, token: &str) -> Result<Option<String>, ProviderError> {
        for page in 1..=MAX_EMAIL_PAGES {
            let path = format!("/user/emails?per_page={EMAILS_PER_PAGE}&page={page}");
            let emails: Vec<GitHubEmail> = self.get_json(&path, token).await?;
            let is_last = emails.len() < EMAILS_PER_PAGE;
            let primary = emails.into_iter().find(|email| email.primary);
            if primary.is_some() || is_last {
                return Ok(primary.filter(|email| email.verified).map(|email| email.email));
            }
        }
        Ok(None)
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, ProviderError> {
        let request = self
            .http
            .client()
            .get(format!("{}{path}", self.api_url))
            .bearer_auth(token)
            .header(ACCEPT, "application/vnd.github+json");
        let response = request.send().await.and_then(reqwest::Response::error_for_status);
        let response = response.map_err(ProviderError::request)?;
        response.json().await.map_err(ProviderError::request)
    }
}
