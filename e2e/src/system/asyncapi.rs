//! The schemas of the realtime API's messages in `docs/asyncapi.yaml`. Every message of every test is checked
//! against them.

use std::sync::OnceLock;

use jsonschema::Validator;
use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value, json};

const DOCUMENT: &str = include_str!("../../../docs/asyncapi.yaml");

/// The direction of a message.
#[derive(Clone, Copy, Debug)]
pub enum Direction {
    FromClient,
    FromServer,
}

/// Whether the document describes such a message. The error says what is wrong.
pub fn check_documented(direction: Direction, message: &Value) -> Result<(), String> {
    static VALIDATORS: OnceLock<[Validator; 2]> = OnceLock::new();
    let [from_client, from_server] =
        VALIDATORS.get_or_init(|| ["sendToServer", "receiveFromServer"].map(validator));
    let validator = match direction {
        Direction::FromClient => from_client,
        Direction::FromServer => from_server,
    };
    let checked = validator.validate(message);
    checked.map_err(|error| format!("docs/asyncapi.yaml does not describe {message}: {error}"))
}

/// Panics if the document describes no such message.
pub fn assert_documented(direction: Direction, message: &Value) {
    if let Err(problem) = check_documented(direction, message) {
        panic!("{problem}");
    }
}

/// Accepts the messages of one operation.
fn validator(operation: &str) -> Validator {
    let documents = Yaml::load_from_str(DOCUMENT).expect("the document is YAML");
    let mut schema = to_json(&documents[0]);
    let messages = schema["operations"][operation]["messages"].as_array();
    let payloads: Vec<Value> = messages
        .expect("the operation has messages")
        .iter()
        .map(|message| {
            let reference = message["$ref"].as_str().expect("messages are references");
            let name = reference.rsplit('/').next().expect("a reference is a path");
            json!({"$ref": format!("#/components/messages/{name}/payload")})
        })
        .collect();
    schema["oneOf"] = Value::Array(payloads);
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .expect("the payloads are JSON Schemas")
}

fn to_json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => json!(value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => json!(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => json!(value),
        Yaml::Sequence(nodes) => nodes.iter().map(to_json).collect(),
        Yaml::Mapping(members) => members
            .iter()
            .map(|(key, member)| (key.as_str().expect("keys are text").to_owned(), to_json(member)))
            .collect::<Map<_, _>>()
            .into(),
        other => panic!("unsupported YAML: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn documented_messages_are_told_from_others() {
        assert_documented(
            Direction::FromClient,
            &json!({"action": "ping", "request_id": "1"}),
        );
        let pong = json!({"type": "PONG", "at": "2026-11-29T00:00:00Z"});
        assert_documented(Direction::FromServer, &pong);
        let gateway_error =
            json!({"message": "Internal server error", "connectionId": "c", "requestId": "r"});
        assert_documented(Direction::FromServer, &gateway_error);
        for (direction, message) in [
            (Direction::FromServer, json!({"action": "ping"})),
            (Direction::FromServer, json!({"type": "PONG", "message": "Late."})),
            (Direction::FromClient, json!({"action": "ping", "user_id": "1"})),
            (Direction::FromServer, json!({"type": "PONG", "at": "now"})),
            (
                Direction::FromServer,
                json!({"type": "ERROR", "code": "other", "detail": "No."}),
            ),
        ] {
            let checked = catch_unwind(|| assert_documented(direction, &message));
            assert!(checked.is_err(), "{message}");
        }
    }
}
