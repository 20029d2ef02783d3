//! `order-processor`: starts a saga execution for each `OrderCreated` event.
//!
//! The order id is the execution's name. For a Standard state machine, Step Functions rejects a second
//! execution with the same name for 90 days, so duplicate events are harmless. An Express state machine
//! accepts duplicate names, so the function uses the idempotency store.
//!
//! `order-reconciler` starts the sagas of orders whose event was lost, and restarts sagas that died.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sfn::{
    Client as StepFunctions,
    error::{DisplayErrorContext, SdkError},
    operation::start_execution::StartExecutionError,
    types::StateMachineType,
};
use events::{
    Envelope, EventBridgeEvent,
    eventbridge::{EventParseError, received_detail},
    order::OrderCreated,
};
use lambda_shared::{
    FunctionContext, Handler, Idempotency, InitError, idempotency::IdempotencyError, sqs, sqs::Message,
    trace_context,
};

use crate::{RECORD_RETENTION, saga_input::SagaInput};

/// The number of sagas that one invocation starts concurrently: the whole batch.
const CONCURRENCY: usize = 10;

struct OrderProcessor {
    step_functions: StepFunctions,
    state_machine_arn: String,
    /// The processed events. `None` for a Standard state machine, which rejects duplicate execution names.
    started_sagas: Option<Idempotency>,
}

/// Why an event did not start a saga.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error(transparent)]
    Event(#[from] EventParseError),
    #[error("the event has no detail")]
    MissingDetail(#[from] serde_json::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError<StartError>),
}

/// StartExecution failed. Contains the messages of the SDK error and all its sources.
#[derive(Debug, thiserror::Error)]
#[error("the saga cannot be started: {0}")]
struct StartError(String);

/// Initialises the function for the state machine `STATE_MACHINE_ARN`, with the idempotency store in
/// `IDEMPOTENCY_TABLE`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let state_machine_arn: String = context.environment.required("STATE_MACHINE_ARN")?;
    let idempotency_table: String = context.environment.required("IDEMPOTENCY_TABLE")?;

    let step_functions = StepFunctions::new(&context.aws);
    let described = step_functions
        .describe_state_machine()
        .state_machine_arn(&state_machine_arn)
        .send()
        .await?;
    let started_sagas = if described.r#type == StateMachineType::Express {
        let idempotency = Idempotency::new(
            DynamoDb::new(&context.aws),
            idempotency_table,
            "order-processor",
            RECORD_RETENTION,
            context.clock.clone(),
        );
        idempotency.warm_up().await?;
        Some(idempotency)
    } else {
        None
    };

    let processor = Arc::new(OrderProcessor {
        step_functions,
        state_machine_arn,
        started_sagas,
    });
    Ok(sqs::handler(context.clock, CONCURRENCY, move |message| {
        let processor = Arc::clone(&processor);
        async move { processor.process(message).await }
    }))
}

impl OrderProcessor {
    async fn process(&self, Message { body, deadline, .. }: Message) -> Result<(), ProcessError> {
        let event = EventBridgeEvent::<OrderCreated>::parse(&body)?.detail;
        trace_context::attach(&event.follow_up_context());
        match &self.started_sagas {
            None => self.start_saga(&event).await?,
            Some(started_sagas) => {
                let key = event.event_id.to_string();
                started_sagas
                    .run_once(&key, received_detail(&body)?, deadline, || {
                        self.start_saga(&event)
                    })
                    .await?;
            }
        }
        Ok(())
    }

    async fn start_saga(&self, event: &Envelope<OrderCreated>) -> Result<(), StartError> {
        let request = self
            .step_functions
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .name(event.data.order_id.to_string())
            .input(SagaInput::from(event).to_json());
        match request.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => tracing::info!("the order saga was started"),
            Err(StartExecutionError::ExecutionAlreadyExists(_)) => {
                tracing::info!("the order saga was already started");
            }
            Err(error) => return Err(StartError(DisplayErrorContext(error).to_string())),
        }
        Ok(())
    }
}
