//! Computes DynamoDB request units from recorded requests, with the rules of "DynamoDB read and write
//! operations" in DynamoDB's developer guide.

use std::collections::HashMap;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::{
    cloudtrail::{RecordedRequest, call_aws},
    context::Context,
};

/// One write request unit covers this many bytes of an item.
const WRITE_UNIT_BYTES: usize = 1024;

/// Consumed request units.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestUnits {
    /// Write request units.
    pub writes: usize,
    /// Read request units.
    pub reads: f64,
}

/// A global secondary index, which DynamoDB writes together with its table.
struct SecondaryIndex {
    /// The projected attributes, including keys. `None` when the index projects all attributes.
    projected_attributes: Option<Vec<String>>,
    key_attributes: Vec<String>,
}

/// Computes consumed units. It caches keys and indexes of each table, and each written item.
#[derive(Default)]
pub struct UnitCalculator {
    tables: HashMap<String, (Vec<String>, Vec<SecondaryIndex>)>,
    /// (table, key) → item of the last put.
    written_items: HashMap<(String, String), Value>,
}

impl UnitCalculator {
    /// Returns the units that `requests` consumed. They must be in chronological order.
    ///
    /// # Errors
    /// Fails when a table or an updated item does not exist any more.
    pub async fn consumed_units(
        &mut self,
        context: &Context,
        requests: &[&RecordedRequest],
    ) -> anyhow::Result<RequestUnits> {
        let mut units = RequestUnits::default();
        for RecordedRequest {
            operation,
            parameters,
            ..
        } in requests
        {
            match operation.as_str() {
                "TransactWriteItems" => {
                    for write in array_elements(&parameters["TransactItems"]) {
                        for (kind, write) in write.as_object().into_iter().flatten() {
                            // A transaction prepares and commits each write, which costs twice the units.
                            units.writes += self.write_units(context, kind, write, 2).await?;
                        }
                    }
                }
                "PutItem" => units.writes += self.write_units(context, "Put", parameters, 1).await?,
                "UpdateItem" => units.writes += self.write_units(context, "Update", parameters, 1).await?,
                "DeleteItem" => units.writes += self.write_units(context, "Delete", parameters, 1).await?,
                "BatchWriteItem" => {
                    for (table, writes) in parameters["RequestItems"].as_object().into_iter().flatten() {
                        for write in array_elements(writes) {
                            let delete =
                                json!({"TableName": table, "Key": write["DeleteRequest"]["Key"].clone()});
                            units.writes += self.write_units(context, "Delete", &delete, 1).await?;
                        }
                    }
                }
                // No item and no result of a query is larger than one unit.
                "GetItem" | "Query" => {
                    let is_consistent = parameters["ConsistentRead"] == true;
                    units.reads += if is_consistent { 1.0 } else { 0.5 };
                }
                _ => {}
            }
        }
        Ok(units)
    }

    async fn write_units(
        &mut self,
        context: &Context,
        kind: &str,
        write: &Value,
        units_factor: usize,
    ) -> anyhow::Result<usize> {
        let table = write["TableName"]
            .as_str()
            .context("a write has no TableName")?
            .to_owned();
        if !self.tables.contains_key(&table) {
            let description = describe_table(context, &table).await?;
            self.tables.insert(table.clone(), description);
        }
        let (keys, indexes) = &self.tables[&table];
        let item = if kind == "Put" {
            &write["Item"]
        } else {
            &write["Key"]
        };
        let key: Vec<_> = keys.iter().map(|key| item[key].to_string()).collect();
        let key = (table.clone(), key.join(" "));
        let known = self.written_items.get(&key);
        let written_attributes = match kind {
            "Put" => item,
            "Update" => &write["ExpressionAttributeNames"],
            _ => known.unwrap_or(&Value::Null),
        };
        let bytes = match (kind, known) {
            ("Put", _) => item_size(item),
            // DynamoDB charges an update by the size of the updated item.
            ("Update", _) => {
                let input = json!({"TableName": table, "Key": item, "ConsistentRead": true});
                let stored = call_aws(context, "dynamodb", "DynamoDB_20120810.GetItem", &input).await?;
                item_size(&stored["Item"])
            }
            // The size is unknown when no recorded put wrote the item. It then counts as one unit.
            (_, known) => known.map_or(0, item_size),
        };
        let index_units: usize = indexes
            .iter()
            .map(|index| index.write_units(kind, written_attributes, bytes))
            .sum();
        let units = round_up_to_units(bytes, WRITE_UNIT_BYTES) * units_factor + index_units;
        if kind == "Put" {
            self.written_items.insert(key, item.clone());
        }
        Ok(units)
    }
}

impl SecondaryIndex {
    /// Returns the size of the copy of an item in this index, in bytes.
    fn entry_size(&self, item: &Value) -> usize {
        let Some(projected) = &self.projected_attributes else {
            return item_size(item);
        };
        let entry: Map<String, Value> = projected
            .iter()
            .filter_map(|name| Some((name.clone(), item.get(name)?.clone())))
            .collect();
        item_size(&Value::Object(entry))
    }

