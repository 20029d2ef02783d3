//! Reads `infrastructure/sam/template.yaml` as JSON: with the long form of all intrinsic functions, and with
//! the loops (`Fn::ForEach`) expanded.

use std::collections::{BTreeMap, BTreeSet};

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value, json};

const TEMPLATE: &str = include_str!("../../sam/template.yaml");

/// The resources by logical id.
pub type Resources = BTreeMap<String, Value>;

pub fn resources() -> Resources {
    let documents = Yaml::load_from_str(TEMPLATE).unwrap();
    let Value::Object(declared) = to_json(&documents[0])["Resources"].take() else {
        panic!("the template has no resources");
    };
    let mut resources = Resources::new();
    for (key, value) in declared {
        if key.starts_with("Fn::ForEach::") {
            resources.extend(expand_loop(&value));
        } else {
            resources.insert(key, value);
        }
    }
    resources
}

/// The declaration of a parameter.
pub fn parameter(name: &str) -> Value {
    let documents = Yaml::load_from_str(TEMPLATE).unwrap();
    to_json(&documents[0])["Parameters"][name].take()
}

/// A value of a mapping, as `Fn::FindInMap` finds it.
pub fn find_in_map(arguments: &Value) -> Value {
    let documents = Yaml::load_from_str(TEMPLATE).unwrap();
    let mappings = to_json(&documents[0])["Mappings"].take();
    let [map, key, attribute] = [0, 1, 2].map(|index| arguments[index].as_str().unwrap());
    mappings[map][key][attribute].clone()
}

/// The resources of a type, by logical id.
pub fn of_type<'a>(resources: &'a Resources, resource_type: &str) -> BTreeMap<&'a str, &'a Value> {
    resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == resource_type)
        .map(|(id, resource)| (id.as_str(), resource))
        .collect()
}

/// The logical id in `!Ref Id` or `!GetAtt Id.Attribute`.
pub fn referenced_id(value: &Value) -> Option<&str> {
    value["Ref"].as_str().or_else(|| value["Fn::GetAtt"][0].as_str())
}

/// The ids of all resources that CloudFormation creates before the resource `id`.
pub fn created_before<'a>(resources: &'a Resources, id: &str) -> BTreeSet<&'a str> {
    let mut before = BTreeSet::new();
    let mut pending = vec![id];
    while let Some(id) = pending.pop() {
        let mut names = Vec::new();
        collect_names(&resources[id], &mut names);
        for name in names {
            if let Some((dependency, _)) = resources.get_key_value(&name)
                && before.insert(dependency.as_str())
            {
                pending.push(dependency);
            }
        }
    }
    before
}

/// Collects the names in `Ref`, `Fn::GetAtt`, `Fn::Sub` and `DependsOn`: resources, parameters and variables.
fn collect_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match key.as_str() {
                    "Ref" => names.extend(member.as_str().map(str::to_owned)),
                    "Fn::GetAtt" => names.extend(member[0].as_str().map(str::to_owned)),
                    "DependsOn" => names.extend(one_or_more(member).into_iter().map(str::to_owned)),
                    "Fn::Sub" => names.extend(variables(member.as_str().or(member[0].as_str()).unwrap())),
                    _ => {}
                }
                collect_names(member, names);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_names(value, names)),
        _ => {}
    }
}

/// The names in `${Name}` and `${Name.Attribute}`.
fn variables(text: &str) -> Vec<String> {
    text.split("${")
        .skip(1)
        .filter_map(|rest| rest.split(['}', '.']).next())
        .map(str::to_owned)
        .collect()
}

/// CloudFormation and IAM accept one value instead of a list.
pub fn one_or_more(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

/// Expands `[identifier, [value, …], {key: resource, …}]`.
fn expand_loop(declaration: &Value) -> Resources {
    let identifier = declaration[0].as_str().unwrap();
    let values = declaration[1].as_array().unwrap();
    let fragment = declaration[2].as_object().unwrap();
    values
        .iter()
        .map(|value| value.as_str().unwrap())
        .flat_map(|value| {
            fragment.iter().map(move |(key, resource)| {
                let placeholder = format!("${{{identifier}}}");
                (
                    key.replace(&placeholder, value),
                    substitute(resource, identifier, value),
                )
            })
        })
        .collect()
}

/// Replaces the loop's identifier in `Ref` and `Fn::Sub`.
fn substitute(node: &Value, identifier: &str, value: &str) -> Value {
    match node {
        Value::Object(members) if members.get("Ref").is_some_and(|name| name == identifier) => json!(value),
        Value::Object(members) => match members.get("Fn::Sub") {
            Some(Value::String(text)) => {
                let text = text.replace(&format!("${{{identifier}}}"), value);
                if text.contains("${") {
                    json!({"Fn::Sub": text})
                } else {
                    json!(text)
                }
            }
            _ => members
                .iter()
                .map(|(key, member)| (key.clone(), substitute(member, identifier, value)))
                .collect::<Map<_, _>>()
                .into(),
        },
        Value::Array(nodes) => nodes
            .iter()
            .map(|node| substitute(node, identifier, value))
            .collect(),
        other => other.clone(),
    }
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
            .map(|(key, member)| (key.as_str().unwrap().to_owned(), to_json(member)))
            .collect::<Map<_, _>>()
            .into(),
        Yaml::Tagged(tag, node) => long_form(&tag.suffix, to_json(node)),
        other => panic!("unsupported YAML: {other:?}"),
    }
}

/// `!GetAtt A.B` is short for `Fn::GetAtt: [A, B]`, and `!If […]` for `Fn::If: […]`.
fn long_form(tag: &str, argument: Value) -> Value {
    match (tag, &argument) {
        ("Ref", _) => json!({"Ref": argument}),
        ("Condition", _) => json!({"Condition": argument}),
        ("GetAtt", Value::String(path)) => {
            let (id, attribute) = path.split_once('.').unwrap();
            json!({"Fn::GetAtt": [id, attribute]})
        }
        _ => {
            let name = format!("Fn::{tag}");
            json!({name: argument})
        }
    }
}

#[test]
fn template_is_read_with_loops_and_short_forms() {
    let resources = resources();
    assert_eq!(
        resources["RegisterLogs"]["Properties"]["LogGroupName"]["Fn::Sub"][1]["Name"],
        json!({"Fn::FindInMap": ["FunctionNames", "Register", "Name"]})
    );
    assert_eq!(
        resources["RegisterErrorFilter"]["Properties"]["LogGroupName"],
        json!({"Ref": "RegisterLogs"})
    );
    assert_eq!(
        resources["Register"]["Properties"]["Role"],
        json!({"Fn::GetAtt": ["RegisterRole", "Arn"]})
    );
    assert!(created_before(&resources, "RegisterRoute").contains("RegisterRole"));
}
