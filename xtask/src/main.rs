//! `cargo xtask`: the developer's command. This file is its command line; each command is a module.

mod apt;
mod aws;
mod cargo;
mod commands;
mod deployment;
mod digest;
mod dynoxide;
mod environment;
mod gateway;
mod http;
mod instance;
mod keys;
mod logs;
mod ministack;
mod ports;
mod postgres;
mod progress;
mod python;
mod redis;
mod seed;
mod services;
mod signals;
mod signing_keys;
mod supervisor;
mod system;
mod times;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

/// The whole of Matsuri on this machine: start it, look at it, test it.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(UpArgs),
    Down(DownArgs),
    Status(StatusArgs),
    Logs(LogsArgs),
    Order(OrderArgs),
    Deploy(DeployArgs),
    Redrive(RedriveArgs),
    Replay(ReplayArgs),
    Test(TestArgs),
    Bench(BenchArgs),
    Chaos(ChaosArgs),
    Token(TokenArgs),
    Keys(KeysArgs),
    Sqlx(SqlxArgs),
}

/// Build everything and bring it up: database, local AWS, services, functions, a catalogue with stock
///
/// Stays in the foreground and sees that everything keeps running; Ctrl-C stops it. What it keeps lies in
/// .local/ and survives a restart. A DATABASE_URL in the environment is used instead of a database of our own.
#[derive(Debug, Args)]
struct UpArgs {
    /// Return once everything is ready, and leave it running
    #[arg(long)]
    detach: bool,
    /// Begin with empty data: database, local AWS and payments (a database of DATABASE_URL is not emptied)
    #[arg(long)]
    fresh: bool,
    /// Set by `--detach` for the process that stays
    #[arg(long, hide = true)]
    supervise: bool,
}

/// Stop the system of this checkout; its data stays in .local/.
///
/// Nothing of it keeps running and no temporary file remains, also when its supervisor was killed.
#[derive(Debug, Args)]
struct DownArgs {
    /// Remove everything in .local/ as well: data, keys, logs, the Python environment
    #[arg(long)]
    purge: bool,
}

/// Show each program: its state, process, port, age, restarts and health. The exit code tells whether all is well.
#[derive(Debug, Args)]
struct StatusArgs {
    /// For programs
    #[arg(long)]
    json: bool,
}

/// Show what the programs and functions wrote.
///
/// On a terminal their JSON becomes readable lines; behind a pipe (`… | jq`) it stays as it is.
#[derive(Debug, Args)]
struct LogsArgs {
    /// A program (core-api, stock-service, payment-provider, ministack, postgres, redis, supervisor) or a function
    /// (order-processor, reserve-stock, …); without it, all of them
    program: Option<String>,
    /// Go on with what they write from now on
    #[arg(long, short)]
    follow: bool,
    /// How many lines of each to begin with
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: usize,
}

/// Place an order and watch its way: every event, queue and state, until the end.
///
/// Without options a new customer buys one piece of something, which succeeds. What is refused is put back in full:
/// try `--payment-method pm_card_chargeDeclined`, or a `--quantity` above the stock.
#[derive(Debug, Args)]
struct OrderArgs {
    /// What to buy [default: something that there is enough of]
    #[arg(long, value_name = "ID")]
    product: Option<Uuid>,
    /// How many pieces of it
    #[arg(long, default_value_t = 1, value_name = "N")]
    quantity: u32,
    /// How to pay: pm_card_visa succeeds, pm_card_chargeDeclined and its kin decline, pm_slow, pm_unavailable, …
    #[arg(long, default_value = "pm_card_visa", value_name = "METHOD")]
    payment_method: String,
    /// At the end, the whole way for programs
    #[arg(long)]
    json: bool,
}

/// Rebuild, and replace what changed in the running system: functions, template, migrations, services.
#[derive(Debug, Args)]
struct DeployArgs {}

