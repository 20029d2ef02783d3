//! `cargo xtask`, the developer command: parses the command line and runs one of the modules in `commands`.

mod apt;
mod aws;
mod cargo;
mod commands;
mod cpu_hogs;
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
mod time_args;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use uuid::Uuid;

/// Run Matsuri on this machine: start it, inspect it, test it.
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
    Mail(MailArgs),
    Sms(SmsArgs),
    Watch(WatchArgs),
    Deploy(DeployArgs),
    Redrive(RedriveArgs),
    Replay(ReplayArgs),
    Test(TestArgs),
    Repeat(RepeatArgs),
    Bench(BenchArgs),
    Chaos(ChaosArgs),
    Token(TokenArgs),
    Keys(KeysArgs),
    Openapi(OpenapiArgs),
    Sqlx(SqlxArgs),
}

/// Build and start the system: database, local AWS, services, functions, a catalog with stock
///
/// Stays in the foreground and restarts services that exit; Ctrl-C stops the system. All data is stored in
/// .local/ and survives a restart. If DATABASE_URL is set, the system uses that database instead of starting
/// its own.
#[derive(Debug, Args)]
struct UpArgs {
    /// Return as soon as the system is ready and keep it running in the background
    #[arg(long)]
    detach: bool,
    /// Delete all data first: database, local AWS and payments (a database from DATABASE_URL is not emptied)
    #[arg(long)]
    fresh: bool,
    /// Set by `--detach` for the background supervisor
    #[arg(long, hide = true)]
    supervise: bool,
}

/// Stop the system of this checkout; its data stays in .local/.
///
/// Also stops processes and removes temporary files that a killed supervisor left behind.
#[derive(Debug, Args)]
struct DownArgs {
    /// Also delete .local/: data, keys, logs and the Python environment
    #[arg(long)]
    purge: bool,
}

/// Show the state, process, port, uptime, restarts and health of each service.
///
/// Exits with 0 if every service is healthy and with 1 otherwise.
#[derive(Debug, Args)]
struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show the logs of services and functions.
///
/// On a terminal, JSON log records are formatted as readable lines; in a pipe (`… | jq`) they stay JSON.
#[derive(Debug, Args)]
struct LogsArgs {
    /// A service (core-api, stock-service, payment-provider, ministack, postgres, redis, supervisor) or a
    /// function (order-processor, reserve-stock, …) [default: all]
    service: Option<String>,
    /// Keep printing new lines as they are written
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines of each log to print first
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: usize,
}

/// Place an order and print each event, queue message and state change until the order ends.
///
/// Without options, a new customer orders one unit of a product, and the order completes. A declined order is
/// compensated in full: try `--payment-method pm_card_chargeDeclined`, or a `--quantity` above the stock.
#[derive(Debug, Args)]
struct OrderArgs {
    /// The product to order [default: a product with enough stock]
    #[arg(long, value_name = "ID")]
    product: Option<Uuid>,
    /// How many units to order
    #[arg(long, default_value_t = 1, value_name = "N")]
    quantity: u32,
    /// The test payment method: pm_card_visa succeeds; pm_card_chargeDeclined and its variants are declined;
    /// pm_card_threeDSecure2Required waits until you open the page that is printed; pm_slow, pm_unavailable
    /// and others simulate failures
    #[arg(long, default_value = "pm_card_visa", value_name = "METHOD")]
    payment_method: String,
    /// Print the whole timeline as JSON when the order has ended
    #[arg(long)]
    json: bool,
}

