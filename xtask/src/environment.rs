//! Addresses of a running system, and the shell assignments that lead to it.

use std::fs;

use anyhow::{Context, Result};

use crate::instance::Instance;
use crate::ports::{FAULT_INJECTION, Ports};
use crate::{ports, postgres, python, redis};

/// The region of everything, locally as in the cloud.
pub const REGION: &str = "ap-northeast-1";

/// Where the programs of one instance listen.
#[derive(Debug, Clone)]
pub struct Addresses {
    ports: Ports,
    /// The database, ours or the one that `DATABASE_URL` named.
    pub database_url: String,
}

impl Addresses {
    /// The addresses that follow from ports, and from a database elsewhere if there is one.
    pub fn new(ports: &Ports, external_database: Option<String>) -> Self {
        let database_url = external_database.unwrap_or_else(|| postgres::url(port_of(ports, "postgres")));
        Self {
            ports: ports.clone(),
            database_url,
        }
    }

    /// The addresses of the instance's last start.
    pub fn from_last_run(instance: &Instance) -> Self {
        Self::new(&ports::last_used(instance), load_external_database(instance))
    }

    /// The addresses as our own programs are given them: those of the proxies, in a system that has faults.
    pub fn via_proxies(&self) -> Self {
        let mut seen = self.clone();
        for (name, port) in &self.ports {
            if let Some(behind) = name.strip_prefix("faults-") {
                seen.ports.insert(behind.to_owned(), *port);
            }
        }
        if self.database_url == postgres::url(self.port("postgres")) {
            seen.database_url = postgres::url(seen.port("postgres"));
        }
        seen
    }

    /// The port of a program on 127.0.0.1.
    pub fn port(&self, program: &str) -> u16 {
        port_of(&self.ports, program)
    }

    fn url(&self, program: &str) -> String {
        format!("http://127.0.0.1:{}", self.port(program))
    }

    /// The front door: where clients come in, and who issues people's tokens. It is the address that stands in tokens, so
    /// it leads around the proxies for everybody.
    pub fn gateway_url(&self) -> String {
        format!("{}/_aws/execute-api/matsuri/$default", self.aws_endpoint_url())
    }

    /// The shop's REST API behind it.
    pub fn core_api_url(&self) -> String {
        self.url("core-api")
    }

    /// The stock service.
    pub fn stock_service_url(&self) -> String {
        self.url("stock-service")
    }

    /// The payment provider's stand-in.
    pub fn payment_provider_url(&self) -> String {
        self.url("payment-provider")
    }

    /// The OpenID Connect provider in Google's place, where there is one.
    pub fn identity_provider_url(&self) -> Option<String> {
        self.ports
            .contains_key("identity-provider")
            .then(|| self.url("identity-provider"))
    }

    /// The local AWS, all of its services.
    pub fn aws_endpoint_url(&self) -> String {
        self.url("ministack")
    }

    /// Where core-api counts what everybody asks for, if this machine has a Redis.
    pub fn redis_url(&self) -> Option<String> {
        self.ports
            .contains_key("redis")
            .then(|| redis::url(self.port("redis")))
    }

    /// Forgets Redis, because there is none on this machine.
    pub fn remove_redis(&mut self) {
        self.ports.remove("redis");
    }

    /// What disturbs the system on command, if this one has it.
    pub fn faults_url(&self) -> Option<String> {
        self.ports
            .contains_key(FAULT_INJECTION)
            .then(|| self.url(FAULT_INJECTION))
    }

    /// The database as a person may see it: ours with its password, another one without.
    pub fn display_database(&self) -> String {
        let ours = postgres::url(self.port("postgres"));
        if self.database_url == ours {
            ours
        } else {
            "the one that DATABASE_URL names".to_owned()
        }
    }

    /// What every AWS client needs to reach the local AWS and never another one.
    pub fn aws_env(&self) -> Vec<(String, String)> {
        to_env_vars([
            ("AWS_ENDPOINT_URL", self.aws_endpoint_url()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ])
    }

    /// Everything that a developer's shell or a test needs, but for the PATH.
    pub fn env_vars(&self, instance: &Instance) -> Vec<(String, String)> {
        let mut all = self.aws_env();
        all.extend(to_env_vars([
            ("HTTP_API_URL", self.gateway_url()),
            ("CORE_API_URL", self.core_api_url()),
            ("STOCK_SERVICE_URL", self.stock_service_url()),
            ("PAYMENT_API_URL", self.payment_provider_url()),
            ("DATABASE_URL", self.database_url.clone()),
            ("MATSURI_LOCAL", instance.directory().display().to_string()),
            ("MATSURI_KEYS", instance.keys_dir().display().to_string()),
            // The query macros read the committed .sqlx, whether or not the database of DATABASE_URL runs.
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
        // A profile or a session of the real AWS would go before the credentials above.
        text.push_str("unset AWS_PROFILE AWS_SESSION_TOKEN\n");
        let path = instance.env_file();
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The database that the last start was told to use instead of one of ours; remembered, because the commands that
/// come later run in other shells.
fn load_external_database(instance: &Instance) -> Option<String> {
    fs::read_to_string(instance.directory().join("database_url")).ok()
}

/// Remembers a database that is not ours, or that there is none.
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

fn port_of(ports: &Ports, program: &str) -> u16 {
    ports.get(program).copied().unwrap_or_default()
}

/// Variables in the form that commands take them.
pub fn to_env_vars<const N: usize>(variables: [(&str, String); N]) -> Vec<(String, String)> {
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A value that a shell reads back as it is.
fn shell_quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let nasty = "it's $HOME `date` \"two\" \\ words\nand lines";
        let output = Command::new("sh")
            .args(["-c", &format!("printf %s {}", shell_quote(nasty))])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), nasty);
    }
}
