//! What goes wrong: a share of everything all the time, single orders for good, and blows to the whole system.

use std::{collections::BTreeMap, sync::Mutex, sync::PoisonError, time::Duration};

use anyhow::{Context as _, Result};
use e2e::process_control::{ProcessControl, ProcessControlError};
use fault_injection::{FaultClient, FunctionFault, NetworkFault, Rule, RuleId, Upstream};
use tokio::time::sleep;

use crate::schedule::{Disruption, Schedule};

/// Of a thousand invocations, so many meet each fault.
const FUNCTION_FAULTS: [(FunctionFault, u32); 10] = [
    (FunctionFault::ErrorBefore, 8),
    (FunctionFault::ErrorAfter, 8),
    (FunctionFault::TimeoutBefore, 6),
    (FunctionFault::TimeoutAfter, 6),
    (FunctionFault::Throttle, 10),
    (FunctionFault::DuplicateConcurrent, 8),
    (FunctionFault::DuplicateSequential, 12),
    (FunctionFault::CrashBefore, 5),
    (FunctionFault::CrashDuring(40), 5),
    (FunctionFault::CrashAfter, 5),
];

/// Of a thousand requests to each program, so many meet each fault.
const WIRE_FAULTS: [(NetworkFault, u32); 5] = [
    (NetworkFault::Refuse, 5),
    (NetworkFault::Disconnect, 4),
    (NetworkFault::Delay(250), 8),
    (NetworkFault::DropResponse, 6),
    (NetworkFault::Duplicate, 4),
];

/// A transaction is many messages, so fewer of them.
const POSTGRES_FAULTS: [(NetworkFault, u32); 3] = [
    (NetworkFault::Disconnect, 1),
    (NetworkFault::Delay(100), 3),
    (NetworkFault::DropResponse, 1),
];

/// Whoever makes things go wrong, and keeps count.
pub struct FaultInjector {
    faults: FaultClient,
    process_control: ProcessControl,
    /// Rules that stand, by what they are counted as.
    active_rules: Mutex<Vec<(String, RuleId)>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl FaultInjector {
    /// Disturbs the system of the environment, by the program at `faults`.
    pub fn new(faults: FaultClient) -> Result<Self> {
        Ok(Self {
            faults,
            process_control: ProcessControl::from_env()?,
            active_rules: Mutex::default(),
            counts: Mutex::default(),
        })
    }

    /// Lets a share of everything go wrong from now on.
    pub async fn start(&self, plan: &Schedule) -> Result<()> {
        let mut seed = plan.seed;
        let mut set = async |label: String, rule: Rule, thousandth: u32| {
            seed = seed.wrapping_add(1);
            let rule = rule.with_probability(f64::from(thousandth) / 1000.0, seed);
            self.set_rule(label, &rule).await
        };
        for (fault, thousandth) in FUNCTION_FAULTS {
            let rule = Rule::for_all_functions(fault);
            set(format!("invocations: {fault:?}"), rule, thousandth).await?;
        }
        for to in [Upstream::Aws, Upstream::StockService, Upstream::PaymentProvider] {
            for (fault, thousandth) in WIRE_FAULTS {
                let rule = Rule::for_all_requests(to, fault);
                set(format!("requests to {to:?}: {fault:?}"), rule, thousandth).await?;
            }
        }
        for (fault, thousandth) in POSTGRES_FAULTS {
            let rule = Rule::for_operation(Upstream::Postgres, "message", fault);
            set(format!("messages to Postgres: {fault:?}"), rule, thousandth).await?;
        }
        Ok(())
    }

    /// Lets a step fail in every saga of a customer, until it is lifted.
    pub async fn pin_fault(
        &self,
        user_id: &str,
        (function, fault): (&'static str, FunctionFault),
    ) -> Result<RuleId> {
        let rule = Rule::for_function(function, fault).containing(user_id);
        self.set_rule(format!("orders turned back: {function} {fault:?}"), &rule)
            .await
    }

    /// Ends one fault, unless all have ended.
    pub async fn remove(&self, rule: RuleId) -> Result<()> {
        let found = {
            let mut standing = self.active_rules.lock().unwrap_or_else(PoisonError::into_inner);
            let position = standing.iter().position(|(_, id)| *id == rule);
            position.map(|position| standing.swap_remove(position))
        };
        if let Some((label, id)) = found {
            let hits = self
                .faults
                .hits(id)
                .await
                .context("the injector does not answer")?;
            self.count(label, hits);
            self.faults
                .remove_rule(id)
                .await
                .context("the injector does not answer")?;
        }
        Ok(())
    }

    /// Strikes. Returns when it is over, which includes the return of what was killed.
    pub async fn run(&self, blow: Disruption) -> Result<()> {
        match blow {
            Disruption::Kill(program) => match self.process_control.kill(program) {
                Ok(killed) => {
                    self.count(format!("kills: {program}"), 1);
                    self.process_control.wait_for_restart(program, killed).await?;
                }
                // The blow before has hit it as well, or a health check did not pass yet.
                Err(ProcessControlError::NotRunning(_)) => {
                    self.count(format!("kills that found nobody: {program}"), 1)
                }
                Err(error) => return Err(error.into()),
            },
            Disruption::Outage(upstream, lasting) => {
                self.count(format!("outages: {upstream:?}"), 1);
                self.inject_for(&Rule::for_all_requests(upstream, NetworkFault::Refuse), lasting)
                    .await?;
            }
            Disruption::Latency(upstream, milliseconds, lasting) => {
                self.count(format!("slow spells: {upstream:?}"), 1);
                let rule = Rule::for_all_requests(upstream, NetworkFault::Delay(milliseconds));
                self.inject_for(&rule, lasting).await?;
            }
        }
        Ok(())
    }

    async fn inject_for(&self, rule: &Rule, lasting: Duration) -> Result<()> {
        let id = self
            .faults
            .add_rule(rule)
            .await
            .context("the injector does not answer")?;
        sleep(lasting).await;
        self.faults
            .remove_rule(id)
            .await
            .context("the injector does not answer")
    }

    /// Ends all faults.
    pub async fn stop(&self) -> Result<()> {
        let standing = std::mem::take(&mut *self.active_rules.lock().unwrap_or_else(PoisonError::into_inner));
        for (label, id) in standing {
            let hits = self
                .faults
                .hits(id)
                .await
                .context("the injector does not answer")?;
            self.count(label, hits);
        }
        self.faults
            .clear_rules()
            .await
            .context("the injector does not answer")
    }

    /// Counts something that was done to the system.
    pub fn count(&self, what: impl Into<String>, times: u64) {
        if times > 0 {
            *self.lock_counts().entry(what.into()).or_default() += times;
        }
    }

    /// What was done to the system.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.lock_counts().clone()
    }

    async fn set_rule(&self, label: String, rule: &Rule) -> Result<RuleId> {
        let id = self
            .faults
            .add_rule(rule)
            .await
            .context("the injector does not answer")?;
        self.active_rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((label, id));
        Ok(id)
    }

    fn lock_counts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
