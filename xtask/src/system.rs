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
use crate::environment::{Addresses, remember_external_database};
use crate::paths::{Instance, Kind};
use crate::ports::Reservation;
use crate::postgres::Postgres;
use crate::progress::{GREEN, RED, YELLOW, step};
use crate::signals::Interrupt;
use crate::supervise::{Event, ProcessId, Program, Supervisor, TICK, stop};
use crate::{cargo, deployment, front_door, keys, ministack, postgres, programs, python, redis, seed};

/// A system that is up.
#[derive(Debug)]
pub struct System {
    instance: Instance,
    supervisor: Supervisor,
    /// Where everything listens.
    pub addresses: Addresses,
    built: Executables,
    redis: Option<PathBuf>,
}

/// Does what needs no running program: Python environment, keys, builds.
///
/// # Errors
/// That of the step that failed, or that we were asked to stop.
pub fn prepare(instance: &Instance, interrupt: &Interrupt) -> Result<Executables> {
    let result = prepare_keys(instance).and_then(|()| build(instance.kind()));
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
    step("Python environment", |step| python::SYSTEM.prepare(step))?;
    step("Keys", |step| {
        let made = keys::prepare(instance)?;
        step.outcome(if made { "made" } else { "there" });
        Ok(())
    })
}

/// Builds the programs, as a step.
///
/// # Errors
/// When they do not compile.
pub fn build(kind: Kind) -> Result<Executables> {
    step("Programs", |step| {
        let built = step.hand_over(match kind {
            kind if kind.has_faults() => cargo::build_with_tests,
            Kind::Bench => cargo::build_release,
            _ => cargo::build,
        })?;
        step.outcome(format!("{} built by cargo", built.len()));
        Ok(built)
    })
}

