//! `order-reconciler`: finds orders that do not come to their end, and starts their sagas again or parks them.
//!
//! It runs every minute. Of the orders that have been open for too long it looks at the oldest and asks what the
//! newest execution of each one's saga is doing:
//!
//! | the execution | and so |
//! |---|---|
//! | runs | it is left alone |
//! | is not there | it is started: OrderCreated has not come, or the last start was lost |
//! | ended without ending the order | the saga is started under the next name, up to [`MAX_RESTARTS`] times |
//! | ended so after the last of these | the order goes to the parking queue, where an alarm rings |
//!
//! An Express state machine does not tell what an execution did. There the time since the last start decides,
//! which has to be longer than the five minutes that an Express execution lives.
//!
//! Starting a saga too often does no harm: its steps are idempotent, and the order's item is the arbiter of
//! whatever two executions want of it. `docs/adr/0004-reconciler.md` says why every half-way state is found.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sfn::{
    Client as StepFunctions,
    error::{DisplayErrorContext, SdkError},
    operation::{describe_execution::DescribeExecutionError, start_execution::StartExecutionError},
    types::{ExecutionStatus, StateMachineType},
};
use aws_sdk_sqs::Client as Sqs;
use chrono::TimeDelta;
use domain::{OrderId, Timestamp, UserId};
use futures::{StreamExt, stream};
use lambda_shared::{FunctionContext, FunctionError, Handler, InitError, Invocation, trace_context};
use orders::{Order, Orders, StoreError, Tables};
use serde::Serialize;
use serde_json::json;
use tracing::{Instrument, field::Empty, info_span};

use crate::{cloudwatch_emf, saga_input::SagaInput};

/// How many orders one run looks at. DescribeExecution gives an account fifteen calls a second.
const MAX_ORDERS_PER_RUN: usize = 200;

/// How many it looks at side by side.
const CONCURRENCY: usize = 8;

/// How often a saga is started again before a person has to look.
const MAX_RESTARTS: u32 = 3;

/// The error of an execution that has parked its order itself (`step-functions/order-saga.asl.json`).
const PARKED_BY_SAGA: &str = "OrderParked";

struct Reconciler {
    orders: Orders,
    step_functions: StepFunctions,
    state_machine_arn: String,
    /// Whether Step Functions tells what executions did.
    can_describe_executions: bool,
    sqs: Sqs,
    parking_queue_url: String,
    stuck_threshold: TimeDelta,
    clock: domain::Clock,
}

/// Why an order could not be dealt with, or none could.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The SDK's errors tell what happened only along their chain.
    #[error("Step Functions failed: {0}")]
    StepFunctions(String),
    #[error("the parking queue does not take the order: {0}")]
    ParkingQueue(String),
}

/// What a run found and did.
#[derive(Debug, Default, Serialize)]
struct RunSummary {
    open: u64,
    oldest_age_seconds: u64,
    restarted: u64,
    parked: u64,
    failed: u64,
}

/// What became of an order.
enum Action {
    Skipped,
    Restarted,
    Parked,
}

/// What the newest execution of a saga is doing.
enum ExecutionState {
    Running,
    Missing,
    Ended { parked: bool },
}

/// Makes the function, for orders in `ORDERS_TABLE` that are open for longer than `ORDER_STUCK_THRESHOLD_SECONDS`, the
/// state machine `STATE_MACHINE_ARN` and the queue `ORDER_PARKING_QUEUE_URL`.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let state_machine: String = init.environment.required("STATE_MACHINE_ARN")?;
    let stuck_after: u32 = init.environment.required("ORDER_STUCK_THRESHOLD_SECONDS")?;
    // It places no orders and tells of none.
    let tables = Tables {
        orders: init.environment.required("ORDERS_TABLE")?,
        outbox: String::new(),
        idempotency: String::new(),
    };
    let sagas = StepFunctions::new(&init.aws);
    let described = sagas
        .describe_state_machine()
        .state_machine_arn(&state_machine)
        .send()
        .await?;
    let reconciler = Arc::new(Reconciler {
        orders: Orders::new(DynamoDb::new(&init.aws), tables, init.clock.clone()),
        step_functions: sagas,
        state_machine_arn: state_machine,
        can_describe_executions: described.r#type == StateMachineType::Standard,
        sqs: Sqs::new(&init.aws),
        parking_queue_url: init.environment.required("ORDER_PARKING_QUEUE_URL")?,
        stuck_threshold: TimeDelta::seconds(i64::from(stuck_after)),
        clock: init.clock,
    });
    Ok(Handler::new(move |_: Invocation| {
        let reconciler = Arc::clone(&reconciler);
        async move { reconciler.run().await }
    }))
}

impl Reconciler {
    async fn run(&self) -> Result<RunSummary, ReconcileError> {
        let now = self.clock.now();
        let open = self
            .orders
            .open_orders(now - self.stuck_threshold, MAX_ORDERS_PER_RUN)
            .await?;
        let age = open
            .oldest
            .map_or(0, |oldest| (now - oldest.created_at()).num_seconds());
        let mut run = RunSummary {
            open: open.count,
            oldest_age_seconds: u64::try_from(age).unwrap_or(0),
            ..RunSummary::default()
        };
        let mut deeds = stream::iter(open.overdue)
            .map(|of| self.try_reconcile(of, now))
            .buffer_unordered(CONCURRENCY);
        while let Some(deed) = deeds.next().await {
            match deed {
                Some(Action::Skipped) => {}
                Some(Action::Restarted) => run.restarted += 1,
                Some(Action::Parked) => run.parked += 1,
                None => run.failed += 1,
            }
        }
        cloudwatch_emf::emit(
            "Matsuri/Orders",
            now,
            &[
                ("OrdersOpen", "Count", run.open),
                ("OldestOpenOrderAge", "Seconds", run.oldest_age_seconds),
                ("OrdersRestarted", "Count", run.restarted),
                ("OrdersParked", "Count", run.parked),
            ],
        );
        Ok(run)
    }

