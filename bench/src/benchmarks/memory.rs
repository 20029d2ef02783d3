//! Memory of the services, idle and under load, and their startup time.

use std::time::Duration;

use tokio::time::sleep;

use super::catalog;
use crate::{
    context::Context, process::ServiceProcess, report::Section, stats::Summary, stock_service::StockService,
};

/// Number of concurrent clients.
const CLIENTS: usize = 256;

/// How long a service is without load before its idle memory is read.
const IDLE_DELAY: Duration = Duration::from_secs(2);

/// Startup times in milliseconds and memory in MiB.
#[derive(Default)]
struct MemorySamples {
    ready_ms: Vec<f64>,
    idle: Vec<f64>,
    loaded: Vec<f64>,
    peak: Vec<f64>,
}

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let rounds = context.full_or_quick(5, 2);
    let load = Duration::from_secs(context.full_or_quick(5, 2));
    let (mut core_api, mut stock_service) = (MemorySamples::default(), MemorySamples::default());
    for round in 1..=rounds {
        eprintln!("    start {round} of {rounds}");
        let service = catalog::start_core_api(context).await?;
        core_api.record_idle(&service).await?;
        let products = catalog::product_paths(&service).await?;
        catalog::measure_rate(&service, CLIENTS, &products, load).await?;
        core_api.record_loaded(&service)?;

        let mut stock_load = StockService::start(context).await?;
        stock_service.record_idle(&stock_load.process).await?;
        stock_load.measure_rate(1000, CLIENTS, load).await?;
        stock_service.record_loaded(&stock_load.process)?;
    }
    Ok(Section {
        title: "Memory and startup".to_owned(),
        text: format!(
            "*ready*: milliseconds from the start of the process until `/ready` responds with 200, which \
             requires the database and AWS. Memory is the resident set size in MiB: *idle* {} s later, and \
             *under load* after {} s with {CLIENTS} concurrent clients, which read all products (core-api) \
             or reserve units of 1,000 products (stock-service). {rounds} alternating starts of each \
             service.",
            IDLE_DELAY.as_secs(),
            load.as_secs()
        ),
        columns: ["", "ready, ms", "idle", "under load", "peak"]
            .map(str::to_owned)
            .into(),
        rows: vec![
            core_api.into_table_row("core-api"),
            stock_service.into_table_row("stock-service"),
        ],
        targets: Vec::new(),
    })
}

impl MemorySamples {
    async fn record_idle(&mut self, service: &ServiceProcess) -> anyhow::Result<()> {
        self.ready_ms.push(service.ready_after.as_secs_f64() * 1000.0);
        sleep(IDLE_DELAY).await;
        self.idle.push(service.memory()?.current);
        Ok(())
    }

    fn record_loaded(&mut self, service: &ServiceProcess) -> anyhow::Result<()> {
        let memory = service.memory()?;
        self.loaded.push(memory.current);
        self.peak.push(memory.peak);
        Ok(())
    }

    fn into_table_row(self, name: &str) -> Vec<String> {
        let summaries = [self.ready_ms, self.idle, self.loaded, self.peak]
            .map(|samples| Summary::from_samples(samples).to_string());
        [name.to_owned()].into_iter().chain(summaries).collect()
    }
}
