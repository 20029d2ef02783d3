//! The executions of the state machine `order-saga`.

use aws_sdk_sfn::{
    Client as StepFunctions,
    error::{DisplayErrorContext, SdkError},
    operation::{describe_execution::DescribeExecutionError, start_execution::StartExecutionError},
    types::{ExecutionStatus, StateMachineType},
};
use domain::OrderId;
use lambda_shared::{FunctionContext, InitError};

use crate::saga_input::SagaInput;

/// The error name of an execution that parked its order (`step-functions/order-saga.asl.json`).
const PARKED_BY_SAGA: &str = "OrderParked";

/// The state machine. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct OrderSaga {
    client: StepFunctions,
    state_machine_arn: String,
    is_standard: bool,
}

/// Step Functions returned an error or did not respond. Contains the messages of the SDK error and all its
/// sources.
#[derive(Debug, thiserror::Error)]
#[error("Step Functions failed: {0}")]
pub struct StepFunctionsError(String);

/// The result of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Started,
    /// A Standard state machine has had an execution of this name in the last 90 days.
    AlreadyStarted,
}

/// The state of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionState {
    Running,
    Missing,
    /// `parked` is true when the execution has sent the order to the parking queue.
    Ended {
        parked: bool,
    },
}

impl OrderSaga {
    /// The state machine `STATE_MACHINE_ARN`.
    pub async fn from_context(context: &FunctionContext) -> Result<Self, InitError> {
        let state_machine_arn: String = context.environment.required("STATE_MACHINE_ARN")?;
        let client = StepFunctions::new(&context.aws);
        let described = client
            .describe_state_machine()
            .state_machine_arn(&state_machine_arn)
            .send()
            .await?;
        Ok(Self {
            client,
            state_machine_arn,
            is_standard: described.r#type == StateMachineType::Standard,
        })
    }

    /// Whether the state machine is Standard. An Express one accepts duplicate names of executions, and does
    /// not describe them.
    #[must_use]
    pub fn is_standard(&self) -> bool {
        self.is_standard
    }

    /// Starts the order's execution after this number of restarts.
    pub async fn start(
        &self,
        order_id: OrderId,
        restarts: u32,
        input: &SagaInput,
    ) -> Result<Start, StepFunctionsError> {
        let request = self
            .client
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .name(execution_name(order_id, restarts))
            .input(input.to_json());
        match request.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(Start::Started),
            Err(StartExecutionError::ExecutionAlreadyExists(_)) => Ok(Start::AlreadyStarted),
            Err(error) => Err(StepFunctionsError(DisplayErrorContext(error).to_string())),
        }
    }

    /// The state of the order's execution after this number of restarts, which counts as ended when the state
    /// machine is Express.
    pub async fn execution_state(
        &self,
        order_id: OrderId,
        restarts: u32,
    ) -> Result<ExecutionState, StepFunctionsError> {
        if !self.is_standard {
            return Ok(ExecutionState::Ended { parked: false });
        }
        let described = self
            .client
            .describe_execution()
            .execution_arn(self.execution_arn(order_id, restarts))
            .send()
            .await;
        match described.map_err(SdkError::into_service_error) {
            Ok(execution) if execution.status == ExecutionStatus::Running => Ok(ExecutionState::Running),
            Ok(execution) => Ok(ExecutionState::Ended {
                parked: execution.error.as_deref() == Some(PARKED_BY_SAGA),
            }),
            Err(DescribeExecutionError::ExecutionDoesNotExist(_)) => Ok(ExecutionState::Missing),
            Err(error) => Err(StepFunctionsError(DisplayErrorContext(error).to_string())),
        }
    }

    #[must_use]
    pub fn execution_arn(&self, order_id: OrderId, restarts: u32) -> String {
        let prefix = self
            .state_machine_arn
            .replacen(":stateMachine:", ":execution:", 1);
        format!("{prefix}:{}", execution_name(order_id, restarts))
    }
}

/// The name of an order's execution. Step Functions rejects a second start with the same name.
fn execution_name(order_id: OrderId, restarts: u32) -> String {
    match restarts {
        0 => order_id.to_string(),
        restarts => format!("{order_id}-{}", restarts + 1),
    }
}
