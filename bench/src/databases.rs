//! Databases of benchmarks, on the system's PostgreSQL server.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use sqlx::{Connection as _, Executor as _, PgConnection};
use url::Url;

use crate::context::Context;

/// Creates an empty database and drops an existing one with this name. Returns its URL.
///
/// # Errors
/// Fails when the server rejects a statement.
pub async fn create(context: &Context, name: &str) -> anyhow::Result<String> {
    let system_url = &context.addresses.database;
    let mut server = PgConnection::connect(system_url).await?;
    for statement in [
        format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        format!("CREATE DATABASE {name}"),
    ] {
        // The callers pass constant names.
        server.execute(sqlx::AssertSqlSafe(statement)).await?;
    }
    let mut url = Url::parse(system_url)?;
    url.set_path(name);
    Ok(url.into())
}

/// Returns the URL of a database with the role of a program as the user. `cargo xtask bench` sets each role's
/// name as its password.
///
/// # Errors
/// Fails when the URL is malformed.
pub fn url_of_role(database: &str, role: &str) -> anyhow::Result<String> {
    let mut url = Url::parse(database)?;
    if url.set_username(role).is_err() || url.set_password(Some(role)).is_err() {
        bail!("the URL of the database has no host");
    }
    Ok(url.into())
}

/// Creates a database with the system's schema.
///
/// # Errors
/// Fails when a migration fails.
pub async fn create_migrated(context: &Context, name: &str) -> anyhow::Result<String> {
    let database = create(context, name).await?;
    let output = Command::new(context.executable("core-api"))
        .arg("migrate")
        .env("DATABASE_URL", &database)
        .output()
        .context("cannot run core-api")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(database)
}

/// Writes dirty pages to disk, so that the next round does not pay for the previous one.
///
/// # Errors
/// Fails when the server rejects a statement.
pub async fn checkpoint(database: &str) -> anyhow::Result<()> {
    PgConnection::connect(database)
        .await?
        .execute("CHECKPOINT")
        .await?;
    Ok(())
}
