//! Databases of benchmarks, on the system's PostgreSQL server.

use std::process::Command;

use anyhow::{Context as _, ensure};
use sqlx::{Connection as _, Executor as _, PgConnection};

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
    let (server_url, _) = system_url
        .rsplit_once('/')
        .context("DATABASE_URL has no database name")?;
    Ok(format!("{server_url}/{name}"))
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
