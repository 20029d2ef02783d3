//! Reading the catalogue: core-api against a bare axum handler that returns the same bytes.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    aws,
    context::Context,
    load,
    process::{Service, variables},
    report::{Section, Target, times},
    spread::Spread,
};

/// Clients at once.
const CLIENTS: usize = 64;

/// What is asked for, what a case is called, and which share of the reference is to be reached.
struct Case {
    name: &'static str,
    goal: f64,
    targets: Vec<String>,
}

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let ours = core_api(context).await?;
    let cases = cases(&ours).await?;
    let bare = bare(context, &ours, &cases).await?;
    let round = Duration::from_secs(context.pick(3, 1));
    let rounds = context.pick(7, 3);

    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for case in &cases {
        eprintln!("    {}", case.name);
        let (mut ours_rates, mut bare_rates) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            bare_rates.push(rate(&bare, CLIENTS, &case.targets, round).await?);
            ours_rates.push(rate(&ours, CLIENTS, &case.targets, round).await?);
        }
        let (reached, reference) = (Spread::of(ours_rates), Spread::of(bare_rates));
        let ratio = reached.median / reference.median;
        rows.push(vec![
            case.name.to_owned(),
            reached.to_string(),
            reference.to_string(),
            times(ratio),
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
pub async fn core_api(context: &Context) -> anyhow::Result<Service> {
    let aws = aws::start(aws::Secrets::new())?;
    let surroundings = variables(context, &aws, &context.addresses.database);
    Service::start(&context.executable("core-api"), &[], &surroundings).await
}

async fn bare(context: &Context, ours: &Service, cases: &[Case]) -> anyhow::Result<Service> {
    let mut bodies = HashMap::new();
    for target in cases.iter().flat_map(|case| &case.targets) {
        bodies.insert(target, ours.get(target).await?);
    }
    let file = NamedTempFile::new()?;
    serde_json::to_writer(&file, &bodies)?;
    let path = file
        .path()
        .to_str()
        .context("a temporary file has a name in Unicode")?;
    Service::start(&context.executable("bare"), &[path], &[]).await
}

async fn cases(ours: &Service) -> anyhow::Result<Vec<Case>> {
    let products = products(ours).await?;
    let lists =
        ["", "?sort=price_asc", "?sort=price_desc", "?sort=name"].map(|query| format!("/v1/products{query}"));
    Ok(vec![
        Case {
            name: "one product, always the same",
            goal: 0.7,
            targets: vec![products[0].clone()],
        },
        Case {
            name: "one product of 100, at random",
            goal: 0.7,
            targets: products,
        },
        Case {
            name: "20 products, in one of four orders",
            goal: 0.5,
            targets: lists.into(),
        },
    ])
}

/// Where a hundred products are read.
pub async fn products(ours: &Service) -> anyhow::Result<Vec<String>> {
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
pub async fn rate(
    service: &Service,
    clients: usize,
    targets: &[String],
    during: Duration,
) -> anyhow::Result<f64> {
    let answers = load::run(&service.address, clients, during, |request| {
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