/// Write every mail with sample data to .local/mail, in each language, and print the files.
///
/// Open the HTML files in a browser. Needs no running system.
#[derive(Debug, Args)]
struct MailArgs {
    /// Print the last mails that the local system has sent instead
    #[arg(long)]
    sent: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Print the SMS that the local system has sent
#[derive(Debug, Args)]
struct SmsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Follow an order over the WebSocket API and print each change until it has ended.
///
/// Uses the client library in clients/realtime-js and needs Node.js 20.10 or later.
#[derive(Debug, Args)]
struct WatchArgs {
    /// The order
    #[arg(value_name = "ORDER")]
    order: Uuid,
    /// Print each change as a JSON object
    #[arg(long)]
    json: bool,
}

/// Rebuild, and update what changed in the running system: functions, template, migrations, services.
#[derive(Debug, Args)]
struct DeployArgs {}

/// Redrive the messages of a dead-letter queue or a parking queue.
///
/// Messages of a dead-letter queue return to their source queue, order-reconciler resumes parked orders, and
/// parked events are published. The command shows the messages and asks for confirmation first. It deletes a
/// message only after it has sent it, so Ctrl-C loses no message.
#[derive(Debug, Args)]
struct RedriveArgs {
    /// Name of the queue, for example notification-dlq, order-parking-queue, event-parking-queue
    queue: String,
    /// Maximum number of messages per second
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Use your AWS account (as configured for the aws command) instead of the local system
    #[arg(long)]
    aws: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Replay archived events to the event bus and wait until the replay has ended.
///
/// Consumers ignore events that they have processed before, so a replay only repairs what a consumer missed.
/// Times are RFC 3339 (2026-11-21T09:00:00Z) or relative to now (-15m, -2h30m, -1d).
#[derive(Debug, Args)]
struct ReplayArgs {
    /// Start of the time range
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// End of the time range
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// Replay to this rule only; the local AWS ignores this filter and replays to every rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Use your AWS account (as configured for the aws command) instead of the local system
    #[arg(long)]
    aws: bool,
}

/// Run the workspace's tests against temporary systems that this command starts and removes.
///
/// Runs the tests of this tool and of the workspace, then schemathesis against the OpenAPI description, then,
/// in a second system with an Express saga, the end-to-end tests of the order flow. With arguments, only the
/// selected tests run.
///
/// The command can run beside `up` and beside other checkouts. It always starts its own PostgreSQL and
/// ignores DATABASE_URL. Tests read the addresses of the system from their environment, as in
/// .local/test/env.
#[derive(Debug, Args)]
struct TestArgs {
    /// Run only the tests with the Express saga; the arguments are then filters of the end-to-end tests
    #[arg(long)]
    express: bool,
    /// Arguments for `cargo test --workspace`: packages, filters and, after another --, options of the test
    /// executables
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Run end-to-end tests repeatedly beside CPU hogs, to find tests that fail on slow or busy machines
///
/// Starts one temporary system as `test` does, runs the tests N times against it while M busy loops compete
/// for the CPU, and prints the result and the duration of each run. Each busy loop occupies one core at
/// normal priority. The output of each run goes to .local/test/log/repeat-N.log; the end of it is printed
/// when a run fails.
///
/// Stops at the first failed run. Exits with 0 if every run passed and with 1 otherwise. The busy loops end
/// with the command, also after Ctrl-C.
///
/// Examples:
///   cargo xtask repeat                                             the whole end-to-end suite, 10 times
///   cargo xtask repeat --runs 50 --cpu-hogs 4 -- saga_matrix::     one module, 50 times, beside 4 busy loops
///   cargo xtask repeat --package stock-service -- contention::     tests of another package
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct RepeatArgs {
    /// How many times to run the tests
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    runs: u32,
    /// How many busy loops to run beside the tests [default: one per core]
    #[arg(long, value_name = "M")]
    cpu_hogs: Option<usize>,
    /// Continue after a failed run
    #[arg(long)]
    keep_going: bool,
    /// Use a system with the Express saga
    #[arg(long)]
    express: bool,
    /// The package whose tests to run
    #[arg(long, short, default_value = "e2e", value_name = "NAME")]
    package: String,
    /// The test executable of the package: the name of an integration test, or of the library for its unit
    /// tests (for example stock_service) [default: all integration tests]
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Arguments for the test executable: filters and options such as --exact or --nocapture [default: all
    /// tests]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "TEST_ARGS")]
    arguments: Vec<String>,
}

/// Run the benchmarks with release builds, and write docs/benchmarks.md.
///
/// Starts a temporary system whose database syncs every commit to disk. Each benchmark compares two
/// implementations within the same run; stop other programs that use the machine.
#[derive(Debug, Args)]
struct BenchArgs {
    /// Names of benchmarks, which are the names of the files in bench/src/benchmarks [default: all]
    benchmarks: Vec<String>,
    /// Run fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Print the measurements as JSON
    #[arg(long)]
    json: bool,
}

/// Place orders under load while random faults are injected, then check the consistency of the system.
///
/// Runs in a temporary system. Faults are failing functions, lost responses, outages, kill -9, and duplicate,
/// late and reordered events. Exits with 0 if every invariant holds and with 1 otherwise.
#[derive(Debug, Args)]
struct ChaosArgs {
    /// How many orders to place
    #[arg(long, default_value_t = 500, value_name = "N")]
    orders: usize,
    /// Repeat the fault schedule of an earlier run with the same number of orders [default: a new seed]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Print the consistency report as JSON
    #[arg(long)]
    json: bool,
}

/// Print a signed access token for the local system, valid for 15 minutes, and nothing else.
#[derive(Debug, Args)]
struct TokenArgs {
    /// The subject of the token
    #[arg(long, value_name = "UUID")]
    user: Uuid,
    /// The role: customers and admins call core-api, services call stock-service
    #[arg(long, value_enum, default_value_t = TokenRole::Customer)]
    role: TokenRole,
    /// The user's e-mail address [default: <UUID>@example.com]
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Print JSON with the token and its lifetime
    #[arg(long)]
    json: bool,
}

/// Create the keys that sign and verify tokens, for `docker compose up`; `cargo xtask up` does this on its
/// own.
#[derive(Debug, Args)]
struct KeysArgs {
    #[command(subcommand)]
    command: Option<KeysCommand>,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Rotate(RotateArgs),
}

/// Activate the next signing key for user tokens, create its successor, and remove keys whose tokens have
/// expired.
///
/// Users stay signed in: a key is published before it signs its first token and after it has signed its last
/// one. If the secret has no value yet, the command creates the first keys.
#[derive(Debug, Args)]
struct RotateArgs {
    /// How long a key is published before it signs. Must be longer than any verifier caches the JWKS; API
    /// Gateway caches it for two hours
    #[arg(long, default_value_t = 10_800, value_name = "N")]
    overlap_seconds: u32,
    /// Use your AWS account (as configured for the aws command) instead of the local system
    #[arg(long)]
    aws: bool,
}

/// The role claim of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TokenRole {
    /// A customer who places orders
    Customer,
    /// An administrator who manages the catalog
    Admin,
    /// One of our own services
    Service,
}

/// Update the OpenAPI documents in docs from the operations that the services declare.
///
/// `cargo xtask test` fails if they differ.
#[derive(Debug, Args)]
struct OpenapiArgs {}

/// Update the committed query metadata (.sqlx) from the queries and the migrations.
///
/// Starts a temporary database, applies the migrations and compiles every query against it.
#[derive(Debug, Args)]
struct SqlxArgs {
    /// Change nothing; fail if the committed metadata differs
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
        Command::Mail(arguments) => commands::mail::run(&arguments),
        Command::Sms(arguments) => commands::sms::run(&arguments),
        Command::Deploy(DeployArgs {}) => commands::deploy::run(),
        Command::Redrive(arguments) => commands::redrive::run(&arguments),
        Command::Replay(arguments) => commands::replay::run(&arguments),
        Command::Test(arguments) => commands::test::run(&arguments),
        Command::Repeat(arguments) => commands::repeat::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Chaos(arguments) => commands::chaos::run(&arguments),
        Command::Watch(arguments) => commands::watch::run(&arguments),
        Command::Token(arguments) => commands::token::run(&arguments),
        Command::Keys(KeysArgs { command: None }) => commands::keys::run(),
        Command::Keys(KeysArgs {
            command: Some(KeysCommand::Rotate(arguments)),
        }) => commands::keys::rotate(&arguments),
        Command::Openapi(OpenapiArgs {}) => commands::openapi::run(),
        Command::Sqlx(arguments) => commands::sqlx::run(&arguments),
    };
    match result {
        Ok(code) => code,
        // Exit quietly: the user pressed Ctrl-C. 130 is the shell's exit code for it.
        Err(error) if error.is::<signals::Interrupted>() => ExitCode::from(130),
        Err(error) => {
            anstream::eprintln!("\n{red}error{red:#}: {error}", red = progress::RED);
            for cause in error.chain().skip(1) {
                anstream::eprintln!("  caused by: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn repeat_passes_filters_and_options_to_the_test_executable() {
        let words = "xtask repeat --runs 50 --cpu-hogs 4 -- saga_matrix:: --exact";
        let Command::Repeat(arguments) = Cli::parse_from(words.split(' ')).command else {
            panic!("expected the command repeat");
        };
        assert_eq!((arguments.runs, arguments.cpu_hogs), (50, Some(4)));
        assert_eq!((arguments.package.as_str(), arguments.test), ("e2e", None));
        assert_eq!(arguments.arguments, ["saga_matrix::", "--exact"]);
    }
}
