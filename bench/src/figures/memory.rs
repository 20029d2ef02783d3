//! Memory of the services, idle and under load, and how soon they are ready.

use std::time::Duration;

use tokio::time::sleep;

use super::catalogue;
use crate::{context::Context, process::Service, report::Section, spread::Spread, stock::Stock};

/// How many clients load a service.
const CLIENTS: usize = 256;

/// How long a service is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(2);

/// What was seen of one service.
#[derive(Default)]
struct Seen {
    ready: Vec<f64>,
    idle: Vec<f64>,
    loaded: Vec<f64>,
    peak: Vec<f64>,
}

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let rounds = context.pick(5, 2);
    let load = Duration::from_secs(context.pick(5, 2));
    let (mut core_api, mut stock_service) = (Seen::default(), Seen::default());
    for round in 1..=rounds {
        eprintln!("    start {round} of {rounds}");
        let shop = catalogue::core_api(context).await?;
        core_api.idle(&shop).await?;
        let products = catalogue::products(&shop).await?;
        catalogue::rate(&shop, CLIENTS, &products, load).await?;
        core_api.loaded(&shop)?;

        let mut stock = Stock::start(context).await?;
        stock_service.idle(&stock.service).await?;
        stock.rate(1000, CLIENTS, load).await?;
        stock_service.loaded(&stock.service)?;
    }
    Ok(Section {
        title: "Memory and start".to_owned(),
        text: format!(
            "Milliseconds from the start of the process until `/ready` answers 200, which it does when database and AWS \
             answer; memory in MiB\n(resident set) {} s later, and after {} s with {CLIENTS} clients at once: readers of \
             every product for core-api,\nbuyers of 1,000 products for stock-service. {rounds} starts each, in turns.",
            SETTLE.as_secs(),
            load.as_secs()
        ),
        columns: ["", "ready, ms", "idle", "under load", "highest"]
            .map(str::to_owned)
            .into(),
        rows: vec![core_api.row("core-api"), stock_service.row("stock-service")],
        targets: Vec::new(),
    })
}

impl Seen {
    async fn idle(&mut self, service: &Service) -> anyhow::Result<()> {
        self.ready.push(service.ready_after.as_secs_f64() * 1000.0);
        sleep(SETTLE).await;
        self.idle.push(service.memory()?.now);
        Ok(())
    }

    fn loaded(&mut self, service: &Service) -> anyhow::Result<()> {
        let memory = service.memory()?;
        self.loaded.push(memory.now);
        self.peak.push(memory.highest);
        Ok(())
    }

    fn row(self, name: &str) -> Vec<String> {
        let spreads =
            [self.ready, self.idle, self.loaded, self.peak].map(|measured| Spread::of(measured).to_string());
        [name.to_owned()].into_iter().chain(spreads).collect()
    }
}
