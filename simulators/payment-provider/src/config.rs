//! What can be set, and from which variables.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// The configuration of the program.
#[derive(Clone, Debug)]
pub struct Config {
    /// `BIND_ADDRESS` and `PORT`: where to listen; 127.0.0.1 and 3004 if not set. Port 0 takes a free one.
    pub address: SocketAddr,
    /// `DATA_DIR`: the folder of the ledger. It has to be set.
    pub data_dir: PathBuf,
    /// `UNAVAILABLE_SECONDS`: how long `pm_unavailable` refuses; 3 if not set.
    pub unavailable_duration: Duration,
    /// `SLOW_SECONDS`: how long `pm_slow` takes; 3 if not set.
    pub slow_duration: Duration,
    /// `LOG_LEVEL`: a filter as `tracing` knows it; `info` if not set.
    pub log_level: String,
}

/// A variable that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It has no default and is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// Its value is not of the kind that is needed.
    #[error("{0} has a value that cannot be read")]
    Invalid(&'static str),
}

impl Config {
    /// The configuration in the environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where the environment is read, once"
        )]
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// The configuration in the variables that `get` knows.
    pub fn from_lookup(get: impl Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        Ok(Self {
            address: SocketAddr::new(
                parse_variable(&get, "BIND_ADDRESS", IpAddr::V4(Ipv4Addr::LOCALHOST))?,
                parse_variable(&get, "PORT", 3004)?,
            ),
            data_dir: get("DATA_DIR").ok_or(ConfigError::Missing("DATA_DIR"))?.into(),
            unavailable_duration: Duration::from_secs(parse_variable(&get, "UNAVAILABLE_SECONDS", 3)?),
            slow_duration: Duration::from_secs(parse_variable(&get, "SLOW_SECONDS", 3)?),
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
    fn a_wrong_value_is_named() {
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
