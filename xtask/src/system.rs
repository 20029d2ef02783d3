//! The whole system of one instance: how it comes up, step by step, and what is done when a part of it dies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread;

use anyhow::Result;
use rustix::process::Signal;
use uuid::Uuid;

use crate::cargo::Executables;
use crate::commands::token;
use crate::environment::{Addresses, save_external_database};
use crate::instance::{Instance, InstanceKind};
use crate::ports::PortReservation;
use crate::postgres::Postgres;
use crate::progress::{GREEN, RED, YELLOW, run_step};
use crate::signals::Interrupt;
use crate::supervisor::{POLL_INTERVAL, ProcessId, ServiceEvent, ServiceSpec, Supervisor, shutdown};
use crate::{cargo, deployment, gateway, keys, ministack, postgres, python, redis, seed, services};

/// A system that is up.
#[derive(Debug)]
pub struct RunningSystem {
    instance: Instance,
    supervisor: Supervisor,
    /// Where everything listens.
    pub addresses: Addresses,
    executables: Executables,
    redis_executable: Option<PathBuf>,
}

/// Does what needs no running program: Python environment, keys, builds.
///
/// # Errors
/// That of the step that failed, or that we were asked to stop.
pub fn prepare(instance: &Instance, interrupt: &Interrupt) -> Result<Executables> {
    let result = prepare_keys(instance).and_then(|()| build_executables(instance.kind()));
    // A Ctrl-C reaches pip and cargo as well, and their failure is then none.
    interrupt.check()?;
    result
}

/// Makes the keys, and before them the Python environment that makes keys.
///
/// # Errors
/// That of the step that failed.
pub fn prepare_keys(instance: &Instance) -> Result<()> {
    fs::create_dir_all(instance.directory())?;
    run_step("Python environment", |step| python::LOCAL_SYSTEM.install(step))?;
    run_step("Keys", |step| {
        let made = keys::create_missing(instance)?;
        step.set_outcome(if made { "made" } else { "there" });
        Ok(())
    })
}

/// Builds the programs, as a step.
///
/// # Errors
/// When they do not compile.
pub fn build_executables(kind: InstanceKind) -> Result<Executables> {
    run_step("Programs", |step| {
        let built = step.suspend(match kind {
            kind if kind.has_fault_injection() => cargo::build_with_tests,
            InstanceKind::Bench => cargo::build_release,
            _ => cargo::build,
        })?;
        step.set_outcome(format!("{} built by cargo", built.len()));
        Ok(built)
    })
}

