//! `cargo xtask sqlx`: does what `cargo sqlx prepare` does, without another tool to install. If
//! `SQLX_OFFLINE_DIR` names a folder, the query macros write the metadata that the database returns for each
//! query to it. So the command needs a migrated database, and a compilation of every package with queries.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::instance::{self, Instance, InstanceKind};
use crate::ports::PortReservation;
use crate::postgres::{self, Postgres};
use crate::progress::run_step;
use crate::signals::Interrupt;
use crate::supervisor::{InstanceLock, Supervisor, shutdown};
use crate::{SqlxArgs, cargo};

/// The folder of the committed metadata in the checkout.
const COMMITTED_FOLDER: &str = ".sqlx";

/// Regenerates the query metadata, or compares it (`--check`).
///
/// # Errors
/// When a migration fails, a query does not compile, or the committed metadata differs (`--check`).
pub fn run(arguments: &SqlxArgs) -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Sqlx);
    let interrupt = Interrupt::listen()?;
    let lock = InstanceLock::try_acquire(&instance)?
        .context("another `cargo xtask sqlx` of this checkout is in progress")?;
    shutdown::stop_orphans(&instance, &lock);
    postgres::wipe(&instance)?;
    let mut supervisor = Supervisor::new(&instance)?;
    let result = generate_query_data(&instance, &mut supervisor, &interrupt);
    supervisor.stop(|_| {});
    postgres::wipe(&instance)?;
    let generated = result?;
    let committed = instance::repository_root().join(COMMITTED_FOLDER);
    if arguments.check {
        compare(&generated, &committed)
    } else {
        replace(&generated, &committed)
    }
}

fn generate_query_data(
    instance: &Instance,
    supervisor: &mut Supervisor,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let mut reservation = PortReservation::for_postgres(instance)?;
    let port = reservation.ports()["postgres"];
    run_step("PostgreSQL", |step| {
        let postgres = Postgres::prepare(instance, step)?;
        reservation.release("postgres");
        supervisor.start(postgres.service_spec(port), interrupt)?;
        postgres.create_database(port)?;
        let migrations = migration_files()?;
        postgres.run_sql_files(port, &migrations)?;
        step.set_outcome(format!("{} migrations applied", migrations.len()));
        Ok(())
    })?;
    let folder = instance.directory().join("queries");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    run_step("Queries", |step| {
        let touched = touch_packages_with_queries()?;
        if touched == 0 {
            bail!("no package of the workspace depends on sqlx");
        }
        let status = step.suspend(|| {
            cargo::cargo_command()
                .args(["check", "--workspace", "--all-targets"])
                .env("DATABASE_URL", postgres::url(&postgres::ca_file(instance), port))
                .env("SQLX_OFFLINE", "false")
                .env("SQLX_OFFLINE_DIR", &folder)
                .stdin(Stdio::null())
                .status()
        });
        if !status.context("cannot run cargo")?.success() {
            bail!("the queries do not compile");
        }
        step.set_outcome(format!(
            "{} queries in {touched} packages",
            read_files(&folder)?.len()
        ));
        Ok(())
    })?;
    Ok(folder)
}

fn migration_files() -> Result<Vec<PathBuf>> {
    let folder = instance::repository_root().join("crates/database/migrations");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        let name = path.to_string_lossy();
        name.ends_with(".sql") && !name.ends_with(".down.sql")
    });
    files.sort();
    Ok(files)
}

/// Makes cargo compile each package again that depends on sqlx, because cargo does not know that the macros
/// depend on the database. Returns the number of packages.
fn touch_packages_with_queries() -> Result<usize> {
    let output = cargo::cargo_command()
        .args(["metadata", "--no-deps", "--format-version=1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo metadata")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata did not print JSON")?;
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let packages: Vec<Value> = list(&metadata, "packages")
        .into_iter()
        .filter(|package| {
            list(package, "dependencies")
                .iter()
                .any(|dependency| dependency["name"] == "sqlx")
        })
        .collect();
    for target in packages.iter().flat_map(|package| list(package, "targets")) {
        if let Some(path) = target["src_path"].as_str() {
            File::options()
                .append(true)
                .open(path)?
                .set_modified(SystemTime::now())?;
        }
    }
    Ok(packages.len())
}

fn read_files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    if !folder.exists() {
        return Ok(BTreeMap::new());
    }
    fs::read_dir(folder)?
        .map(|entry| {
            let entry = entry?;
            Ok((
                entry.file_name().to_string_lossy().into_owned(),
                fs::read(entry.path())?,
            ))
        })
        .collect()
}

fn compare(generated: &Path, committed: &Path) -> Result<ExitCode> {
    let (generated, committed) = (read_files(generated)?, read_files(committed)?);
    if generated == committed {
        anstream::eprintln!("  {COMMITTED_FOLDER} is up to date");
        return Ok(ExitCode::SUCCESS);
    }
    for (name, content) in &generated {
        match committed.get(name) {
            None => anstream::eprintln!("  missing: {name}"),
            Some(old) if old != content => anstream::eprintln!("  differs: {name}"),
            Some(_) => {}
        }
    }
    for name in committed.keys().filter(|name| !generated.contains_key(*name)) {
        anstream::eprintln!("  no query for: {name}");
    }
    bail!("{COMMITTED_FOLDER} is not up to date; run `cargo xtask sqlx`")
}

fn replace(generated: &Path, committed: &Path) -> Result<ExitCode> {
    let _ = fs::remove_dir_all(committed);
    fs::create_dir_all(committed)?;
    let generated = read_files(generated)?;
    for (name, content) in &generated {
        fs::write(committed.join(name), content)?;
    }
    anstream::eprintln!("  {COMMITTED_FOLDER} holds {} queries", generated.len());
    Ok(ExitCode::SUCCESS)
}
