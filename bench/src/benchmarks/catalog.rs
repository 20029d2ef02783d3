//! Reading the catalogue: core-api against a bare axum handler that returns the same bytes.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    aws_stub,
    context::Context,
    load_generator,
    process::{ServiceProcess, service_environment},
    report::{Section, Target, format_ratio},
    spread::Summary,
};

/// Clients at once.
const CLIENTS: usize = 64;

/// What is asked for, what a case is called, and which share of the reference is to be reached.
struct ReadCase {
    name: &'static str,
    goal: f64,
    paths: Vec<String>,
}

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let ours = start_core_api(context).await?;
    let cases = build_cases(&ours).await?;
    let bare = start_baseline_server(context, &ours, &cases).await?;
    let round = Duration::from_secs(context.full_or_quick(3, 1));
    let rounds = context.full_or_quick(7, 3);

    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for case in &cases {
        eprintln!("    {}", case.name);
        let (mut ours_rates, mut bare_rates) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            bare_rates.push(measure_rate(&bare, CLIENTS, &case.paths, round).await?);
            ours_rates.push(measure_rate(&ours, CLIENTS, &case.paths, round).await?);
        }
        let (reached, reference) = (
            Summary::from_samples(ours_rates),
            Summary::from_samples(bare_rates),
        );
        let ratio = reached.median / reference.median;
        rows.push(vec![
            case.name.to_owned(),
            reached.to_string(),
            reference.to_string(),
            format_ratio(ratio),
        ]);
        targets.push(Target::at_least(case.name, case.goal, ratio));
    }
    Ok(Section {
        title: "Reading the catalogue".to_owned(),
        text: format!(
            "Answers per second with {CLIENTS} clients. The bare handler is an axum program that finds the same bytes \
             under the same addresses\nin memory: no database, no log, no trace, no limits of size and time. core-api \
             answers with its usual log line per request.\nRounds of {} s take turns, {rounds} each. The load \
             generator shares the cores with what is measured.",
            round.as_secs()
        ),
        columns: ["", "core-api/s", "bare axum/s", "Ratio"]
            .map(str::to_owned)
            .into(),
        rows,
        targets,
    })
}

/// core-api with the system's own catalogue, and an AWS that costs the machine nothing.
pub async fn start_core_api(context: &Context) -> anyhow::Result<ServiceProcess> {
    let aws = aws_stub::start(aws_stub::Secrets::new())?;
    let surroundings = service_environment(context, &aws, &context.addresses.database);
    ServiceProcess::start(&context.executable("core-api"), &[], &surroundings).await
}

async fn start_baseline_server(
    context: &Context,
    ours: &ServiceProcess,
    cases: &[ReadCase],
) -> anyhow::Result<ServiceProcess> {
    let mut bodies = HashMap::new();
    for target in cases.iter().flat_map(|case| &case.paths) {
        bodies.insert(target, ours.get(target).await?);
    }
    let file = NamedTempFile::new()?;
    serde_json::to_writer(&file, &bodies)?;
    let path = file
        .path()
        .to_str()
        .context("a temporary file has a name in Unicode")?;
    ServiceProcess::start(&context.executable("baseline_server"), &[path], &[]).await
}

async fn build_cases(ours: &ServiceProcess) -> anyhow::Result<Vec<ReadCase>> {
    let products = product_paths(ours).await?;
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
            name: "20 products, in one of four orders",
            goal: 0.5,
            paths: lists.into(),
        },
    ])
}

/// Where a hundred products are read.
pub async fn product_paths(ours: &ServiceProcess) -> anyhow::Result<Vec<String>> {
    let page: Value = serde_json::from_str(&ours.get("/v1/products?limit=100").await?)?;
    let products: Vec<String> = page["items"]
        .as_array()
        .context("a page has items")?
        .iter()
        .filter_map(|product| Some(format!("/v1/products/{}", product["id"].as_str()?)))
        .collect();
    ensure!(products.len() == 100, "the catalogue has too few products");
    Ok(products)
}

/// Answers per second of `service` to `clients` that ask for one of `targets`, chosen at random.
pub async fn measure_rate(
    service: &ServiceProcess,
    clients: usize,
    targets: &[String],
    during: Duration,
) -> anyhow::Result<f64> {
    let answers = load_generator::run(&service.address, clients, during, |request| {
        let target = &targets[rand::random_range(0..targets.len())];
        request.extend_from_slice(b"GET ");
        request.extend_from_slice(target.as_bytes());
        request.extend_from_slice(b" HTTP/1.1\r\nhost: shop\r\n\r\n");
        true
    })
    .await?;
    ensure!(
        answers.statuses.len() == 1,
        "not every answer was 200: {:?}",
        answers.statuses
    );
    Ok(answers.per_second(200))
}
