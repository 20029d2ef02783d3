//! Migrates the database, and seeds the catalog, its opening stock and accounts.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::cargo::Executables;
use crate::commands::token;
use crate::environment::Addresses;
use crate::instance::{self, Instance};
use crate::{digest, http, services};

/// How many threads post adjustments concurrently. stock-service processes waiting adjustments as one batch.
const WORKERS: usize = 16;

#[derive(Debug, Deserialize)]
struct SeedProduct {
    id: String,
    quantity: i64,
}

/// # Errors
/// When a migration fails; the error holds the output of core-api.
pub fn migrate(instance: &Instance, addresses: &Addresses, executables: &Executables) -> Result<()> {
    let environment = services::database_owner_env(addresses);
    run_core_api(instance, environment, executables, &["migrate".into()]).map_err(|error| {
        if error.to_string().contains("was previously applied") {
            error.context(
                "another version of Matsuri created the tables; `cargo xtask up --fresh` deletes all data \
                 (an external database must be emptied by its owner)",
            )
        } else {
            error
        }
    })
}

/// Seeds the catalog through core-api and its opening stock through stock-service. Does so only once per
/// catalog file and database, so that later changes survive a restart. Each adjustment uses the product's id
/// as its id and so is applied at most once: a changed catalog file adds new products and leaves the stock of
/// the others as it is.
///
/// Returns the number of products, or `None` when this catalog was seeded before.
///
/// # Errors
/// When core-api or stock-service rejects it.
pub fn seed_catalog(
    instance: &Instance,
    addresses: &Addresses,
    executables: &Executables,
) -> Result<Option<usize>> {
    let catalog_file = instance::repository_root().join("fixtures/catalog/products.json");
    let content =
        fs::read(&catalog_file).with_context(|| format!("cannot read {}", catalog_file.display()))?;
    let stamp = format!("{} {}\n", digest::sha256_hex(&content), addresses.database_url);
    if fs::read_to_string(stamp_file(instance)).is_ok_and(|seeded| seeded == stamp) {
        return Ok(None);
    }
    run_core_api(
        instance,
        services::core_api_env(addresses),
        executables,
        &["seed".into(), catalog_file.clone()],
    )?;
    let products: Vec<SeedProduct> = serde_json::from_slice(&content)
        .with_context(|| format!("{} is not a valid catalog", catalog_file.display()))?;
    let token = token::for_service(instance, "xtask")?;
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let worker = || {
            while let Some(product) = products.get(next.fetch_add(1, Ordering::Relaxed)) {
                post_opening_stock(addresses, &token, product)?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })?;
    fs::write(stamp_file(instance), stamp)?;
    Ok(Some(products.len()))
}

/// Creates an account, or updates the role and the e-mail address of an existing one.
///
/// # Errors
/// When another account has the e-mail address.
pub fn upsert_account(
    (instance, addresses, executables): (&Instance, &Addresses, &Executables),
    user: Uuid,
    email: &str,
    role: &str,
) -> Result<()> {
    let user = user.to_string();
    let arguments = ["account", "--id", &user, "--email", email, "--role", role];
    let environment = services::database_owner_env(addresses);
    run_core_api(instance, environment, executables, &arguments.map(PathBuf::from))
}

/// Removes the record that the catalog was seeded; call this when the data is removed.
pub fn remove_stamp(instance: &Instance) {
    let _ = fs::remove_file(stamp_file(instance));
}

fn stamp_file(instance: &Instance) -> PathBuf {
    instance.directory().join("seeded")
}

fn post_opening_stock(addresses: &Addresses, token: &str, product: &SeedProduct) -> Result<()> {
    // stock-service rejects an adjustment by 0. Such a product has no stock until an operator adds some.
    if product.quantity == 0 {
        return Ok(());
    }
    let url = format!(
        "{}/v1/stock/{}/adjustments",
        addresses.stock_service_url(),
        product.id
    );
    let body = json!({ "adjustment_id": product.id, "delta": product.quantity, "reason": "opening stock" });
    let mut response = http::client()
        .post(&url)
        .header("authorization", format!("Bearer {token}"))
        .send_json(&body)
        .with_context(|| format!("no response from {url}"))?;
    if !response.status().is_success() {
        // The status alone is worth reporting when the body cannot be read.
        let body = response.body_mut().read_to_string().unwrap_or_default();
        bail!("{url} responded with {}: {body}", response.status());
    }
    Ok(())
}

fn run_core_api(
    instance: &Instance,
    environment: Vec<(String, String)>,
    executables: &Executables,
    arguments: &[PathBuf],
) -> Result<()> {
    let output = Command::new(services::executable_path(executables, "core-api")?)
        .args(arguments)
        .env_clear()
        .envs(services::base_env(instance))
        .envs(environment)
        .stdin(Stdio::null())
        .output()
        .context("cannot run core-api")?;
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        bail!(
            "core-api {} failed:\n{}",
            arguments[0].display(),
            String::from_utf8_lossy(&printed).trim()
        );
    }
    Ok(())
}