    /// Returns the units that a write to the table costs in this index: none when no projected attribute
    /// changes.
    fn write_units(&self, kind: &str, written_attributes: &Value, bytes: usize) -> usize {
        let is_written = |attribute: &String| match kind {
            "Put" | "Delete" => written_attributes.get(attribute).is_some(),
            _ => written_attributes
                .as_object()
                .is_some_and(|names| names.values().any(|name| name == attribute.as_str())),
        };
        match (kind, &self.projected_attributes) {
            // An unknown item that is deleted may be in the index.
            ("Delete", _) if written_attributes.is_null() => round_up_to_units(bytes, WRITE_UNIT_BYTES),
            ("Put" | "Delete", _) if !self.key_attributes.iter().all(is_written) => 0,
            ("Put" | "Delete", Some(_)) => {
                round_up_to_units(self.entry_size(written_attributes), WRITE_UNIT_BYTES)
            }
            // DynamoDB deletes the old index entry and inserts the new one.
            ("Update", _) if self.key_attributes.iter().any(is_written) => {
                2 * round_up_to_units(bytes, WRITE_UNIT_BYTES)
            }
            ("Update", Some(projected)) if !projected.iter().any(is_written) => 0,
            (_, _) => round_up_to_units(bytes, WRITE_UNIT_BYTES),
        }
    }
}

/// Returns the size in bytes of an item and of its copies in the indexes of its table.
///
/// # Errors
/// Fails when the table does not exist.
pub async fn stored_sizes(context: &Context, table: &str, item: &Value) -> anyhow::Result<(usize, usize)> {
    let (_, indexes) = describe_table(context, table).await?;
    let copies = indexes.iter().map(|index| index.entry_size(item)).sum();
    Ok((item_size(item), copies))
}

async fn describe_table(
    context: &Context,
    table: &str,
) -> anyhow::Result<(Vec<String>, Vec<SecondaryIndex>)> {
    let input = json!({"TableName": table});
    let described = call_aws(context, "dynamodb", "DynamoDB_20120810.DescribeTable", &input).await?;
    let table = &described["Table"];
    let keys = |schema: &Value| -> Vec<String> {
        array_elements(&schema["KeySchema"])
            .filter_map(|key| Some(key["AttributeName"].as_str()?.to_owned()))
            .collect()
    };
    let table_keys = keys(table);
    let indexes = array_elements(&table["GlobalSecondaryIndexes"]).map(|index| {
        let own = keys(index);
        let more = array_elements(&index["Projection"]["NonKeyAttributes"]).filter_map(|name| name.as_str());
        let attributes = table_keys
            .iter()
            .cloned()
            .chain(own.clone())
            .chain(more.map(str::to_owned));
        SecondaryIndex {
            projected_attributes: (index["Projection"]["ProjectionType"] != "ALL")
                .then(|| attributes.collect()),
            // A table's keys never change, so only the index's own keys matter.
            key_attributes: own.into_iter().filter(|key| !table_keys.contains(key)).collect(),
        }
    });
    let indexes = indexes.collect();
    Ok((table_keys, indexes))
}

/// Returns the size of an item in bytes: attribute names and values.
fn item_size(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

/// Returns the size of a typed attribute value, such as `{"S": "…"}`.
fn value_size(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    match kind.as_str() {
        "S" => value.as_str().map_or(0, str::len),
        // One byte for two digits, and one byte for the sign.
        "N" => value.as_str().map_or(0, str::len) / 2 + 1,
        "L" => {
            3 + array_elements(value)
                .map(|member| 1 + value_size(member))
                .sum::<usize>()
        }
        "M" => 3 + value.as_object().map_or(0, Map::len) + item_size(value),
        _ => 1,
    }
}

fn array_elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns the number of units for `bytes`, at least one.
fn round_up_to_units(bytes: usize, unit: usize) -> usize {
    bytes.div_ceil(unit).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_size_is_the_sum_of_names_and_values() {
        let item = json!({
            "id": {"S": "12345"}, "count": {"N": "1234"}, "open": {"BOOL": true},
            "lines": {"L": [{"M": {"name": {"S": "tea"}}}]},
        });
        assert_eq!(
            item_size(&item),
            (2 + 5) + (5 + 3) + (4 + 1) + (5 + 3 + 1 + (3 + 1 + 4 + 3))
        );
    }

    #[test]
    fn an_index_is_written_only_when_a_projected_attribute_changes() {
        let whole = SecondaryIndex {
            projected_attributes: None,
            key_attributes: vec![],
        };
        let keys = SecondaryIndex {
            projected_attributes: Some(vec!["id".into()]),
            key_attributes: vec![],
        };
        let sparse = SecondaryIndex {
            projected_attributes: Some(vec!["id".into(), "open".into()]),
            key_attributes: vec!["open".into()],
        };
        let names = json!({"#status": "status"});
        let update = |index: &SecondaryIndex, names: &Value| index.write_units("Update", names, 1500);
        assert_eq!(
            [&whole, &keys, &sparse].map(|index| update(index, &names)),
            [2, 0, 0]
        );
        assert_eq!(update(&sparse, &json!({"#open": "open"})), 4);
        let item = json!({"id": {"S": "1"}});
        for kind in ["Put", "Delete"] {
            assert_eq!(
                [&whole, &keys, &sparse].map(|index| index.write_units(kind, &item, 1500)),
                [2, 1, 0]
            );
        }
        let unknown = Value::Null;
        assert_eq!(sparse.write_units("Delete", &unknown, 0), 1);
    }
}