/// Give messages that were set aside another try: dead letters, parked orders, parked events.
///
/// Dead letters go back to the queue that they came from, parked orders' sagas start again, parked events are
/// published. Shows first what is there, and asks. Each message is deleted after it was sent, so Ctrl-C loses none.
#[derive(Debug, Args)]
struct RedriveArgs {
    /// Such as notification-dlq, order-parking-queue, event-parking-queue
    queue: String,
    /// Messages per second, at most
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Your account in AWS instead of the local system, as the aws command is set up
    #[arg(long)]
    aws: bool,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// Have the bus say again what its archive holds, and wait until it has.
///
/// Every consumer knows the events that it has seen, so this repairs what one of them missed and changes nothing
/// otherwise. Times are RFC 3339 (2026-11-21T09:00:00Z), or spans before now (-15m, -2h30m, -1d).
#[derive(Debug, Args)]
struct ReplayArgs {
    /// The first moment
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// The last moment
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// Only for this rule; the local AWS gives the events to every rule all the same
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Your account in AWS instead of the local system, as the aws command is set up
    #[arg(long)]
    aws: bool,
}

/// Run the workspace's tests against systems of their own, made for them and removed after them.
///
/// Every test first; then schemathesis against the API's description; then, in a second system whose saga is Express, the
/// end-to-end tests that make the course of an order. With arguments, only the tests that they choose. May run beside `up` and beside other checkouts. Its PostgreSQL is always the machine's own, never that of
/// DATABASE_URL. The tests find the addresses in their environment, as .local/test/env has them.
#[derive(Debug, Args)]
struct TestArgs {
    /// Only with Express executions; arguments are then filters of the end-to-end tests
    #[arg(long)]
    express: bool,
    /// For `cargo test --workspace`: packages, filters, and after another -- options of the test programs
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Measure what was built with optimisation, and write docs/benchmarks.md.
///
/// Brings up a system of its own, whose database waits for the disk. Each figure is a comparison within the run; close
/// what else keeps the machine busy.
#[derive(Debug, Args)]
struct BenchArgs {
    /// Which, by the names of the files in bench/src/figures [default: all]
    figures: Vec<String>,
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Print what was measured, for programs
    #[arg(long)]
    json: bool,
}

/// Place orders under load while everything goes wrong at random, then balance the books line by line.
///
/// In a system made for it and removed after it: function faults, lost answers, outages, kill -9, events twice, late
/// and out of order. The exit code tells whether anything was lost.
#[derive(Debug, Args)]
struct ChaosArgs {
    /// How many orders
    #[arg(long, default_value_t = 500, value_name = "N")]
    orders: usize,
    /// Repeats the plan of an earlier run of as many orders [default: a new one]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// The report for programs
    #[arg(long)]
    json: bool,
}

/// Print a signed access token for the local system, valid for 15 minutes, and nothing else.
#[derive(Debug, Args)]
struct TokenArgs {
    /// Whom the token speaks for
    #[arg(long, value_name = "UUID")]
    user: Uuid,
    /// What the bearer may do: customers and admins call core-api, services call stock-service
    #[arg(long, value_enum, default_value_t = TokenRole::Customer)]
    role: TokenRole,
    /// The customer's address [default: <UUID>@example.com]
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// With its expiry, for programs
    #[arg(long)]
    json: bool,
}

/// Make the keys that sign and verify tokens, for `docker compose up`; `cargo xtask up` makes them by itself.
#[derive(Debug, Args)]
struct KeysArgs {
    #[command(subcommand)]
    command: Option<KeysCommand>,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Rotate(RotateArgs),
}

/// Let the next key sign people's tokens, make the one after it, and remove those of which no token is around.
///
/// Nobody is signed out: a key is published before it signs and after it has signed its last. On a secret without a
/// value it makes the first keys.
#[derive(Debug, Args)]
struct RotateArgs {
    /// How long a key is published before it signs: longer than anybody keeps the keys that were read last. API Gateway
    /// does so for two hours
    #[arg(long, default_value_t = 10_800, value_name = "N")]
    overlap_seconds: u32,
    /// Your account in AWS instead of the local system, as the aws command is set up
    #[arg(long)]
    aws: bool,
}

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TokenRole {
    /// Buys
    Customer,
    /// Looks after the catalogue
    Admin,
    /// One of our own programs
    Service,
}

/// Bring the committed query data (.sqlx) up to date with queries and migrations.
///
/// Starts a database for the purpose, applies the migrations, and lets the compiler look at every query.
#[derive(Debug, Args)]
struct SqlxArgs {
    /// Change nothing; fail when the committed data differs
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(arguments) => commands::up::run(&arguments),
        Command::Down(arguments) => commands::down::run(&arguments),
        Command::Status(arguments) => commands::status::run(&arguments),
        Command::Logs(arguments) => commands::logs::run(&arguments),
        Command::Order(arguments) => commands::order::run(&arguments),
        Command::Deploy(DeployArgs {}) => commands::deploy::run(),
        Command::Redrive(arguments) => commands::redrive::run(&arguments),
        Command::Replay(arguments) => commands::replay::run(&arguments),
        Command::Test(arguments) => commands::test::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Chaos(arguments) => commands::chaos::run(&arguments),
        Command::Token(arguments) => commands::token::run(&arguments),
        Command::Keys(KeysArgs { command: None }) => commands::keys::run(),
        Command::Keys(KeysArgs {
            command: Some(KeysCommand::Rotate(arguments)),
        }) => commands::keys::rotate(&arguments),
        Command::Sqlx(arguments) => commands::sqlx::run(&arguments),
    };
    match result {
        Ok(code) => code,
        // Whoever stopped us knows that he did.
        Err(error) if error.is::<signals::Interrupted>() => ExitCode::from(130),
        Err(error) => {
            anstream::eprintln!("\n{red}error{red:#}: {error}", red = progress::RED);
            for cause in error.chain().skip(1) {
                anstream::eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
