//! Configuration from environment variables.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use crate::events::WebhookEndpoint;

#[derive(Clone, Debug)]
pub struct Config {
    /// `BIND_ADDRESS` and `PORT`: the address to listen on. Default: 127.0.0.1 and 3004. Port 0 chooses a
    /// free port.
    pub address: SocketAddr,
    /// `PUBLIC_URL`: the origin under which browsers reach the authentication pages. Default: the address to
    /// listen on.
    pub public_url: String,
    /// `DATA_DIR`: the folder of the ledger. Required.
    pub data_dir: PathBuf,
    /// `UNAVAILABLE_SECONDS`: how long `pm_unavailable` responds with 503. Default: 3.
    pub unavailable_duration: Duration,
    /// `SLOW_SECONDS`: how long a charge of `pm_slow` takes. Default: 3.
    pub slow_duration: Duration,
    /// `WEBHOOK_URL` and `WEBHOOK_SECRET`: where events are sent, and the secret that signs them. Default: no
    /// events are sent.
    pub webhook: Option<WebhookEndpoint>,
    /// `LOG_LEVEL`: a `tracing` filter. Default: `info`.
    pub log_level: String,
}

/// A missing or invalid environment variable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The variable is required and not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// The value cannot be parsed.
    #[error("{0} has an invalid value")]
    Invalid(&'static str),
}

impl Config {
    pub fn from_env() -> Result<Self, ConfigError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the only place that reads the environment, once at startup"
        )]
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads the variables with `get`, which returns `None` for a variable that is not set.
    pub fn from_lookup(get: impl Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        let address = SocketAddr::new(
            parse_variable(&get, "BIND_ADDRESS", IpAddr::V4(Ipv4Addr::LOCALHOST))?,
            parse_variable(&get, "PORT", 3004)?,
        );
        Ok(Self {
            address,
            public_url: get("PUBLIC_URL").unwrap_or_else(|| format!("http://{address}")),
            data_dir: get("DATA_DIR").ok_or(ConfigError::Missing("DATA_DIR"))?.into(),
            unavailable_duration: Duration::from_secs(parse_variable(&get, "UNAVAILABLE_SECONDS", 3)?),
            slow_duration: Duration::from_secs(parse_variable(&get, "SLOW_SECONDS", 3)?),
            webhook: match get("WEBHOOK_URL") {
                Some(url) => Some(WebhookEndpoint {
                    url: url.parse().map_err(|_| ConfigError::Invalid("WEBHOOK_URL"))?,
                    secret: get("WEBHOOK_SECRET").ok_or(ConfigError::Missing("WEBHOOK_SECRET"))?,
                }),
                None => None,
            },
            log_level: get("LOG_LEVEL").unwrap_or_else(|| "info".into()),
        })
    }
}

fn parse_variable<T: FromStr>(
    get: impl Fn(&'static str) -> Option<String>,
    name: &'static str,
    default: T,
) -> Result<T, ConfigError> {
    get(name).map_or(Ok(default), |value| {
        value.parse().map_err(|_| ConfigError::Invalid(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_variable() {
        let with = |variable: &'static str, value: &'static str| {
            Config::from_lookup(move |name| match name {
                name if name == variable => Some(value.into()),
                "DATA_DIR" => Some("/data".into()),
                _ => None,
            })
        };
        assert_eq!(with("PORT", "65536").unwrap_err(), ConfigError::Invalid("PORT"));
        assert_eq!(
            with("SLOW_SECONDS", "-1").unwrap_err(),
            ConfigError::Invalid("SLOW_SECONDS")
        );
        assert_eq!(
            with("BIND_ADDRESS", "here").unwrap_err(),
            ConfigError::Invalid("BIND_ADDRESS")
        );
        assert_eq!(
            Config::from_lookup(|_| None).unwrap_err(),
            ConfigError::Missing("DATA_DIR")
        );
        assert_eq!(
            with("WEBHOOK_URL", "http://127.0.0.1/").unwrap_err(),
            ConfigError::Missing("WEBHOOK_SECRET")
        );
        assert_eq!(
            with("WEBHOOK_URL", "here").unwrap_err(),
            ConfigError::Invalid("WEBHOOK_URL")
        );
        let config = with("PORT", "0").unwrap();
        assert_eq!(config.address.to_string(), "127.0.0.1:0");
        assert_eq!(
            (
                config.slow_duration.as_secs(),
                config.unavailable_duration.as_secs()
            ),
            (3, 3)
        );
    }
}