    /// One order that fails does not keep the others waiting; the next run finds it again.
    async fn try_reconcile(&self, of: (UserId, OrderId), now: Timestamp) -> Option<Action> {
        let span = info_span!(
            "order",
            trace_id = Empty,
            correlation_id = Empty,
            causation_id = Empty
        );
        let looking = async {
            self.reconcile(of, now)
                .await
                .inspect_err(|error| {
                    let error: &dyn std::error::Error = error;
                    tracing::error!(error, "an order that is stuck could not be dealt with");
                })
                .ok()
        };
        looking.instrument(span).await
    }

    async fn reconcile(
        &self,
        (user_id, order_id): (UserId, OrderId),
        now: Timestamp,
    ) -> Result<Action, ReconcileError> {
        let Some(mut order) = self.orders.find(user_id, order_id).await? else {
            return Ok(Action::Skipped);
        };
        trace_context::attach(&order.event_context());
        let since = order.restarted_at.unwrap_or(order.created_at);
        // The index may be a moment behind.
        if order.status.is_final() || now - since < self.stuck_threshold {
            return Ok(Action::Skipped);
        }
        match self.latest_execution(&order).await? {
            ExecutionState::Running => Ok(Action::Skipped),
            ExecutionState::Missing => self.start_saga(&order).await,
            ExecutionState::Ended { parked } if order.restarts >= MAX_RESTARTS => {
                self.park(&order, parked).await
            }
            ExecutionState::Ended { .. } if self.orders.increment_restarts(&order).await? => {
                order.restarts += 1;
                self.start_saga(&order).await
            }
            // It has ended just now, or another run was faster.
            ExecutionState::Ended { .. } => Ok(Action::Skipped),
        }
    }

    async fn latest_execution(&self, order: &Order) -> Result<ExecutionState, ReconcileError> {
        if !self.can_describe_executions {
            return Ok(ExecutionState::Ended { parked: false });
        }
        let described = self
            .step_functions
            .describe_execution()
            .execution_arn(self.execution_arn(order))
            .send()
            .await;
        match described.map_err(SdkError::into_service_error) {
            Ok(execution) if execution.status == ExecutionStatus::Running => Ok(ExecutionState::Running),
            Ok(execution) => Ok(ExecutionState::Ended {
                parked: execution.error.as_deref() == Some(PARKED_BY_SAGA),
            }),
            Err(DescribeExecutionError::ExecutionDoesNotExist(_)) => Ok(ExecutionState::Missing),
            Err(error) => Err(ReconcileError::StepFunctions(
                DisplayErrorContext(error).to_string(),
            )),
        }
    }

    /// Under a name that is refused a second time, whoever starts it.
    async fn start_saga(&self, order: &Order) -> Result<Action, ReconcileError> {
        let starting = self
            .step_functions
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .name(execution_name(order))
            .input(SagaInput::from(order).to_json());
        match starting.send().await.map_err(SdkError::into_service_error) {
            Ok(_) | Err(StartExecutionError::ExecutionAlreadyExists(_)) => {
                let (status, restarts) = (order.status.as_str(), order.restarts);
                tracing::warn!(
                    status,
                    restarts,
                    "the saga of an order that was stuck has started"
                );
                Ok(Action::Restarted)
            }
            Err(error) => Err(ReconcileError::StepFunctions(
                DisplayErrorContext(error).to_string(),
            )),
        }
    }

    /// The message has the shape of the saga's own. First the queue, then the order: in between the order may be
    /// parked a second time, but is never forgotten.
    async fn park(&self, order: &Order, parked_by_saga: bool) -> Result<Action, ReconcileError> {
        if !parked_by_saga {
            let body = json!({
                "order_id": order.order_id,
                "execution": self.execution_arn(order),
                "state": SagaInput::from(order),
            });
            self.sqs
                .send_message()
                .queue_url(&self.parking_queue_url)
                .message_body(body.to_string())
                .send()
                .await
                .map_err(|error| ReconcileError::ParkingQueue(DisplayErrorContext(error).to_string()))?;
        }
        if !self.orders.mark_for_operator(order).await? {
            return Ok(Action::Skipped);
        }
        tracing::warn!(restarts = order.restarts, "an order that stays stuck is parked");
        Ok(Action::Parked)
    }

    fn execution_arn(&self, order: &Order) -> String {
        let machine = self
            .state_machine_arn
            .replacen(":stateMachine:", ":execution:", 1);
        format!("{machine}:{}", execution_name(order))
    }
}

/// The name of the newest execution that there should be.
fn execution_name(order: &Order) -> String {
    match order.restarts {
        0 => order.order_id.to_string(),
        restarts => format!("{}-{}", order.order_id, restarts + 1),
    }
}

impl FunctionError for ReconcileError {
    fn name(&self) -> &'static str {
        "Unavailable"
    }

    fn is_business_error(&self) -> bool {
        false
    }
}