/// Removes the instance's data: database, local AWS, payments. Keys and logs stay.
///
/// # Errors
/// When something cannot be removed.
pub fn wipe(instance: &Instance) -> Result<()> {
    seed::forget(instance);
    postgres::wipe(instance)?;
    for folder in [instance.ministack(), instance.payments()] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

impl System {
    /// Brings everything up. The caller holds the instance's lock.
    ///
    /// # Errors
    /// That of the step that failed; what had been started is stopped again.
    pub fn up(
        instance: &Instance,
        built: Executables,
        database: Option<String>,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut reservation = Reservation::make(instance, database.is_none())?;
        for sentence in &reservation.moved {
            anstream::eprintln!("  {YELLOW}!{YELLOW:#} {sentence}");
        }
        reservation.remember(instance)?;
        remember_external_database(instance, database.as_deref())?;
        let addresses = Addresses::new(reservation.ports(), database.clone());
        fs::create_dir_all(instance.payments())?;
        let supervisor = Supervisor::new(instance)?;
        let mut system = Self {
            instance: instance.clone(),
            supervisor,
            addresses,
            built,
            redis: None,
        };
        let result = system.start(database.is_some(), &mut reservation, interrupt);
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

    fn start(
        &mut self,
        database_is_external: bool,
        reservation: &mut Reservation,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let instance = self.instance.clone();
        if !database_is_external {
            self.start_postgres(reservation, interrupt)?;
        }
        self.start_redis(reservation, interrupt)?;
        if instance.kind().has_faults() {
            let faults = programs::faults(&instance, &self.addresses, &self.built)?;
            self.run(faults, "Faults", reservation, interrupt)?;
        }
        ministack::adopt_port(&instance, self.addresses.port("ministack"))?;
        self.run(
            ministack::program(&instance, &self.addresses),
            "Local AWS",
            reservation,
            interrupt,
        )?;
        migrate(&instance, &self.addresses, &self.built)?;
        interrupt.check()?;
        step("Deployment", |step| {
            let outcome = deployment::deploy(&instance, &self.addresses, &self.built)?;
            step.outcome(describe(outcome));
            Ok(())
        })?;
        interrupt.check()?;
        let payment_provider = programs::payment_provider(&instance, &self.addresses, &self.built)?;
        self.run(payment_provider, "payment-provider", reservation, interrupt)?;
        if instance.kind() == Kind::Test {
            let localstripe = programs::localstripe(&instance, &self.addresses);
            self.run(localstripe, "localstripe", reservation, interrupt)?;
            let identity_provider = programs::identity_provider(&instance, &self.addresses);
            self.run(identity_provider, "identity-provider", reservation, interrupt)?;
        }
        let stock_service = programs::stock_service(&instance, &self.addresses, &self.built)?;
        self.run(stock_service, "stock-service", reservation, interrupt)?;
        let core_api = programs::core_api(&instance, &self.addresses, &self.built)?;
        self.run(core_api, "core-api", reservation, interrupt)?;
        step("Front door", |step| {
            front_door::await_open(&self.addresses, interrupt)?;
            step.outcome(self.addresses.front_door());
            Ok(())
        })?;
        step("Catalogue", |step| {
            let products = seed::seed(&instance, &self.addresses, &self.built)?;
            step.outcome(products.map_or_else(
                || "there".to_owned(),
                |products| format!("{products} products with opening stock"),
            ));
            Ok(())
        })?;
        self.addresses.write_env_file(&instance)?;
        self.supervisor.ready()
    }

    fn start_postgres(&mut self, reservation: &mut Reservation, interrupt: &Interrupt) -> Result<()> {
        let port = self.addresses.port("postgres");
        step("PostgreSQL", |step| {
            let postgres = Postgres::prepare(&self.instance, step)?;
            reservation.release("postgres");
            self.supervisor.start(postgres.program(port), interrupt)?;
            postgres.create_database(port)?;
            step.outcome(format!("127.0.0.1:{port}"));
            Ok(())
        })
    }

    fn start_redis(&mut self, reservation: &mut Reservation, interrupt: &Interrupt) -> Result<()> {
        let instance = self.instance.clone();
        let port = self.addresses.port("redis");
        step("Redis", |step| {
            reservation.release("redis");
            match redis::find_or_install(step) {
                Ok(executable) => {
                    self.redis = Some(executable.clone());
                    self.supervisor
                        .start(redis::program(&instance, executable, port), interrupt)?;
                    step.outcome(format!("127.0.0.1:{port}"));
                }
                // The tests see what becomes of the limits when it dies; for everything else it may be missing.
                Err(error) if instance.kind() == Kind::Development => {
                    self.addresses.without_redis();
                    step.outcome(format!("none, so core-api counts for itself: {error}"));
                }
                Err(error) => return Err(error),
            }
            Ok(())
        })
    }

    fn run(
        &mut self,
        program: Program,
        title: &str,
        reservation: &mut Reservation,
        interrupt: &Interrupt,
    ) -> Result<()> {
        reservation.release(program.name);
        let port = program.port;
        step(title, |step| {
            self.supervisor.start(program, interrupt)?;
            step.outcome(format!("127.0.0.1:{port}"));
            Ok(())
        })
    }

    /// Looks after the programs once: reports what died and what is back, and repairs what follows from it.
    ///
    /// # Errors
    /// When the state can no longer be written.
    pub fn look(&mut self, interrupt: &Interrupt) -> Result<()> {
        for event in self.supervisor.look()? {
            match event {
                Event::Died { report } => anstream::eprintln!("{RED}✗{RED:#} {report}"),
                Event::Back { name, report } => {
                    anstream::eprintln!("{GREEN}✓{GREEN:#} {report}");
                    if name == "ministack" {
                        self.repair_deployment();
                    }
                }
            }
        }
        if interrupt.take_deployed() {
            self.take_over_deployment(interrupt);
        }
        Ok(())
    }

    /// Keeps the system up until a program beside it has ended; its end is told.
    ///
    /// # Errors
    /// When it cannot be waited for, or the state can no longer be written.
    pub fn supervise(&mut self, mut child: Child, interrupt: &Interrupt) -> Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if interrupt.is_set()
                && let Some(process) = ProcessId::of(child.id())
            {
                // It stops what it has started for itself. A Ctrl-C has reached it as well, a SIGTERM has not.
                stop::send(&process, Signal::TERM);
            }
            self.look(interrupt)?;
            thread::sleep(TICK);
        }
    }

    /// The local AWS writes its state only when it stops in good order: one that was killed knows what it knew at its
    /// last good end, which may be nothing.
    fn repair_deployment(&self) {
        match deployment::deploy(&self.instance, &self.addresses, &self.built) {
            Ok(outcome) => {
                let deployed = match outcome {
                    deployment::Outcome::Deployed => "; template and functions are deployed again",
                    deployment::Outcome::Unchanged => "",
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

    fn take_over_deployment(&mut self, interrupt: &Interrupt) {
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
        let _ = step("Stopping", |step| {
            let mut unfinished = 0;
            self.supervisor.stop(|name| {
                step.doing(name);
                if name == "stock-service" {
                    unfinished = ministack::await_executions(&self.addresses);
                }
            });
            step.outcome(match unfinished {
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
    pub fn token(&self, person: Uuid, role: &str, email: &str) -> Result<String> {
        token::for_person(
            (&self.instance, &self.addresses, &self.built),
            person,
            role,
            email,
        )
    }

    /// The program of Redis' server, if this machine has one.
    pub fn redis(&self) -> Option<&Path> {
        self.redis.as_deref()
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
    step("Migrations", |step| {
        seed::migrate(instance, addresses, built)?;
        step.outcome("the database is up to date");
        Ok(())
    })
}

/// What came of a deployment, for the end of its line.
pub fn describe(outcome: deployment::Outcome) -> &'static str {
    match outcome {
        deployment::Outcome::Deployed => "template and functions deployed",
        deployment::Outcome::Unchanged => "unchanged",
    }
}

/// The database that the person wants instead of ours. One that stands in the environment because an env file of ours
/// was read is no such wish.
pub fn wanted_database(instance: &Instance) -> Option<String> {
    if instance.kind() != Kind::Development {
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
