//! Starts, supervises and stops the whole system of one instance.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;

use anyhow::{Context, Result};
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use uuid::Uuid;

use crate::cargo::Executables;
use crate::commands::token;
use crate::environment::{Addresses, save_external_database};
use crate::instance::{Instance, InstanceKind};
use crate::ports::PortReservation;
use crate::postgres::Postgres;
use crate::progress::{GREEN, RED, YELLOW, run_step};
use crate::signals::Interrupt;
use crate::supervisor::{POLL_INTERVAL, ServiceEvent, ServiceSpec, Supervisor, signal_process_group};
use crate::{cargo, deployment, gateway, keys, ministack, postgres, python, redis, seed, services};

/// How many files and connections a process of the system can open: enough for thousands of WebSocket
/// clients.
const OPEN_FILES: u64 = 10_240;

/// A running system. It stops when the value is dropped.
#[derive(Debug)]
pub struct RunningSystem {
    instance: Instance,
    supervisor: Supervisor,
    pub addresses: Addresses,
    executables: Executables,
    redis_executable: Option<PathBuf>,
}

/// Runs the steps that need no running service: Python environment, keys, builds.
///
/// # Errors
/// When a step fails, or the user interrupts the command.
pub fn prepare(instance: &Instance, interrupt: &Interrupt) -> Result<Executables> {
    let result = prepare_keys(instance).and_then(|()| build_executables(instance.kind()));
    // Ctrl-C also ends pip and cargo; their failure is then an interruption and not an error.
    interrupt.check()?;
    result
}

/// Installs the Python environment, which generates RSA keys, and creates the missing keys.
///
/// # Errors
/// When a step fails.
pub fn prepare_keys(instance: &Instance) -> Result<()> {
    fs::create_dir_all(instance.directory())?;
    run_step("Python environment", |step| python::LOCAL_SYSTEM.install(step))?;
    run_step("Keys", |step| {
        let created = keys::create_missing(instance)?;
        step.set_outcome(if created { "created" } else { "exist" });
        Ok(())
    })
}

/// Builds the executables that this kind of instance runs.
///
/// # Errors
/// When they do not compile.
pub fn build_executables(kind: InstanceKind) -> Result<Executables> {
    run_step("Build", |step| {
        let executables = step.suspend(match kind {
            kind if kind.has_fault_injection() => cargo::build_with_tests,
            InstanceKind::Bench => cargo::build_release,
            _ => cargo::build,
        })?;
        step.set_outcome(format!("{} executables", executables.len()));
        Ok(executables)
    })
}

