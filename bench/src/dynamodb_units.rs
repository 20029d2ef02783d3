//! DynamoDB's request units, from requests as they were recorded. The rules are those of "DynamoDB read and write
//! operations" in its developer guide.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{
    cloudtrail::{RecordedRequest, call_aws},
    context::Context,
};

/// A write unit pays for so many bytes of an item.
const WRITE_UNIT_BYTES: usize = 1024;

/// What requests consumed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestUnits {
    /// Write request units.
    pub writes: usize,
    /// Read request units.
    pub reads: usize,
}

/// A secondary index, which is written together with its table.
struct SecondaryIndex {
    /// Its keys, and what else it holds; nothing when it holds everything.
    projected_attributes: Option<Vec<String>>,
    key_attributes: Vec<String>,
}

/// The tables that were written to: their keys, their indexes, and the size of each item.
#[derive(Default)]
pub struct UnitCalculator {
    tables: HashMap<String, (Vec<String>, Vec<SecondaryIndex>)>,
    /// (table, key) → bytes, as the last put left it.
    item_sizes: HashMap<(String, String), usize>,
}

impl UnitCalculator {
    /// What these requests consumed, which stand in the order in which they were made.
    ///
    /// # Errors
    /// When a table or an item that they name is not there any more.
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
                            // Prepared and committed: twice.
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
                // Every read of ours is consistent, and no item is larger than a unit.
                "GetItem" => units.reads += 1,
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
        times: usize,
    ) -> anyhow::Result<usize> {
        let table = write["TableName"].as_str().unwrap_or_default().to_owned();
        if !self.tables.contains_key(&table) {
            let described = describe_table(context, &table).await?;
            self.tables.insert(table.clone(), described);
        }
        let (keys, indexes) = &self.tables[&table];
        let item = if kind == "Put" {
            &write["Item"]
        } else {
            &write["Key"]
        };
        let key: Vec<_> = keys.iter().map(|key| item[key].to_string()).collect();
        let key = (table.clone(), key.join(" "));
        let named = if kind == "Put" {
            item.clone()
        } else {
            write["ExpressionAttributeNames"].clone()
        };
        let bytes = match (kind, self.item_sizes.get(&key)) {
            ("Put", _) => item_size(item),
            // An update is charged by what the item has become.
            ("Update", _) => {
                let input = json!({"TableName": table, "Key": item, "ConsistentRead": true});
                let stored = call_aws(context, "dynamodb", "DynamoDB_20120810.GetItem", &input).await?;
                item_size(&stored["Item"])
            }
            (_, known) => known.copied().unwrap_or(0),
        };
        let of_indexes: usize = indexes
            .iter()
            .map(|index| index.write_units(kind, &named, item, bytes))
            .sum();
        if kind == "Put" {
            self.item_sizes.insert(key, bytes);
        }
        Ok(round_up_to_units(bytes, WRITE_UNIT_BYTES) * times + of_indexes)
    }
}

impl SecondaryIndex {
    /// What a write to the table costs here. An index that does not hold what changed is not written.
    fn write_units(&self, kind: &str, named: &Value, item: &Value, bytes: usize) -> usize {
        let named = |attribute: &String| match kind {
            "Put" => named.get(attribute).is_some(),
            _ => named
                .as_object()
                .is_some_and(|names| names.values().any(|name| name == attribute.as_str())),
        };
        match (kind, &self.projected_attributes) {
            ("Put", _) if !self.key_attributes.iter().all(named) => 0,
            ("Put", Some(held)) => {
                let held: Map<String, Value> = held
                    .iter()
                    .filter_map(|name| Some((name.clone(), item.get(name)?.clone())))
                    .collect();
                round_up_to_units(item_size(&Value::Object(held)), WRITE_UNIT_BYTES)
            }
            // The old entry goes and the new one comes.
            ("Update", _) if self.key_attributes.iter().any(named) => {
                2 * round_up_to_units(bytes, WRITE_UNIT_BYTES)
            }
            ("Update", Some(held)) if !held.iter().any(named) => 0,
            (_, _) => round_up_to_units(bytes, WRITE_UNIT_BYTES),
        }
    }
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
    let of_table = keys(table);
    let indexes = array_elements(&table["GlobalSecondaryIndexes"]).map(|index| {
        let own = keys(index);
        let more = array_elements(&index["Projection"]["NonKeyAttributes"]).filter_map(|name| name.as_str());
        let attributes = of_table
            .iter()
            .cloned()
            .chain(own.clone())
            .chain(more.map(str::to_owned));
        SecondaryIndex {
            projected_attributes: (index["Projection"]["ProjectionType"] != "ALL")
                .then(|| attributes.collect()),
            // The table's keys never change.
            key_attributes: own.into_iter().filter(|key| !of_table.contains(key)).collect(),
        }
    });
    let indexes = indexes.collect();
    Ok((of_table, indexes))
}

/// An item's size in bytes: names and values.
fn item_size(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

/// The size of `{"S": "…"}` and its kin.
fn value_size(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    match kind.as_str() {
        "S" => value.as_str().map_or(0, str::len),
        // A byte for two digits, and one for the sign.
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

/// How many units so many bytes are; nothing is one, too.
fn round_up_to_units(bytes: usize, unit: usize) -> usize {
    bytes.div_ceil(unit).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_as_large_as_its_names_and_values() {
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
    fn an_index_is_written_only_when_it_holds_what_changed() {
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
        let update =
            |index: &SecondaryIndex, names: &Value| index.write_units("Update", names, &json!({}), 1500);
        assert_eq!(
            [&whole, &keys, &sparse].map(|index| update(index, &names)),
            [2, 0, 0]
        );
        assert_eq!(update(&sparse, &json!({"#open": "open"})), 4);
        let put = json!({"id": {"S": "1"}});
        assert_eq!(
            [&whole, &keys, &sparse].map(|index| index.write_units("Put", &put, &put, 1500)),
            [2, 1, 0]
        );
    }
}
