//! Memory of the services, idle and under load, and how soon they are ready.

use std::time::Duration;

use tokio::time::sleep;

use super::catalog;
use crate::{
    context::Context, process::ServiceProcess, report::Section, spread::Summary, stock_service::StockService,
};

/// How many clients load a service.
const CLIENTS: usize = 256;

/// How long a service is left alone before it counts as idle.
const IDLE_DELAY: Duration = Duration::from_secs(2);

/// What was seen of one service.
#[derive(Default)]
struct MemorySamples {
    ready_ms: Vec<f64>,
    idle: Vec<f64>,
    loaded: Vec<f64>,
    peak: Vec<f64>,
}

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let rounds = context.full_or_quick(5, 2);
    let load = Duration::from_secs(context.full_or_quick(5, 2));
    let (mut core_api, mut stock_service) = (MemorySamples::default(), MemorySamples::default());
    for round in 1..=rounds {
        eprintln!("    start {round} of {rounds}");
        let shop = catalog::start_core_api(context).await?;
        core_api.record_idle(&shop).await?;
        let products = catalog::product_paths(&shop).await?;
        catalog::measure_rate(&shop, CLIENTS, &products, load).await?;
        core_api.record_loaded(&shop)?;

        let mut stock = StockService::start(context).await?;
        stock_service.record_idle(&stock.process).await?;
        stock.measure_rate(1000, CLIENTS, load).await?;
        stock_service.record_loaded(&stock.process)?;
    }
    Ok(Section {
        title: "Memory and start".to_owned(),
        text: format!(
            "Milliseconds from the start of the process until `/ready` answers 200, which it does when database and AWS \
             answer; memory in MiB\n(resident set) {} s later, and after {} s with {CLIENTS} clients at once: readers of \
             every product for core-api,\nbuyers of 1,000 products for stock-service. {rounds} starts each, in turns.",
            IDLE_DELAY.as_secs(),
            load.as_secs()
        ),
        columns: ["", "ready, ms", "idle", "under load", "highest"]
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
        let spreads = [self.ready_ms, self.idle, self.loaded, self.peak]
            .map(|measured| Summary::from_samples(measured).to_string());
        [name.to_owned()].into_iter().chain(spreads).collect()
    }
}
