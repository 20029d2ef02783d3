//! The rule engine: holds the active rules, chooses the fault of each request and invocation, and counts
//! both. It also remembers the calls to AWS.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{AwsCall, FunctionFault, NetworkFault, Rule, RuleId, Sampling, Target, Upstream};

/// Number of calls by upstream and operation. Invocations are counted under the upstream `function`, by
/// function name.
pub type OperationCounts = BTreeMap<String, BTreeMap<String, u64>>;

/// All rules and counts of a system.
#[derive(Debug, Default)]
pub struct RuleEngine(Mutex<EngineState>);

#[derive(Debug, Default)]
struct EngineState {
    last_id: u64,
    rules: BTreeMap<RuleId, ActiveRule>,
    counts: OperationCounts,
    aws_calls: BTreeSet<AwsCall>,
}

#[derive(Debug)]
struct ActiveRule {
    rule: Rule,
    sampler: Option<(Sampling, StdRng)>,
    hits: u64,
}

impl RuleEngine {
    /// Activates a rule. When several rules match, the oldest one applies.
    pub fn add_rule(&self, rule: Rule) -> RuleId {
        let mut state = self.lock();
        state.last_id += 1;
        let id = RuleId(state.last_id);
        let sampler = rule
            .sampling
            .map(|sampling| (sampling, StdRng::seed_from_u64(sampling.seed)));
        let active = ActiveRule {
            rule,
            sampler,
            hits: 0,
        };
        state.rules.insert(id, active);
        id
    }

    /// Returns how often the rule has hit, or `None` when the rule does not exist.
    pub fn hits(&self, id: RuleId) -> Option<u64> {
        self.lock().rules.get(&id).map(|active| active.hits)
    }

    /// Removes a rule. Returns `false` when the rule does not exist.
    pub fn remove_rule(&self, id: RuleId) -> bool {
        self.lock().rules.remove(&id).is_some()
    }

    /// Removes all rules. The counts stay.
    pub fn clear_rules(&self) {
        self.lock().rules.clear();
    }

    /// Returns the counts since the process started.
    pub fn counts(&self) -> OperationCounts {
        self.lock().counts.clone()
    }

    /// Remembers calls to AWS.
    pub fn record_aws_calls(&self, calls: Vec<AwsCall>) {
        self.lock().aws_calls.extend(calls);
    }

    /// Returns the calls to AWS since the process started, each once.
    pub fn aws_calls(&self) -> BTreeSet<AwsCall> {
        self.lock().aws_calls.clone()
    }

    /// Counts an invocation and returns the fault to inject, if any.
    pub fn fault_for_invocation(&self, function: &str, event: &[u8]) -> Option<FunctionFault> {
        let mut state = self.lock();
        state.count_operation("function", function);
        state.first_matching_fault(event, |target| match target {
            Target::Function {
                function: wanted,
                fault,
            } if wanted.as_deref().is_none_or(|wanted| wanted == function) => Some(*fault),
            _ => None,
        })
    }

