//! The catalogue and its opening stock.

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

/// How many adjustments are under way at once: stock-service decides those that wait together in one transaction.
const WORKERS: usize = 16;

#[derive(Debug, Deserialize)]
struct SeedProduct {
    id: String,
    quantity: i64,
}

/// Applies the database's migrations.
///
/// # Errors
/// When one fails.
pub fn migrate(instance: &Instance, addresses: &Addresses, built: &Executables) -> Result<()> {
    run_core_api(instance, addresses, built, &["migrate".into()])
}

/// Brings the catalogue into the database and its opening stock into stock-service, once: what people change later
/// survives a restart. An adjustment has the product's id for its own and happens once as well, so that a change of
/// the catalogue's file brings new products without touching the stock of the others. Returns the number of products,
/// or nothing when this catalogue was brought before.
///
/// # Errors
/// When either refuses.
pub fn seed_catalog(
    instance: &Instance,
    addresses: &Addresses,
    built: &Executables,
) -> Result<Option<usize>> {
    let catalogue = instance::repository_root().join("fixtures/catalog/products.json");
    let content = fs::read(&catalogue).with_context(|| format!("cannot read {}", catalogue.display()))?;
    let stamp = format!("{} {}\n", digest::sha256_hex(&content), addresses.database_url);
    if fs::read_to_string(stamp_file(instance)).is_ok_and(|seeded| seeded == stamp) {
        return Ok(None);
    }
    run_core_api(instance, addresses, built, &["seed".into(), catalogue.clone()])?;
    let products: Vec<SeedProduct> = serde_json::from_slice(&content)
        .with_context(|| format!("{} is no catalogue", catalogue.display()))?;
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

/// Gives somebody an account, or one that is there the role and the address.
///
/// # Errors
/// When the database does not take it: another account has the address.
pub fn upsert_account(
    (instance, addresses, built): (&Instance, &Addresses, &Executables),
    user: Uuid,
    email: &str,
    role: &str,
) -> Result<()> {
    let user = user.to_string();
    let arguments = ["account", "--id", &user, "--email", email, "--role", role];
    run_core_api(instance, addresses, built, &arguments.map(PathBuf::from))
}

/// Forgets that there is a catalogue, when the data goes.
pub fn remove_stamp(instance: &Instance) {
    let _ = fs::remove_file(stamp_file(instance));
}

fn stamp_file(instance: &Instance) -> PathBuf {
    instance.directory().join("seeded")
}

fn post_opening_stock(addresses: &Addresses, token: &str, product: &SeedProduct) -> Result<()> {
    // An adjustment by nothing is none; such a product has no stock until somebody brings some.
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
        .with_context(|| format!("no answer from {url}"))?;
    if !response.status().is_success() {
        let answer = response.body_mut().read_to_string().unwrap_or_default();
        bail!("{url} answered {}: {answer}", response.status());
    }
    Ok(())
}

fn run_core_api(
    instance: &Instance,
    addresses: &Addresses,
    built: &Executables,
    arguments: &[PathBuf],
) -> Result<()> {
    let mut environment = services::base_env(instance);
    environment.extend(services::core_api_env(addresses));
    let output = Command::new(services::executable_path(built, "core-api")?)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .output()
        .context("cannot run core-api")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "core-api {} failed:\n{}",
            arguments[0].display(),
            String::from_utf8_lossy(&said).trim()
        );
    }
    Ok(())
}
