//! Sign-in with an OpenID Connect provider. Endpoints and keys come from the provider's discovery document
//! and are cached as long as the provider permits.

use std::time::Duration;

use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use openidconnect::{
    AuthType, AuthenticationFlow, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret,
    CsrfToken, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    SignatureVerificationError, TokenResponse as _,
    core::{CoreClient, CoreIdToken, CoreIdTokenClaims, CoreProviderMetadata, CoreResponseType},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use url::Url;

use super::{
    NewSignIn, PendingSignIn, ProviderError, ProviderProfile,
    provider_http::{CachingHttp, ProviderHttp},
};

/// The tolerated difference between the provider's clock and ours.
const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(60);

/// The longest time for which endpoints and keys are cached, whatever the provider says.
const MAX_CACHE_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) struct OpenIdConnectProvider {
    http: ProviderHttp,
    issuer: IssuerUrl,
    client_id: ClientId,
    clock: Clock,
    cache: Mutex<Option<CachedMetadata>>,
}

/// The discovery document with the keys.
struct CachedMetadata {
    metadata: CoreProviderMetadata,
    expires_at: Timestamp,
}

impl OpenIdConnectProvider {
    pub(crate) fn new(http: ProviderHttp, issuer: IssuerUrl, client_id: String, clock: Clock) -> Self {
        Self {
            http,
            issuer,
            client_id: ClientId::new(client_id),
            clock,
            cache: Mutex::new(None),
        }
    }

    pub(crate) async fn authorization_url(
        &self,
        callback_url: RedirectUrl,
        sign_in: &NewSignIn,
    ) -> Result<Url, ProviderError> {
        let metadata = self.metadata().await?;
        let client = CoreClient::from_provider_metadata(metadata, self.client_id.clone(), None)
            .set_redirect_uri(callback_url);
        let verifier = PkceCodeVerifier::new(sign_in.pending.code_verifier.clone());
        let state = CsrfToken::new(sign_in.state.clone());
        let nonce = Nonce::new(sign_in.pending.nonce.clone());
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let (url, _, _) = client
            .authorize_url(flow, || state, || nonce)
            .add_scopes(["email", "profile"].map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url)
    }

    pub(crate) async fn fetch_profile(
        &self,
        code: String,
        callback_url: RedirectUrl,
        pending: &PendingSignIn,
        client_secret: &SecretString,
    ) -> Result<ProviderProfile, ProviderError> {
        let metadata = self.metadata().await?;
        let client_secret = ClientSecret::new(client_secret.expose_secret().to_owned());
        let client =
            CoreClient::from_provider_metadata(metadata.clone(), self.client_id.clone(), Some(client_secret))
                .set_auth_type(AuthType::RequestBody)
                .set_redirect_uri(callback_url);
        let response = client
            .exchange_code(AuthorizationCode::new(code))?
            .set_pkce_verifier(PkceCodeVerifier::new(pending.code_verifier.clone()))
            .request_async(&self.http)
            .await
            .map_err(ProviderError::request)?;
        let id_token = response.id_token().ok_or(ProviderError::InvalidResponse(
            "the token response has no ID token",
        ))?;
        // The nonce rejects an ID token that was issued for another sign-in.
        let nonce = Nonce::new(pending.nonce.clone());
        let claims = match self.verify(metadata, id_token, &nonce) {
            // The provider has new keys.
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => {
                let metadata = self.fetch_metadata().await?;
                self.verify(metadata, id_token, &nonce)?
            }
            verified => verified?,
        };
        // A provider that omits the claim has not verified the address.
        let is_verified = claims.email_verified() == Some(true);
        let email = claims.email().filter(|_| is_verified);
        let name = claims.name().and_then(|names| names.get(None));
        Ok(ProviderProfile {
            subject: claims.subject().to_string(),
            verified_email: email.map(|email| email.to_string()),
            name: name.map(|name| name.to_string()),
        })
    }

    fn verify(
        &self,
        metadata: CoreProviderMetadata,
        id_token: &CoreIdToken,
        nonce: &Nonce,
    ) -> Result<CoreIdTokenClaims, ClaimsVerificationError> {
        let client = CoreClient::from_provider_metadata(metadata, self.client_id.clone(), None);
        let verifier = client
            .id_token_verifier()
            .set_time_fn(|| self.clock.now() - CLOCK_SKEW);
        id_token.claims(&verifier, nonce).cloned()
    }

    /// The cached metadata, or new metadata if the cache has expired.
    async fn metadata(&self) -> Result<CoreProviderMetadata, ProviderError> {
        if let Some(cached) = &*self.cache.lock().await
            && self.clock.now() < cached.expires_at
        {
            return Ok(cached.metadata.clone());
        }
        self.fetch_metadata().await
    }

    async fn fetch_metadata(&self) -> Result<CoreProviderMetadata, ProviderError> {
        let http = CachingHttp::new(self.http.clone());
        let metadata = CoreProviderMetadata::discover_async(self.issuer.clone(), &http)
            .await
            .map_err(ProviderError::request)?;
        let lifetime = http.lifetime().min(MAX_CACHE_LIFETIME);
        *self.cache.lock().await = Some(CachedMetadata {
            metadata: metadata.clone(),
            expires_at: self.clock.now() + lifetime,
        });
        Ok(metadata)
    }
}