    /// Counts a request and returns the fault to inject, if any.
    pub fn fault_for_request(
        &self,
        upstream: Upstream,
        operation: &str,
        content: &[u8],
    ) -> Option<NetworkFault> {
        let mut state = self.lock();
        state.count_operation(upstream.name(), operation);
        state.first_matching_fault(content, |target| match target {
            Target::Network {
                upstream: wanted_upstream,
                operation: wanted,
                fault,
            } if *wanted_upstream == upstream
                && wanted.as_deref().is_none_or(|wanted| wanted == operation) =>
            {
                Some(*fault)
            }
            _ => None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, EngineState> {
        // A panic cannot leave the state half changed, so a poisoned lock is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineState {
    fn count_operation(&mut self, upstream: &str, operation: &str) {
        let operations = self.counts.entry(upstream.to_owned()).or_default();
        *operations.entry(operation.to_owned()).or_default() += 1;
    }

    fn first_matching_fault<F>(
        &mut self,
        content: &[u8],
        fault_for_target: impl Fn(&Target) -> Option<F>,
    ) -> Option<F> {
        self.rules.values_mut().find_map(|active| {
            let fault = fault_for_target(&active.rule.target)?;
            active.matches(content).then_some(fault)
        })
    }
}

impl ActiveRule {
    /// Decides whether the rule hits `content`, and counts the hit.
    fn matches(&mut self, content: &[u8]) -> bool {
        let has_hits_left = self.rule.max_hits.is_none_or(|max_hits| self.hits < max_hits);
        let content_matches = |text: &String| contains(content, text.as_bytes());
        // The sampler draws last, so that its sequence depends only on what the other conditions let through.
        let hits = has_hits_left
            && self.rule.containing.iter().all(content_matches)
            && self
                .sampler
                .as_mut()
                .is_none_or(|(sampling, rng)| rng.random_bool(sampling.probability.clamp(0.0, 1.0)));
        self.hits += u64::from(hits);
        hits
    }
}

fn contains(content: &[u8], text: &[u8]) -> bool {
    text.is_empty() || content.windows(text.len()).any(|window| window == text)
}

impl Upstream {
    /// Returns the name that [`OperationCounts`] uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::StockService => "stock-service",
            Self::PaymentProvider => "payment-provider",
            Self::Postgres => "postgres",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_hits_only_matching_invocations_up_to_its_limit() {
        let rules = RuleEngine::default();
        let rule = Rule::for_function("reserve-stock", FunctionFault::Throttle)
            .containing("order-1")
            .limit_hits(2);
        let id = rules.add_rule(rule);
        let event = br#"{"Records":[{"body":"{\"order_id\":\"order-1\"}"}]}"#;
        assert_eq!(rules.fault_for_invocation("fail-order", event), None);
        assert_eq!(rules.fault_for_invocation("reserve-stock", b"{}"), None);
        assert_eq!(
            rules.fault_for_request(Upstream::Aws, "reserve-stock", event),
            None
        );
        for _ in 0..2 {
            assert_eq!(
                rules.fault_for_invocation("reserve-stock", event),
                Some(FunctionFault::Throttle)
            );
        }
        assert_eq!(rules.fault_for_invocation("reserve-stock", event), None);
        assert_eq!(rules.hits(id), Some(2));
        assert_eq!(rules.counts()["function"]["reserve-stock"], 4);
        assert!(rules.remove_rule(id));
        assert_eq!(rules.hits(id), None);
    }

    #[test]
    fn equal_seeds_sample_the_same_requests() {
        let sample = |seed| {
            let rules = RuleEngine::default();
            rules.add_rule(
                Rule::for_all_requests(Upstream::Postgres, NetworkFault::Disconnect)
                    .with_probability(0.3, seed),
            );
            (0..1000)
                .map(|_| {
                    rules
                        .fault_for_request(Upstream::Postgres, "message", b"")
                        .is_some()
                })
                .collect::<Vec<_>>()
        };
        let first = sample(7);
        assert_eq!(first, sample(7));
        assert_ne!(first, sample(8));
        let hits = first.iter().filter(|hit| **hit).count();
        assert!((240..360).contains(&hits), "{hits}");
    }

    #[test]
    fn the_oldest_matching_rule_applies() {
        let rules = RuleEngine::default();
        rules.add_rule(
            Rule::for_operation(Upstream::Aws, "SQS.SendMessage", NetworkFault::Disconnect).limit_hits(1),
        );
        rules.add_rule(Rule::for_all_requests(Upstream::Aws, NetworkFault::Delay(5)));
        let next_fault = || rules.fault_for_request(Upstream::Aws, "SQS.SendMessage", b"");
        assert_eq!(next_fault(), Some(NetworkFault::Disconnect));
        assert_eq!(next_fault(), Some(NetworkFault::Delay(5)));
    }
}