/// Removes the instance's data: database, local AWS, payments. Keys and logs stay.
///
/// # Errors
/// When something cannot be removed.
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
    /// Brings everything up. The caller holds the instance's lock.
    ///
    /// # Errors
    /// That of the step that failed; what had been started is stopped again.
    pub fn start(
        instance: &Instance,
        built: Executables,
        database: Option<String>,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut reservation = PortReservation::for_instance(instance, database.is_none())?;
        for sentence in &reservation.conflicts {
            anstream::eprintln!("  {YELLOW}!{YELLOW:#} {sentence}");
        }
        reservation.save(instance)?;
        save_external_database(instance, database.as_deref())?;
        let addresses = Addresses::new(reservation.ports(), database.clone());
        fs::create_dir_all(instance.payments_dir())?;
        let supervisor = Supervisor::new(instance)?;
        let mut system = Self {
            instance: instance.clone(),
            supervisor,
            addresses,
            executables: built,
            redis_executable: None,
        };
        let result = system.start_services(database.is_some(), &mut reservation, interrupt);
        match result {
            Ok(()) => Ok(system),
            Err(error) => {
                system.stop();
                // A Ctrl-C reaches the commands of a step as well, and their failure is then none.
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
            let faults = services::fault_injection(&instance, &self.addresses, &self.executables)?;
            self.start_service(faults, "Faults", reservation, interrupt)?;
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
        run_step("Front door", |step| {
            gateway::wait_until_ready(&self.addresses, interrupt)?;
            step.set_outcome(self.addresses.gateway_url());
            Ok(())
        })?;
        run_step("Catalogue", |step| {
            let products = seed::seed_catalog(&instance, &self.addresses, &self.executables)?;
            step.set_outcome(products.map_or_else(
                || "there".to_owned(),
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
                // The tests see what becomes of the limits when it dies; for everything else it may be missing.
                Err(error) if instance.kind() == InstanceKind::Development => {
                    self.addresses.remove_redis();
                    step.set_outcome(format!("none, so core-api counts for itself: {error}"));
                }
                Err(error) => return Err(error),
            }
            Ok(())
        })
    }

    fn start_service(
        &mut self,
        program: ServiceSpec,
        title: &str,
        reservation: &mut PortReservation,
        interrupt: &Interrupt,
    ) -> Result<()> {
        reservation.release(program.name);
        let port = program.port;
        run_step(title, |step| {
            self.supervisor.start(program, interrupt)?;
            step.set_outcome(format!("127.0.0.1:{port}"));
            Ok(())
        })
    }

    /// Looks after the programs once: reports what died and what is back, and repairs what follows from it.
    ///
    /// # Errors
    /// When the state can no longer be written.
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

    /// Keeps the system up until a program beside it has ended; its end is told.
    ///
    /// # Errors
    /// When it cannot be waited for, or the state can no longer be written.
    pub fn supervise_until_exit(&mut self, mut child: Child, interrupt: &Interrupt) -> Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if interrupt.is_set()
                && let Some(process) = ProcessId::from_pid(child.id())
            {
                // It stops what it has started for itself. A Ctrl-C has reached it as well, a SIGTERM has not.
                shutdown::send_signal(&process, Signal::TERM);
            }
            self.poll(interrupt)?;
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// The local AWS writes its state only when it stops in good order: one that was killed knows what it knew at its
    /// last good end, which may be nothing.
    fn redeploy_after_restart(&self) {
        match deployment::deploy(&self.instance, &self.addresses, &self.executables) {
            Ok(outcome) => {
                let deployed = match outcome {
                    deployment::DeployOutcome::Deployed => "; template and functions are deployed again",
                    deployment::DeployOutcome::Unchanged => "",
                };
                anstream::eprintln!(
                    "{YELLOW}!{YELLOW:#} the local AWS is as it was when it last stopped in good order, what it took in \
                     since is gone{deployed}"
                );
            }
            Err(error) => {
                anstream::eprintln!("{RED}✗{RED:#} the deployment could not be repaired: {error:#}")
            }
        }
    }

    fn restart_rebuilt_services(&mut self, interrupt: &Interrupt) {
        match self.supervisor.restart_rebuilt(interrupt) {
            Ok(names) if names.is_empty() => {}
            Ok(names) => anstream::eprintln!(
                "{GREEN}✓{GREEN:#} rebuilt and started again: {}",
                names.join(", ")
            ),
            Err(error) => anstream::eprintln!("{RED}✗{RED:#} after the rebuild: {error:#}"),
        }
    }

    /// Stops everything in good order: first the way in, then, when the orders under way have ended, the rest.
    pub fn stop(mut self) {
        let _ = run_step("Stopping", |step| {
            let mut unfinished = 0;
            self.supervisor.stop(|name| {
                step.set_message(name);
                if name == "stock-service" {
                    unfinished = ministack::wait_for_executions(&self.addresses);
                }
            });
            step.set_outcome(match unfinished {
                0 => "everything is down".to_owned(),
                // The local AWS brings an execution that it was stopped in back as a failed one.
                orders => format!("everything is down; orders cut off on their way: {orders}"),
            });
            Ok(())
        });
    }

    /// A token for a person, who gets an account.
    ///
    /// # Errors
    /// When the database does not take the account.
    pub fn user_token(&self, person: Uuid, role: &str, email: &str) -> Result<String> {
        token::for_user(
            (&self.instance, &self.addresses, &self.executables),
            person,
            role,
            email,
        )
    }

    /// The program of Redis' server, if this machine has one.
    pub fn redis_executable(&self) -> Option<&Path> {
        self.redis_executable.as_deref()
    }

    /// The instance that this is the system of.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }
}

/// Applies the migrations, as a step.
///
/// # Errors
/// When one fails.
pub fn migrate(instance: &Instance, addresses: &Addresses, built: &Executables) -> Result<()> {
    run_step("Migrations", |step| {
        seed::migrate(instance, addresses, built)?;
        step.set_outcome("the database is up to date");
        Ok(())
    })
}

/// What came of a deployment, for the end of its line.
pub fn describe_outcome(outcome: deployment::DeployOutcome) -> &'static str {
    match outcome {
        deployment::DeployOutcome::Deployed => "template and functions deployed",
        deployment::DeployOutcome::Unchanged => "unchanged",
    }
}

/// The database that the person wants instead of ours. One that stands in the environment because an env file of ours
/// was read is no such wish.
pub fn external_database_from_env(instance: &Instance) -> Option<String> {
    if instance.kind() != InstanceKind::Development {
        return None;
    }
    let url = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty())?;
    let Ok(origin) = std::env::var("MATSURI_LOCAL") else {
        return Some(url);
    };
    let of_env_file =
        fs::read_to_string(format!("{origin}/env")).is_ok_and(|text| text.contains(&format!("'{url}'")));
    let is_external =
        fs::read_to_string(format!("{origin}/database_url")).is_ok_and(|external| external == url);
    (is_external || !of_env_file).then_some(url)
}
