//! DynamoDB's request units, from requests as they were recorded. The rules are those of "DynamoDB read and write
//! operations" in its developer guide.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{
    context::Context,
    trail::{Request, call},
};

/// A write unit pays for so many bytes of an item.
const WRITE_UNIT: usize = 1024;

/// What requests consumed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Units {
    /// Write request units.
    pub writes: usize,
    /// Read request units.
    pub reads: usize,
}

/// A secondary index, which is written together with its table.
struct Index {
    /// Its keys, and what else it holds; nothing when it holds everything.
    attributes: Option<Vec<String>>,
    keys: Vec<String>,
}

/// The tables that were written to: their keys, their indexes, and the size of each item.
#[derive(Default)]
pub struct Tables {
    tables: HashMap<String, (Vec<String>, Vec<Index>)>,
    /// (table, key) → bytes, as the last put left it.
    sizes: HashMap<(String, String), usize>,
}

impl Tables {
    /// What these requests consumed, which stand in the order in which they were made.
    ///
    /// # Errors
    /// When a table or an item that they name is not there any more.
    pub async fn consumed(&mut self, context: &Context, requests: &[&Request]) -> anyhow::Result<Units> {
        let mut units = Units::default();
        for Request {
            operation,
            parameters,
            ..
        } in requests
        {
            match operation.as_str() {
                "TransactWriteItems" => {
                    for write in list(&parameters["TransactItems"]) {
                        for (kind, write) in write.as_object().into_iter().flatten() {
                            // Prepared and committed: twice.
                            units.writes += self.write(context, kind, write, 2).await?;
                        }
                    }
                }
                "PutItem" => units.writes += self.write(context, "Put", parameters, 1).await?,
                "UpdateItem" => units.writes += self.write(context, "Update", parameters, 1).await?,
                "DeleteItem" => units.writes += self.write(context, "Delete", parameters, 1).await?,
                "BatchWriteItem" => {
                    for (table, writes) in parameters["RequestItems"].as_object().into_iter().flatten() {
                        for write in list(writes) {
                            let delete =
                                json!({"TableName": table, "Key": write["DeleteRequest"]["Key"].clone()});
                            units.writes += self.write(context, "Delete", &delete, 1).await?;
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

    async fn write(
        &mut self,
        context: &Context,
        kind: &str,
        write: &Value,
        times: usize,
    ) -> anyhow::Result<usize> {
        let table = write["TableName"].as_str().unwrap_or_default().to_owned();
        if !self.tables.contains_key(&table) {
            let described = describe(context, &table).await?;
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
        let bytes = match (kind, self.sizes.get(&key)) {
            ("Put", _) => size(item),
            // An update is charged by what the item has become.
            ("Update", _) => {
                let input = json!({"TableName": table, "Key": item, "ConsistentRead": true});
                let stored = call(context, "dynamodb", "DynamoDB_20120810.GetItem", &input).await?;
                size(&stored["Item"])
            }
            (_, known) => known.copied().unwrap_or(0),
        };
        let of_indexes: usize = indexes
            .iter()
            .map(|index| index.units(kind, &named, item, bytes))
            .sum();
        if kind == "Put" {
            self.sizes.insert(key, bytes);
        }
        Ok(rounded(bytes, WRITE_UNIT) * times + of_indexes)
    }
}

impl Index {
    /// What a write to the table costs here. An index that does not hold what changed is not written.
    fn units(&self, kind: &str, named: &Value, item: &Value, bytes: usize) -> usize {
        let named = |attribute: &String| match kind {
            "Put" => named.get(attribute).is_some(),
            _ => named
                .as_object()
                .is_some_and(|names| names.values().any(|name| name == attribute.as_str())),
        };
        match (kind, &self.attributes) {
            ("Put", _) if !self.keys.iter().all(named) => 0,
            ("Put", Some(held)) => {
                let held: Map<String, Value> = held
                    .iter()
                    .filter_map(|name| Some((name.clone(), item.get(name)?.clone())))
                    .collect();
                rounded(size(&Value::Object(held)), WRITE_UNIT)
            }
            // The old entry goes and the new one comes.
            ("Update", _) if self.keys.iter().any(named) => 2 * rounded(bytes, WRITE_UNIT),
            ("Update", Some(held)) if !held.iter().any(named) => 0,
            (_, _) => rounded(bytes, WRITE_UNIT),
        }
    }
}

async fn describe(context: &Context, table: &str) -> anyhow::Result<(Vec<String>, Vec<Index>)> {
    let input = json!({"TableName": table});
    let described = call(context, "dynamodb", "DynamoDB_20120810.DescribeTable", &input).await?;
    let table = &described["Table"];
    let keys = |schema: &Value| -> Vec<String> {
        list(&schema["KeySchema"])
            .filter_map(|key| Some(key["AttributeName"].as_str()?.to_owned()))
            .collect()
    };
    let of_table = keys(table);
    let indexes = list(&table["GlobalSecondaryIndexes"]).map(|index| {
        let own = keys(index);
        let more = list(&index["Projection"]["NonKeyAttributes"]).filter_map(|name| name.as_str());
        let attributes = of_table
            .iter()
            .cloned()
            .chain(own.clone())
            .chain(more.map(str::to_owned));
        Index {
            attributes: (index["Projection"]["ProjectionType"] != "ALL").then(|| attributes.collect()),
            // The table's keys never change.
            keys: own.into_iter().filter(|key| !of_table.contains(key)).collect(),
        }
    });
    let indexes = indexes.collect();
    Ok((of_table, indexes))
}

/// An item's size in bytes: names and values.
fn size(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes.map(|(name, value)| name.len() + of_value(value)).sum()
}

/// The size of `{"S": "…"}` and its kin.
fn of_value(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    match kind.as_str() {
        "S" => value.as_str().map_or(0, str::len),
        // A byte for two digits, and one for the sign.
        "N" => value.as_str().map_or(0, str::len) / 2 + 1,
        "L" => 3 + list(value).map(|member| 1 + of_value(member)).sum::<usize>(),
        "M" => 3 + value.as_object().map_or(0, Map::len) + size(value),
        _ => 1,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// How many units so many bytes are; nothing is one, too.
fn rounded(bytes: usize, unit: usize) -> usize {
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
            size(&item),
            (2 + 5) + (5 + 3) + (4 + 1) + (5 + 3 + 1 + (3 + 1 + 4 + 3))
        );
    }

    #[test]
    fn an_index_is_written_only_when_it_holds_what_changed() {
        let whole = Index {
            attributes: None,
            keys: vec![],
        };
        let keys = Index {
            attributes: Some(vec!["id".into()]),
            keys: vec![],
        };
        let sparse = Index {
            attributes: Some(vec!["id".into(), "open".into()]),
            keys: vec!["open".into()],
        };
        let names = json!({"#status": "status"});
        let update = |index: &Index, names: &Value| index.units("Update", names, &json!({}), 1500);
        assert_eq!(
            [&whole, &keys, &sparse].map(|index| update(index, &names)),
            [2, 0, 0]
        );
        assert_eq!(update(&sparse, &json!({"#open": "open"})), 4);
        let put = json!({"id": {"S": "1"}});
        assert_eq!(
            [&whole, &keys, &sparse].map(|index| index.units("Put", &put, &put, 1500)),
            [2, 1, 0]
        );
    }
}
