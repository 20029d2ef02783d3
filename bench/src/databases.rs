//! Databases beside the system's own, on the same server.

use std::process::Command;

use anyhow::{Context as _, ensure};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::context::Context;

/// Makes an empty database; one of this name from an earlier figure goes. Returns its address.
///
/// # Errors
/// When the server refuses.
pub async fn create(context: &Context, name: &str) -> anyhow::Result<String> {
    let own = &context.addresses.database;
    let mut server = PgConnection::connect(own).await?;
    for statement in [
        format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        format!("CREATE DATABASE {name}"),
    ] {
        // The name is a word of this program.
        server.execute(sqlx::AssertSqlSafe(statement)).await?;
    }
    let (server, _) = own
        .rsplit_once('/')
        .context("the database's address names no database")?;
    Ok(format!("{server}/{name}"))
}

/// The same with the system's tables in it.
///
/// # Errors
/// When a migration fails.
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

/// Writes out what an earlier round left in memory, so that it is not done in the next one's time.
///
/// # Errors
/// When the server refuses.
pub async fn checkpoint(database: &str) -> anyhow::Result<()> {
    PgConnection::connect(database)
        .await?
        .execute("CHECKPOINT")
        .await?;
    Ok(())
}
