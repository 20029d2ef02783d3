//! Addresses of a running system, and the environment variables that point clients at it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::instance::Instance;
use crate::ports::{FAULT_INJECTION, Ports, proxied_service};
use crate::{digest, ports, postgres, python, redis};

/// The AWS region, in the local AWS as in a real account.
pub const REGION: &str = "ap-northeast-1";

/// The addresses on which the services of one instance listen.
#[derive(Debug, Clone)]
pub struct Addresses {
    ports: Ports,
    /// The CA of the instance's own database.
    database_ca_file: PathBuf,
    /// The database with its owner as the user: the instance's own one, or the one from `DATABASE_URL`.
    pub database_url: String,
}

impl Addresses {
    /// `external_database` is the URL of a database that the instance does not start itself.
    pub fn new(instance: &Instance, ports: &Ports, external_database: Option<String>) -> Self {
        let database_ca_file = postgres::ca_file(instance);
        let database_url =
            external_database.unwrap_or_else(|| postgres::url(&database_ca_file, port_of(ports, "postgres")));
        Self {
            ports: ports.clone(),
            database_ca_file,
            database_url,
        }
    }

    /// The addresses of the instance's last run.
    pub fn from_last_run(instance: &Instance) -> Self {
        Self::new(
            instance,
            &ports::last_used(instance),
            load_external_database(instance),
        )
    }

    /// The addresses that our own services use: those of the fault injection proxies, if the instance has
    /// them.
    pub fn via_proxies(&self) -> Self {
        let mut addresses = self.clone();
        for (name, port) in &self.ports {
            if let Some(service) = proxied_service(name) {
                addresses.ports.insert(service.to_owned(), *port);
            }
        }
        if self.has_own_database() {
            addresses.database_url = addresses.own_database_url();
        }
        addresses
    }

    fn has_own_database(&self) -> bool {
        self.database_url == self.own_database_url()
    }

    fn own_database_url(&self) -> String {
        postgres::url(&self.database_ca_file, self.port("postgres"))
    }

    /// The database with a program's role as the user.
    pub fn database_url_of(&self, role: &str) -> String {
        let Some((scheme, rest)) = self.database_url.split_once("://") else {
            // core-api reports what is wrong with it.
            return self.database_url.clone();
        };
        let address = rest.split_once('@').map_or(rest, |(_, address)| address);
        format!("{scheme}://{role}:{}@{address}", self.role_password(role))
    }

    /// The password of a program's role. In an external database it can be guessed by those only who know the
    /// owner's URL.
    pub fn role_password(&self, role: &str) -> String {
        if self.has_own_database() {
            role.to_owned()
        } else {
            digest::sha256_hex(format!("{role} {}", self.database_url).as_bytes())
        }
    }

    /// The port of a service on 127.0.0.1; 0 when the instance does not run this service.
    pub fn port(&self, service: &str) -> u16 {
        port_of(&self.ports, service)
    }

    fn url(&self, service: &str) -> String {
        format!("http://127.0.0.1:{}", self.port(service))
    }

    /// The API gateway: the public entry point, and the issuer of user tokens. Every client uses this address
    /// and not a proxy, because tokens contain it as their issuer.
    pub fn gateway_url(&self) -> String {
        format!("{}/_aws/execute-api/matsuri/$default", self.aws_endpoint_url())
    }

    /// The WebSocket API, for clients: the output `WebSocketApiUrl` of the template in the local AWS.
    pub fn websocket_api_url(&self) -> String {
        let gateway = format!("{}/_aws/execute-api", self.aws_endpoint_url());
        format!("{}/matsuri-realtime/live", gateway.replacen("http", "ws", 1))
    }

    /// core-api behind the gateway.
    pub fn core_api_url(&self) -> String {
        self.url("core-api")
    }

    pub fn stock_service_url(&self) -> String {
        self.url("stock-service")
    }

    /// The payment provider simulator.
    pub fn payment_provider_url(&self) -> String {
        self.url("payment-provider")
    }

    /// The OpenID Connect provider that replaces Google, if the instance runs one.
    pub fn identity_provider_url(&self) -> Option<String> {
        self.ports
            .contains_key("identity-provider")
            .then(|| self.url("identity-provider"))
    }

    /// The local AWS; all AWS services share one endpoint.
    pub fn aws_endpoint_url(&self) -> String {
        self.url("ministack")
    }

    /// The Redis in which core-api counts requests for its rate limits and stock-service shares levels, if
    /// the instance runs one.
    pub fn redis_url(&self) -> Option<String> {
        self.ports
            .contains_key("redis")
            .then(|| redis::url(self.port("redis")))
    }

    /// Removes Redis, because this machine has none.
    pub fn remove_redis(&mut self) {
        self.ports.remove("redis");
    }

    /// The control API of fault injection, if the instance has it.
    pub fn faults_url(&self) -> Option<String> {
        self.ports
            .contains_key(FAULT_INJECTION)
            .then(|| self.url(FAULT_INJECTION))
    }