/// Removes the instance's data: database, local AWS, payments. Keeps keys and logs.
///
/// # Errors
/// When a folder cannot be removed.
pub fn wipe(instance: &Instance) -> Result<()> {
    seed::remove_stamp(instance);
    postgres::wipe(instance)?;
    for folder in [instance.ministack_dir(), instance.payments_dir()] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

impl RunningSystem {
    /// Starts every service and deploys the functions. The caller must hold the instance's lock.
    ///
    /// # Errors
    /// When a step fails; the services that have started are stopped again.
    pub fn start(
        instance: &Instance,
        executables: Executables,
        external_database: Option<String>,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        raise_open_files_limit()?;
        let mut reservation = PortReservation::for_instance(instance, external_database.is_none())?;
        for conflict in &reservation.conflicts {
            anstream::eprintln!("  {YELLOW}!{YELLOW:#} {conflict}");
        }
        reservation.save(instance)?;
        save_external_database(instance, external_database.as_deref())?;
        let addresses = Addresses::new(instance, reservation.ports(), external_database.clone());
        fs::create_dir_all(instance.payments_dir())?;
        let supervisor = Supervisor::new(instance)?;
        let mut system = Self {
            instance: instance.clone(),
            supervisor,
            addresses,
            executables,
            redis_executable: None,
        };
        let result = system.start_services(external_database.is_some(), &mut reservation, interrupt);
        match result {
            Ok(()) => Ok(system),
            Err(error) => {
                system.stop();
                // Ctrl-C also ends the commands of a step; their failure is then an interruption and not an
                // error.
                interrupt.check()?;
                Err(error)
            }
        }
    }

    fn start_services(
        &mut self,
        database_is_external: bool,
        reservation: &mut PortReservation,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let instance = self.instance.clone();
        if !database_is_external {
            self.start_postgres(reservation, interrupt)?;
        }
        self.start_redis(reservation, interrupt)?;
        if instance.kind().has_fault_injection() {
            let fault_injection = services::fault_injection(&instance, &self.addresses, &self.executables)?;
            self.start_service(fault_injection, "fault-injection", reservation, interrupt)?;
        }
        ministack::update_persisted_port(&instance, self.addresses.port("ministack"))?;
        self.start_service(
            ministack::service_spec(&instance, &self.addresses),
            "Local AWS",
            reservation,
            interrupt,
        )?;
        migrate(&instance, &self.addresses, &self.executables)?;
        interrupt.check()?;
        run_step("Deployment", |step| {
            let outcome = deployment::deploy(&instance, &self.addresses, &self.executables)?;
            step.set_outcome(describe_outcome(outcome));
            Ok(())
        })?;
        interrupt.check()?;
        let payment_provider = services::payment_provider(&instance, &self.addresses, &self.executables)?;
        self.start_service(payment_provider, "payment-provider", reservation, interrupt)?;
        if instance.kind() == InstanceKind::Test {
            let localstripe = services::localstripe(&instance, &self.addresses);
            self.start_service(localstripe, "localstripe", reservation, interrupt)?;
            let identity_provider = services::identity_provider(&instance, &self.addresses);
            self.start_service(identity_provider, "identity-provider", reservation, interrupt)?;
        }
        let stock_service = services::stock_service(&instance, &self.addresses, &self.executables)?;
        self.start_service(stock_service, "stock-service", reservation, interrupt)?;
        let core_api = services::core_api(&instance, &self.addresses, &self.executables)?;
        self.start_service(core_api, "core-api", reservation, interrupt)?;
        run_step("API gateway", |step| {
            gateway::wait_until_ready(&self.addresses, interrupt)?;
            step.set_outcome(self.addresses.gateway_url());
            Ok(())
        })?;
        run_step("Catalog", |step| {
            let products = seed::seed_catalog(&instance, &self.addresses, &self.executables)?;
            step.set_outcome(products.map_or_else(
                || "exists".to_owned(),
                |products| format!("{products} products with opening stock"),
            ));
            Ok(())
        })?;
        self.addresses.write_env_file(&instance)?;
        self.supervisor.mark_ready()
    }

    fn start_postgres(&mut self, reservation: &mut PortReservation, interrupt: &Interrupt) -> Result<()> {
        let port = self.addresses.port("postgres");
        run_step("PostgreSQL", |step| {
            let postgres = Postgres::prepare(&self.instance, step)?;
            reservation.release("postgres");
            self.supervisor.start(postgres.service_spec(port), interrupt)?;
            postgres.create_database(port)?;
            step.set_outcome(format!("127.0.0.1:{port}"));
            Ok(())
        })
    }

    fn start_redis(&mut self, reservation: &mut PortReservation, interrupt: &Interrupt) -> Result<()> {
        let instance = self.instance.clone();
        let port = self.addresses.port("redis");
        run_step("Redis", |step| {
            reservation.release("redis");
            match redis::find_or_install(step) {
                Ok(executable) => {
                    self.redis_executable = Some(executable.clone());
                    self.supervisor
                        .start(redis::service_spec(&instance, executable, port), interrupt)?;
                    step.set_outcome(format!("127.0.0.1:{port}"));
                }
                // Tests kill Redis to check the rate limits without it, so they need one. Development does
                // not.
                Err(error) if instance.kind() == InstanceKind::Development => {
                    self.addresses.remove_redis();
                    step.set_outcome(format!("none; core-api keeps rate limits in memory: {error}"));
                }
                Err(error) => return Err(error),
            }
            Ok(())
        })
    }

    fn start_service(
        &mut self,
        spec: ServiceSpec,
        title: &str,
        reservation: &mut PortReservation,
        interrupt: &Interrupt,
    ) -> Result<()> {
        reservation.release(spec.name);
        let port = spec.port;
        run_step(title, |step| {
            self.supervisor.start(spec, interrupt)?;
            step.set_outcome(format!("127.0.0.1:{port}"));
            Ok(())
        })
    }

    /// Polls the supervisor once: prints exits and recoveries, redeploys to a restarted local AWS, and
    /// restarts rebuilt services.
    ///
    /// # Errors
    /// When the state file cannot be written.
    pub fn poll(&mut self, interrupt: &Interrupt) -> Result<()> {
        for event in self.supervisor.poll()? {
            match event {
                ServiceEvent::Died { report } => anstream::eprintln!("{RED}✗{RED:#} {report}"),
                ServiceEvent::Recovered { name, report } => {
                    anstream::eprintln!("{GREEN}✓{GREEN:#} {report}");
                    if name == "ministack" {
                        self.redeploy_after_restart();
                    }
                }
            }
        }
        if interrupt.take_restart_request() {
            self.restart_rebuilt_services(interrupt);
        }
        Ok(())
    }

    /// Runs a command, and supervises the system until it exits; returns its exit status. An interrupt stops
    /// the command with all its processes: a signal to `cargo test` alone would leave the tests running.
    ///
    /// # Errors
    /// When the command cannot be started, the operating system cannot report its status, or the state file
    /// cannot be written.
    pub fn supervise_until_exit(
        &mut self,
        command: &mut Command,
        interrupt: &Interrupt,
    ) -> Result<ExitStatus> {
        let mut child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if interrupt.is_set() {
                signal_process_group(child.id(), Signal::TERM);
            }
            self.poll(interrupt)?;
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Deploys again if needed. The local AWS writes its state only in a graceful shutdown, so after a kill
    /// it restarts with the state of its last graceful shutdown, which may be empty.
    fn redeploy_after_restart(&self) {
        match deployment::deploy(&self.instance, &self.addresses, &self.executables) {
            Ok(outcome) => {
                let redeployed = match outcome {
                    deployment::DeployOutcome::Deployed => "; template and functions were deployed again",
                    deployment::DeployOutcome::Unchanged => "",
                };
                anstream::eprintln!(
                    "{YELLOW}!{YELLOW:#} the local AWS lost its changes since its last graceful \
                     shutdown{redeployed}"
                );
            }
            Err(error) => {
                anstream::eprintln!("{RED}✗{RED:#} cannot deploy to the restarted local AWS: {error:#}")
            }
        }
    }

    fn restart_rebuilt_services(&mut self, interrupt: &Interrupt) {
        match self.supervisor.restart_rebuilt(interrupt) {
            Ok(names) if names.is_empty() => {}
            Ok(names) => anstream::eprintln!(
                "{GREEN}✓{GREEN:#} restarted with the rebuilt executables: {}",
                names.join(", ")
            ),
            Err(error) => anstream::eprintln!("{RED}✗{RED:#} restart after the rebuild failed: {error:#}"),
        }
    }

    /// Stops every service: core-api first, then, when the running sagas have ended, the others.
    pub fn stop(mut self) {
        let _ = run_step("Stopping", |step| {
            let mut running_sagas = 0;
            self.supervisor.stop(|name| {
                step.set_message(name);
                if name == "stock-service" {
                    running_sagas = ministack::wait_for_executions(&self.addresses);
                }
            });
            step.set_outcome(match running_sagas {
                0 => "all services stopped".to_owned(),
                // After its restart, the local AWS reports interrupted executions as failed.
                count => format!("all services stopped; interrupted sagas: {count}"),
            });
            Ok(())
        });
    }

    /// Creates an account for a user if there is none, and returns a token for it.
    ///
    /// # Errors
    /// When another account has the e-mail address, or there is no signing key.
    pub fn user_token(&self, user: Uuid, role: &str, email: &str) -> Result<String> {
        token::for_user(
            (&self.instance, &self.addresses, &self.executables),
            user,
            role,
            email,
        )
    }

    /// The path of the Redis server, if this machine has one.
    pub fn redis_executable(&self) -> Option<&Path> {
        self.redis_executable.as_deref()
    }

    pub fn instance(&self) -> &Instance {
        &self.instance
    }
}

/// Raises the limit of open files of this process, which all processes of the system inherit, to
/// [`OPEN_FILES`] or to the highest that the operating system allows. Shells often limit it to 256 or 1,024.
fn raise_open_files_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    let highest = limit.maximum.unwrap_or(u64::MAX).min(OPEN_FILES);
    if limit.current.is_some_and(|current| current < highest) {
        limit.current = Some(highest);
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

/// Applies the database migrations.
///
/// # Errors
/// When a migration fails.
pub fn migrate(instance: &Instance, addresses: &Addresses, executables: &Executables) -> Result<()> {
    run_step("Migrations", |step| {
        seed::migrate(instance, addresses, executables)?;
        step.set_outcome("the database is up to date");
        Ok(())
    })
}

/// Describes the result of a deployment for the outcome of a step.
pub fn describe_outcome(outcome: deployment::DeployOutcome) -> &'static str {
    match outcome {
        deployment::DeployOutcome::Deployed => "template and functions deployed",
        deployment::DeployOutcome::Unchanged => "unchanged",
    }
}

/// The external database that DATABASE_URL selects. Ignores a DATABASE_URL that comes from an instance's env
/// file, because that URL is the instance's own database.
pub fn external_database_from_env(instance: &Instance) -> Option<String> {
    if instance.kind() != InstanceKind::Development {
        return None;
    }
    let url = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty())?;
    let Ok(origin) = std::env::var("MATSURI_LOCAL") else {
        return Some(url);
    };
    let is_from_env_file =
        fs::read_to_string(format!("{origin}/env")).is_ok_and(|text| text.contains(&format!("'{url}'")));
    let is_external =
        fs::read_to_string(format!("{origin}/database_url")).is_ok_and(|external| external == url);
    (is_external || !is_from_env_file).then_some(url)
}
