//! A provider of OpenID Connect, found by its discovery document.

use domain::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use secrecy::ExposeSecret;
use serde::{Deserialize, de::DeserializeOwned};

use super::{Begun, Client, Profile, ProviderError};

/// How far the provider's clock and ours may be apart, in seconds.
const LEEWAY: i64 = 60;

/// A provider, as a client of its sees it.
pub(crate) struct OpenId {
    http: reqwest::Client,
    issuer: String,
    client: Client,
    clock: Clock,
}

/// As much of the discovery document as is used.
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Answer {
    id_token: String,
}

#[derive(Deserialize)]
struct IdToken {
    sub: String,
    exp: i64,
    nonce: Option<String>,
    email: Option<String>,
    /// A provider that does not say so has not.
    #[serde(default)]
    email_verified: bool,
    name: Option<String>,
}

impl OpenId {
    pub(crate) fn new(http: reqwest::Client, issuer: String, client: Client, clock: Clock) -> Self {
        Self {
            http,
            issuer,
            client,
            clock,
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client.id
    }

    pub(crate) async fn door(&self) -> Result<String, ProviderError> {
        Ok(self.discover().await?.authorization_endpoint)
    }

    pub(crate) async fn profile(
        &self,
        code: &str,
        callback: &str,
        begun: &Begun,
    ) -> Result<Profile, ProviderError> {
        let configuration = self.discover().await?;
        let answer: Answer = self
            .http
            .post(&configuration.token_endpoint)
            .form(&[
                ("grant_type", "authorization_code"),
                ("client_id", self.client.id.as_str()),
                ("client_secret", self.client.secret.expose_secret()),
                ("code", code),
                ("redirect_uri", callback),
                ("code_verifier", begun.verifier.as_str()),
            ])
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let keys: JwkSet = self.get(&configuration.jwks_uri).await?;
        let told = self.read(&answer.id_token, &keys, &configuration.issuer)?;
        // A token of another sign-in has another nonce.
        if told.nonce.as_deref() != Some(&*begun.nonce) {
            return Err(ProviderError::Invalid("its token is of another sign-in"));
        }
        Ok(Profile {
            subject: told.sub,
            verified_email: told.email.filter(|_| told.email_verified),
            name: told.name,
        })
    }

    async fn discover(&self) -> Result<Configuration, ProviderError> {
        let document = format!("{}/.well-known/openid-configuration", self.issuer);
        let configuration: Configuration = self.get(&document).await?;
        if configuration.issuer.trim_end_matches('/') != self.issuer {
            return Err(ProviderError::Invalid("its document is another issuer's"));
        }
        Ok(configuration)
    }

    fn read(&self, token: &str, keys: &JwkSet, issuer: &str) -> Result<IdToken, ProviderError> {
        let header = decode_header(token)?;
        let key = match &header.kid {
            Some(kid) => keys.find(kid),
            // With one key there is no need to name it (OpenID Connect Core, 10.1).
            None => keys.keys.first().filter(|_| keys.keys.len() == 1),
        };
        let key = DecodingKey::from_jwk(key.ok_or(ProviderError::Invalid("its token's key is unknown"))?)?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[&self.client.id]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Time is ours to ask for.
        validation.validate_exp = false;
        let told = decode::<IdToken>(token, &key, &validation)?.claims;
        if told.exp + LEEWAY <= self.clock.now().timestamp() {
            return Err(ProviderError::Invalid("its token has expired"));
        }
        Ok(told)
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, ProviderError> {
        Ok(self
            .http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?)
    }
}