    /// The database for display. The URL of an external database is hidden, because it may contain a real
    /// password.
    pub fn display_database(&self) -> String {
        if self.has_own_database() {
            self.database_url.clone()
        } else {
            "external, from DATABASE_URL".to_owned()
        }
    }

    /// The variables that make every AWS client use the local AWS and never a real account.
    pub fn aws_env(&self) -> Vec<(String, String)> {
        to_env_vars([
            ("AWS_ENDPOINT_URL", self.aws_endpoint_url()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ])
    }

    /// All variables that a developer's shell or a test needs, except PATH.
    pub fn env_vars(&self, instance: &Instance) -> Vec<(String, String)> {
        let mut all = self.aws_env();
        all.extend(to_env_vars([
            ("HTTP_API_URL", self.gateway_url()),
            ("WS_API_URL", self.websocket_api_url()),
            ("CORE_API_URL", self.core_api_url()),
            ("STOCK_SERVICE_URL", self.stock_service_url()),
            ("PAYMENT_API_URL", self.payment_provider_url()),
            ("DATABASE_URL", self.database_url.clone()),
            ("MATSURI_LOCAL", instance.directory().display().to_string()),
            ("MATSURI_KEYS", instance.keys_dir().display().to_string()),
            // Makes the query macros read the committed .sqlx, so that builds do not need the database of
            // DATABASE_URL.
            ("SQLX_OFFLINE", "true".to_owned()),
            ("AWS_PAGER", String::new()),
            ("DISABLE_DEPRECATION_NOTICE", "1".to_owned()),
        ]));
        all.extend(self.redis_url().map(|url| ("REDIS_URL".to_owned(), url)));
        all.extend(self.faults_url().map(|url| ("FAULTS_URL".to_owned(), url)));
        all
    }

    /// Writes the instance's `env` file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_env_file(&self, instance: &Instance) -> Result<()> {
        let mut text = String::from(
            "# The addresses of the local system, for a shell: `. .local/env`. Written by xtask.\n",
        );
        for (name, value) in self.env_vars(instance) {
            text.push_str(&format!("export {name}={}\n", shell_quote(&value)));
        }
        let folder = shell_quote(&python::bin_dir().display().to_string());
        text.push_str(&format!("export PATH={folder}:\"$PATH\"\n"));
        // A profile or session of a real account would take precedence over the credentials above.
        text.push_str("unset AWS_PROFILE AWS_SESSION_TOKEN\n");
        let path = instance.env_file();
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The external database of the last run. It is saved because later commands run in other shells, where
/// DATABASE_URL may not be set.
fn load_external_database(instance: &Instance) -> Option<String> {
    fs::read_to_string(instance.directory().join("database_url")).ok()
}

/// Saves the URL of the external database; `None` means that the instance starts its own database.
///
/// # Errors
/// When it cannot be written.
pub fn save_external_database(instance: &Instance, url: Option<&str>) -> Result<()> {
    let path = instance.directory().join("database_url");
    match url {
        Some(url) => fs::write(&path, url).with_context(|| format!("cannot write {}", path.display())),
        None => {
            let _ = fs::remove_file(path);
            Ok(())
        }
    }
}

fn port_of(ports: &Ports, service: &str) -> u16 {
    ports.get(service).copied().unwrap_or_default()
}

/// Converts the names to owned strings, as `Command::envs` and [`crate::supervisor::ServiceSpec`] take them.
pub fn to_env_vars<const N: usize>(variables: [(&str, String); N]) -> Vec<(String, String)> {
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Quotes a value for a POSIX shell.
fn shell_quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::instance::InstanceKind;

    #[test]
    fn a_program_connects_with_its_role() {
        let mut ports = Ports::new();
        ports.insert("postgres".to_owned(), 5432);
        let instance = Instance::new(InstanceKind::Development);
        let own = Addresses::new(&instance, &ports, None).database_url_of("auth");
        assert!(
            own.starts_with("postgres://auth:auth@127.0.0.1:5432/matsuri?"),
            "{own}"
        );
        let url =
            |password: &str| format!("postgres://shop:{password}@db.example:5432/shop?sslmode=verify-full");
        let external = Addresses::new(&instance, &ports, Some(url("secret"))).database_url_of("auth");
        let password = external
            .strip_prefix("postgres://auth:")
            .and_then(|rest| rest.strip_suffix("@db.example:5432/shop?sslmode=verify-full"))
            .unwrap();
        assert_ne!(password, "auth");
        let other_owner = Addresses::new(&instance, &ports, Some(url("another"))).database_url_of("auth");
        assert_ne!(other_owner, external);
    }

    #[test]
    fn a_shell_reads_a_quoted_value_unchanged() {
        let value = "it's $HOME `date` \"two\" \\ words\nand lines";
        let output = Command::new("sh")
            .args(["-c", &format!("printf %s {}", shell_quote(value))])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }
}
