//! Writes that are applied together.

use aws_sdk_dynamodb::{
    Client,
    operation::transact_write_items::TransactWriteItemsError,
    types::{CancellationReason, Put, TransactWriteItem, Update},
};

use crate::DynamoDbError;

/// Applies all of the writes, or none: a single one without a transaction, which costs half as much.
pub async fn write(client: &Client, writes: &[TransactWriteItem]) -> Result<(), DynamoDbError> {
    match writes {
        [TransactWriteItem { put: Some(put), .. }] => put_item(client, put).await,
        [
            TransactWriteItem {
                update: Some(update), ..
            },
        ] => update_item(client, update).await,
        writes => transact(client, writes).await,
    }
}

async fn put_item(client: &Client, put: &Put) -> Result<(), DynamoDbError> {
    client
        .put_item()
        .table_name(put.table_name())
        .set_item(Some(put.item().clone()))
        .set_condition_expression(put.condition_expression().map(str::to_owned))
        .set_expression_attribute_names(put.expression_attribute_names().cloned())
        .set_expression_attribute_values(put.expression_attribute_values().cloned())
        .send()
        .await?;
    Ok(())
}

async fn update_item(client: &Client, update: &Update) -> Result<(), DynamoDbError> {
    client
        .update_item()
        .table_name(update.table_name())
        .set_key(Some(update.key().clone()))
        .update_expression(update.update_expression())
        .set_condition_expression(update.condition_expression().map(str::to_owned))
        .set_expression_attribute_names(update.expression_attribute_names().cloned())
        .set_expression_attribute_values(update.expression_attribute_values().cloned())
        .send()
        .await?;
    Ok(())
}

async fn transact(client: &Client, writes: &[TransactWriteItem]) -> Result<(), DynamoDbError> {
    let request = client
        .transact_write_items()
        .set_transact_items(Some(writes.to_vec()));
    let Err(error) = request.send().await else {
        return Ok(());
    };
    if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() {
        let reasons = cancelled.cancellation_reasons();
        let failed = positions(reasons, "ConditionalCheckFailed");
        if !failed.is_empty() {
            return Err(DynamoDbError::ConditionsFailed(failed));
        }
        if !positions(reasons, "TransactionConflict").is_empty() {
            return Err(DynamoDbError::Conflict);
        }
    }
    Err(error.into())
}

fn positions(reasons: &[CancellationReason], code: &str) -> Vec<usize> {
    let reasons = reasons.iter().enumerate();
    reasons
        .filter(|(_, reason)| reason.code() == Some(code))
        .map(|(position, _)| position)
        .collect()
}
