//! `order-processor`: starts a saga for each new order.
//!
//! A saga's execution is named after its order. Of a Standard state machine Step Functions itself refuses the
//! name a second time, for 90 days, and no record of ours is needed. An Express state machine knows no names;
//! there an event starts its saga once by a record of ours.
//!
//! What never gets here, or whose saga dies, is found by `order-reconciler`.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sfn::{
    Client as StepFunctions,
    error::{DisplayErrorContext, SdkError},
    operation::start_execution::StartExecutionError,
    types::StateMachineType,
};
use events::{Envelope, EventBridgeEvent, eventbridge::EventParseError, order::OrderCreated};
use lambda_shared::{
    FunctionContext, Handler, Idempotency, InitError, idempotency::IdempotencyError, sqs, sqs::Message,
    trace_context,
};

use crate::{RECORD_RETENTION, saga_input::SagaInput};

/// How many sagas one invocation starts at once: all of a batch.
const CONCURRENCY: usize = 10;

struct OrderProcessor {
    step_functions: StepFunctions,
    state_machine_arn: String,
    /// Which events have started their saga; only where Step Functions does not know it.
    started_sagas: Option<Idempotency>,
}

/// Why no saga was started.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error(transparent)]
    Event(#[from] EventParseError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError<StartError>),
}

/// Step Functions did not start an execution. The SDK's errors tell what happened only along their chain.
#[derive(Debug, thiserror::Error)]
#[error("the saga cannot be started: {0}")]
struct StartError(String);

/// Makes the function, for the state machine `STATE_MACHINE_ARN`, with records in `IDEMPOTENCY_TABLE`.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let state_machine: String = init.environment.required("STATE_MACHINE_ARN")?;
    let table: String = init.environment.required("IDEMPOTENCY_TABLE")?;

    let sagas = StepFunctions::new(&init.aws);
    let described = sagas
        .describe_state_machine()
        .state_machine_arn(&state_machine)
        .send()
        .await?;
    let started = if described.r#type == StateMachineType::Express {
        let records = DynamoDb::new(&init.aws);
        let started = Idempotency::new(
            records,
            table,
            "order-processor",
            RECORD_RETENTION,
            init.clock.clone(),
        );
        started.warm_up().await?;
        Some(started)
    } else {
        None
    };

    let processor = Arc::new(OrderProcessor {
        step_functions: sagas,
        state_machine_arn: state_machine,
        started_sagas: started,
    });
    Ok(sqs::handler(init.clock, CONCURRENCY, move |message| {
        let processor = Arc::clone(&processor);
        async move { processor.process(message).await }
    }))
}

impl OrderProcessor {
    async fn process(&self, Message { body, deadline }: Message) -> Result<(), ProcessError> {
        let event = EventBridgeEvent::<OrderCreated>::parse(&body)?.detail;
        trace_context::attach(&event.follow_up_context());
        match &self.started_sagas {
            None => self.start_saga(&event).await?,
            Some(started) => {
                let key = event.event_id.to_string();
                started
                    .run_once(&key, &event, deadline, || self.start_saga(&event))
                    .await?;
            }
        }
        Ok(())
    }

    async fn start_saga(&self, event: &Envelope<OrderCreated>) -> Result<(), StartError> {
        let starting = self
            .step_functions
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .name(event.data.order_id.to_string())
            .input(SagaInput::from(event).to_json());
        match starting.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => tracing::info!("the order's saga has started"),
            Err(StartExecutionError::ExecutionAlreadyExists(_)) => {
                tracing::info!("the order's saga had started before");
            }
            Err(error) => return Err(StartError(DisplayErrorContext(error).to_string())),
        }
        Ok(())
    }
}
