//! Injects faults: random ones in a share of all operations, permanent ones in single orders, and disruptions
//! of the whole system.

use std::{collections::BTreeMap, sync::Mutex, sync::PoisonError, time::Duration};

use anyhow::{Context as _, Result};
use e2e::process_control::{ProcessControl, ProcessControlError};
use fault_injection::{FaultClient, FunctionFault, NetworkFault, Rule, RuleId, Upstream};
use tokio::time::sleep;

use crate::schedule::{Disruption, Schedule};

/// The rate of each function fault, per thousand invocations.
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

/// The rate of each network fault, per thousand requests to each upstream.
const NETWORK_FAULTS: [(NetworkFault, u32); 5] = [
    (NetworkFault::Refuse, 5),
    (NetworkFault::Disconnect, 4),
    (NetworkFault::Delay(250), 8),
    (NetworkFault::DropResponse, 6),
    (NetworkFault::Duplicate, 4),
];

/// The rate of each fault per thousand messages to PostgreSQL. A transaction has many messages, so the rates
/// are lower.
const POSTGRES_FAULTS: [(NetworkFault, u32); 3] = [
    (NetworkFault::Disconnect, 1),
    (NetworkFault::Delay(100), 3),
    (NetworkFault::DropResponse, 1),
];

/// Sets fault rules, runs disruptions and counts both.
pub struct FaultInjector {
    faults: FaultClient,
    process_control: ProcessControl,
    /// Active rules, each with the label that its hits are counted under.
    active_rules: Mutex<Vec<(String, RuleId)>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl FaultInjector {
    /// Creates an injector for the system that the environment variables name; `faults` calls its
    /// fault-injection service.
    pub fn new(faults: FaultClient) -> Result<Self> {
        Ok(Self {
            faults,
            process_control: ProcessControl::from_env()?,
            active_rules: Mutex::default(),
            counts: Mutex::default(),
        })
    }

    /// Starts the random faults.
    pub async fn start(&self, schedule: &Schedule) -> Result<()> {
        let mut seed = schedule.seed;
        let mut set = async |label: String, rule: Rule, per_thousand: u32| {
            seed = seed.wrapping_add(1);
            let rule = rule.with_probability(f64::from(per_thousand) / 1000.0, seed);
            self.set_rule(label, &rule).await
        };
        for (fault, per_thousand) in FUNCTION_FAULTS {
            let rule = Rule::for_all_functions(fault);
            set(format!("invocations: {fault:?}"), rule, per_thousand).await?;
        }
        for upstream in [Upstream::Aws, Upstream::StockService, Upstream::PaymentProvider] {
            for (fault, per_thousand) in NETWORK_FAULTS {
                let rule = Rule::for_all_requests(upstream, fault);
                set(format!("requests to {upstream:?}: {fault:?}"), rule, per_thousand).await?;
            }
        }
        for (fault, per_thousand) in POSTGRES_FAULTS {
            let rule = Rule::for_operation(Upstream::Postgres, "message", fault);
            set(format!("messages to PostgreSQL: {fault:?}"), rule, per_thousand).await?;
        }
        Ok(())
    }

    /// Makes a saga step fail in all orders of a customer until [`remove`](Self::remove).
    pub async fn pin_fault(
        &self,
        user_id: &str,
        (function, fault): (&'static str, FunctionFault),
    ) -> Result<RuleId> {
        let rule = Rule::for_function(function, fault).containing(user_id);
        self.set_rule(format!("pinned faults: {function} {fault:?}"), &rule)
            .await
    }

    /// Removes a rule. Does nothing after [`stop`](Self::stop).
    pub async fn remove(&self, rule: RuleId) -> Result<()> {
        let found = {
            let mut active_rules = self.active_rules.lock().unwrap_or_else(PoisonError::into_inner);
            let position = active_rules.iter().position(|(_, id)| *id == rule);
            position.map(|position| active_rules.swap_remove(position))
        };
        if let Some((label, id)) = found {
            let hits = self
                .faults
                .hits(id)
                .await
                .context("the fault-injection service does not respond")?;
            self.count(label, hits);
            self.faults
                .remove_rule(id)
                .await
                .context("the fault-injection service does not respond")?;
        }
        Ok(())
    }

    /// Runs a disruption to its end; a killed service has restarted when the function returns.
    pub async fn run(&self, disruption: Disruption) -> Result<()> {
        match disruption {
            Disruption::Kill(service) => match self.process_control.kill(service) {
                Ok(killed) => {
                    self.count(format!("kills: {service}"), 1);
                    self.process_control.wait_for_restart(service, killed).await?;
                }
                // The previous disruption stopped it too, or its health check has not passed yet.
                Err(ProcessControlError::NotRunning(_)) => {
                    self.count(format!("kills of a stopped service: {service}"), 1)
                }
                Err(error) => return Err(error.into()),
            },
            Disruption::Outage(upstream, duration) => {
                self.count(format!("outages: {upstream:?}"), 1);
                self.inject_for(&Rule::for_all_requests(upstream, NetworkFault::Refuse), duration)
                    .await?;
            }
            Disruption::PartialOutage(text, duration) => {
                self.count(format!("outages: Aws, requests with {text}"), 1);
                let rule = Rule::for_all_requests(Upstream::Aws, NetworkFault::Refuse).containing(text);
                self.inject_for(&rule, duration).await?;
            }
            Disruption::Latency(upstream, milliseconds, duration) => {
                self.count(format!("slow periods: {upstream:?}"), 1);
                let rule = Rule::for_all_requests(upstream, NetworkFault::Delay(milliseconds));
                self.inject_for(&rule, duration).await?;
            }
        }
        Ok(())
    }

    async fn inject_for(&self, rule: &Rule, duration: Duration) -> Result<()> {
        let id = self
            .faults
            .add_rule(rule)
            .await
            .context("the fault-injection service does not respond")?;
        sleep(duration).await;
        self.faults
            .remove_rule(id)
            .await
            .context("the fault-injection service does not respond")
    }

    /// Removes all fault rules.
    pub async fn stop(&self) -> Result<()> {
        let active_rules =
            std::mem::take(&mut *self.active_rules.lock().unwrap_or_else(PoisonError::into_inner));
        for (label, id) in active_rules {
            let hits = self
                .faults
                .hits(id)
                .await
                .context("the fault-injection service does not respond")?;
            self.count(label, hits);
        }
        self.faults
            .clear_rules()
            .await
            .context("the fault-injection service does not respond")
    }

    pub fn count(&self, label: impl Into<String>, count: u64) {
        if count > 0 {
            *self.lock_counts().entry(label.into()).or_default() += count;
        }
    }

    /// The counts by label.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.lock_counts().clone()
    }

    async fn set_rule(&self, label: String, rule: &Rule) -> Result<RuleId> {
        let id = self
            .faults
            .add_rule(rule)
            .await
            .context("the fault-injection service does not respond")?;
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
