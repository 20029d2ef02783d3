//! Catalog reads per second: core-api against a bare axum server that returns the same bytes.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    aws_stub,
    context::Context,
    databases, load_generator,
    process::{ServiceProcess, core_api_environment},
    report::{Section, Target, format_ratio},
    stats::Summary,
};

/// Number of concurrent clients.
const CLIENTS: usize = 64;

/// A benchmark case. `goal` is the minimum ratio to the baseline.
struct ReadCase {
    name: &'static str,
    goal: f64,
    paths: Vec<String>,
}

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let core_api = start_core_api(context).await?;
    let cases = build_cases(&core_api).await?;
    let baseline = start_baseline_server(context, &core_api, &cases).await?;
    let round = Duration::from_secs(context.full_or_quick(3, 1));
    let rounds = context.full_or_quick(7, 3);

    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for case in &cases {
        eprintln!("    {}", case.name);
        let (mut core_api_rates, mut baseline_rates) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            baseline_rates.push(measure_rate(&baseline, CLIENTS, &case.paths, round).await?);
            core_api_rates.push(measure_rate(&core_api, CLIENTS, &case.paths, round).await?);
        }
        let (measured, baseline_summary) = (
            Summary::from_samples(core_api_rates),
            Summary::from_samples(baseline_rates),
        );
        let ratio = measured.median / baseline_summary.median;
        rows.push(vec![
            case.name.to_owned(),
            measured.to_string(),
            baseline_summary.to_string(),
            format_ratio(ratio),
        ]);
        targets.push(Target::at_least(case.name, case.goal, ratio));
    }
    Ok(Section {
        title: "Catalog reads".to_owned(),
        text: format!(
            "Responses per second with {CLIENTS} concurrent clients. The baseline is a bare axum server \
             that returns the same bytes for the same paths from memory: without a database, logs, traces, \
             size limits or timeouts. core-api writes its usual log line per request. Alternating rounds of \
             {} s, {rounds} for each server. The load generator shares the CPU cores with the servers.",
            round.as_secs()
        ),
        columns: ["", "core-api/s", "bare axum/s", "Ratio"]
            .map(str::to_owned)
            .into(),
        rows,
        targets,
    })
}

/// Starts core-api with the system's database and the AWS stub.
pub async fn start_core_api(context: &Context) -> anyhow::Result<ServiceProcess> {
    let aws = aws_stub::start(aws_stub::Secrets::new())?;
    let database = databases::url_of_role(&context.addresses.database, "core_api")?;
    let environment = core_api_environment(context, &aws, &database);
    ServiceProcess::start(&context.executable("core-api"), &[], &environment).await
}

async fn start_baseline_server(
    context: &Context,
    core_api: &ServiceProcess,
    cases: &[ReadCase],
) -> anyhow::Result<ServiceProcess> {
    let mut bodies = HashMap::new();
    for target in cases.iter().flat_map(|case| &case.paths) {
        bodies.insert(target, core_api.get(target).await?);
    }
    let file = NamedTempFile::new()?;
    serde_json::to_writer(&file, &bodies)?;
    let path = file
        .path()
        .to_str()
        .context("the path of a temporary file is not valid UTF-8")?;
    ServiceProcess::start(&context.executable("baseline_server"), &[path], &[]).await
}

async fn build_cases(core_api: &ServiceProcess) -> anyhow::Result<Vec<ReadCase>> {
    let products = product_paths(core_api).await?;
    let lists =
        ["", "?sort=price_asc", "?sort=price_desc", "?sort=name"].map(|query| format!("/v1/products{query}"));
    Ok(vec![
        ReadCase {
            name: "one product, always the same",
            goal: 0.7,
            paths: vec![products[0].clone()],
        },
        ReadCase {
            name: "one product of 100, at random",
            goal: 0.7,
            paths: products,
        },
        ReadCase {
            name: "20 products, in one of four sort orders",
            goal: 0.5,
            paths: lists.into(),
        },
    ])
}

/// Returns the paths of 100 products.
pub async fn product_paths(core_api: &ServiceProcess) -> anyhow::Result<Vec<String>> {
    let page: Value = serde_json::from_str(&core_api.get("/v1/products?limit=100").await?)?;
    let products: Vec<String> = page["items"]
        .as_array()
        .context("a page of products has no items")?
        .iter()
        .filter_map(|product| Some(format!("/v1/products/{}", product["id"].as_str()?)))
        .collect();
    ensure!(products.len() == 100, "the catalog has fewer than 100 products");
    Ok(products)
}

/// Returns responses per second of `service` to `clients` that request random `paths`.
pub async fn measure_rate(
    service: &ServiceProcess,
    clients: usize,
    targets: &[String],
    duration: Duration,
) -> anyhow::Result<f64> {
    let result = load_generator::run(&service.address, clients, duration, |request| {
        let target = &targets[rand::random_range(0..targets.len())];
        request.extend_from_slice(b"GET ");
        request.extend_from_slice(target.as_bytes());
        request.extend_from_slice(b" HTTP/1.1\r\nhost: core-api\r\n\r\n");
        true
    })
    .await?;
    ensure!(
        result.statuses.len() == 1,
        "not every response was 200: {:?}",
        result.statuses
    );
    Ok(result.per_second(200))
}
