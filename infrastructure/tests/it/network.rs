//! Which functions run in the VPC (ADR 15), and their rights to do so.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::template::{of_type, one_or_more, referenced_id, resources};

const FUNCTION: &str = "AWS::Serverless::Function";

/// The variables with a private address, or with the name of a secret that contains one.
const PRIVATE_ADDRESSES: [&str; 4] = [
    "DATABASE_CREDENTIALS_SECRET",
    "DATABASE_URL",
    "REDIS_URL",
    "STOCK_SERVICE_URL",
];

/// What Lambda needs to give a function network interfaces in a VPC
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html>).
const NETWORK_RIGHTS: [&str; 6] = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
];

fn has_private_address(function: &Value) -> bool {
    let variables = function["Properties"]["Environment"]["Variables"].as_object();
    variables.is_some_and(|variables| PRIVATE_ADDRESSES.iter().any(|name| variables.contains_key(*name)))
}

fn is_in_vpc(function: &Value) -> bool {
    !function["Properties"]["VpcConfig"].is_null()
}

/// The EC2 actions that the role itself allows when the functions run in the VPC. A separate policy does not
/// count: CloudFormation may create the function first.
fn network_rights(role: &Value) -> BTreeSet<&str> {
    let policies = role["Properties"]["Policies"].as_array().unwrap();
    policies
        .iter()
        .map(|policy| match &policy["Fn::If"] {
            Value::Array(choice) if choice[0] == "IsInVpc" => &choice[1],
            _ => policy,
        })
        .flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap())
        .filter(|statement| statement["Effect"] == "Allow" && statement["Resource"] == "*")
        .flat_map(|statement| one_or_more(&statement["Action"]))
        .filter(|action| action.starts_with("ec2:"))
        .collect()
}

#[test]
fn functions_with_private_addresses_and_no_others_run_in_the_vpc() {
    let resources = resources();
    let functions = of_type(&resources, FUNCTION);
    let ids = |has_property: fn(&Value) -> bool| -> BTreeSet<&str> {
        let matching = functions.iter().filter(|(_, function)| has_property(function));
        matching.map(|(id, _)| *id).collect()
    };
    let in_vpc = ids(is_in_vpc);
    assert_eq!(in_vpc, ids(has_private_address));
    for id in ["ReserveStock", "UpdateStock", "ReleaseStock", "Login"] {
        assert!(in_vpc.contains(id), "{id}");
    }
    let vpc_config = json!({"Fn::If": [
        "IsInVpc",
        {"SubnetIds": {"Ref": "FunctionSubnets"}, "SecurityGroupIds": {"Ref": "FunctionSecurityGroups"}},
        {"Ref": "AWS::NoValue"},
    ]});
    for id in in_vpc {
        assert_eq!(functions[id]["Properties"]["VpcConfig"], vpc_config, "{id}");
    }
}

#[test]
fn functions_in_the_vpc_and_no_others_have_network_rights_in_their_role() {
    let resources = resources();
    for (id, function) in of_type(&resources, FUNCTION) {
        let role = referenced_id(&function["Properties"]["Role"]).unwrap();
        let expected: &[&str] = if is_in_vpc(function) { &NETWORK_RIGHTS } else { &[] };
        let rights = network_rights(&resources[role]);
        assert_eq!(rights.into_iter().collect::<Vec<_>>(), expected, "{id}");
    }
    for (id, policy) in of_type(&resources, "AWS::IAM::Policy") {
        assert!(!policy.to_string().contains("ec2:"), "{id}");
    }
}
