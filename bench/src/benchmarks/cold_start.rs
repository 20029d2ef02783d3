//! Cold starts: from the start of a function's process until it asks Lambda for its first invocation, against an empty
//! function.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{
    aws_stub,
    context::Context,
    process::aws_environment,
    report::{Section, Target, format_ratio},
    spread::Summary,
};

/// Each family with its functions.
const FAMILIES: [(&str, &[&str]); 2] = [
    (
        "processors",
        &["order-processor", "notification-sender", "order-reconciler"],
    ),
    (
        "saga",
        &[
            "reserve-stock",
            "process-payment",
            "update-stock",
            "complete-order",
            "send-notification",
            "release-stock",
            "refund-payment",
            "fail-order",
        ],
    ),
];

/// A function that does nothing but what each of ours must before its first invocation: a call. It has no goal.
const BASELINE_WITH_AWS_CALL: &str = "baseline_aws_call";

/// How a runtime asks for an invocation.
const NEXT_INVOCATION_REQUEST: &[u8] = b"GET /2018-06-01/runtime/invocation/next";

/// Debian's trusted certificates in one file. Debian has each of them in a file of its own as well, which Lambda's image
/// has not, and reading three hundred files would be half of a start.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Lambda gives a function ten seconds for its start.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let variables = function_environment(context)?;
    let empty = context.executable("baseline_function");
    let rounds = context.full_or_quick(41, 11);
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (family, functions) in FAMILIES
        .into_iter()
        .chain([(BASELINE_WITH_AWS_CALL, [BASELINE_WITH_AWS_CALL].as_slice())])
    {
        let program = context.executable(family);
        for function in functions {
            eprintln!("    {function}");
            // The first start of each reads its file from the disk.
            measure_cold_start(&empty, function, &[]).await?;
            measure_cold_start(&program, function, &variables).await?;
            let (mut ours_times, mut baseline_times) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                baseline_times.push(measure_cold_start(&empty, function, &[]).await?);
                ours_times.push(measure_cold_start(&program, function, &variables).await?);
            }
            let (reached, reference) = (
                Summary::from_samples(ours_times),
                Summary::from_samples(baseline_times),
            );
            let ratio = reached.median / reference.median;
            rows.push(vec![
                (*function).to_owned(),
                reached.to_string(),
                reference.to_string(),
                format_ratio(ratio),
            ]);
            if family != BASELINE_WITH_AWS_CALL {
                targets.push(Target::at_most(format!("cold start of {function}"), 1.5, ratio));
            }
        }
    }
    let mut sizes = Vec::new();
    for (family, _) in FAMILIES {
        let zip = context.addresses.local.join("deploy/lambdas").join(family);
        sizes.push(format!(
            "{family} {} (zip {})",
            file_size_mib(&context.executable(family))?,
            file_size_mib(&zip)?
        ));
    }
    Ok(Section {
        title: "Cold starts".to_owned(),
        text: format!(
            "Milliseconds from the start of the process to its first request for an invocation, as Lambda's runtime API \
             sees them. Ours\nread their configuration, make their clients and have answers of AWS before that: secrets, \
             the order table, the state\nmachine, each over a connection that the first invocation finds open. AWS is a \
             stand-in on this machine that answers at\nonce, over HTTP; what TLS needs is loaded all the same, from one file of \
             certificates as in Lambda's image. The empty function is a `lambda_runtime` that \
             does nothing; `{BASELINE_WITH_AWS_CALL}`\nis that with one client of AWS and an answer to one call, and nothing else of \
             ours. {rounds} starts each, in turns.\n\nExecutables: {}, empty function {}. The zips are those of \
             the local deployment, packed for speed.",
            sizes.join(", "),
            file_size_mib(&empty)?,
        ),
        columns: ["", "ours, ms", "empty, ms", "Ratio"].map(str::to_owned).into(),
        rows,
        targets,
    })
}

/// What the functions read, all of them together.
fn function_environment(context: &Context) -> anyhow::Result<Vec<(&'static str, String)>> {
    let secrets = aws_stub::Secrets::from([
        ("ecommerce/service-signing-key".to_owned(), signing_key(context)?),
        ("ecommerce/payment-api-key".to_owned(), "sk_test_bench".to_owned()),
    ]);
    let mut all = aws_environment(&aws_stub::start(secrets)?);
    all.extend(
        [
            ("ORDERS_TABLE", "ecommerce-orders"),
            ("OUTBOX_TABLE", "ecommerce-outbox"),
            ("IDEMPOTENCY_TABLE", "ecommerce-idempotency"),
            ("EVENT_BUS", "ecommerce-event-bus"),
            ("MAIL_FROM", "shop@example.com"),
            ("STOREFRONT_URL", "https://shop.test"),
            (
                "STATE_MACHINE_ARN",
                "arn:aws:states:ap-northeast-1:000000000000:stateMachine:order-saga",
            ),
            (
                "ORDER_PARKING_QUEUE_URL",
                "http://sqs.ap-northeast-1.amazonaws.com/000000000000/order-parking-queue",
            ),
            ("ORDER_STUCK_THRESHOLD_SECONDS", "360"),
            ("STOCK_SERVICE_URL", &context.addresses.stock_service),
            ("SERVICE_SIGNING_KEY_SECRET", "ecommerce/service-signing-key"),
            ("PAYMENT_API_URL", &context.addresses.payment_provider),
            ("PAYMENT_API_KEY_SECRET", "ecommerce/payment-api-key"),
        ]
        .map(|(name, value)| (name, value.to_owned())),
    );
    if Path::new(CA_BUNDLE).exists() {
        all.push(("SSL_CERT_FILE", CA_BUNDLE.to_owned()));
    }
    Ok(all)
}

/// The key that the saga signs with, as Secrets Manager would have it.
fn signing_key(context: &Context) -> anyhow::Result<String> {
    let set: Value = serde_json::from_slice(&fs::read(context.service_jwks_path())?)?;
    let pem = fs::read_to_string(context.addresses.keys.join("services.pem"))?;
    Ok(json!({"kid": set["keys"][0]["kid"], "private_key_pem": pem}).to_string())
}

/// Starts a function once; returns the milliseconds until its first poll.
async fn measure_cold_start(
    program: &Path,
    function: &str,
    variables: &[(&str, String)],
) -> anyhow::Result<f64> {
    let runtime_api = TcpListener::bind("127.0.0.1:0").await?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("_HANDLER", function)
        .env("AWS_LAMBDA_FUNCTION_NAME", function)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api.local_addr()?.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let polled = async {
        let (mut connection, _) = runtime_api.accept().await?;
        ensure!(
            polls_for_invocation(&mut connection).await?,
            "{function} asks for something else"
        );
        anyhow::Ok(started.elapsed())
    };
    let took = tokio::select! {
        polled = polled => polled,
        () = sleep(INIT_TIMEOUT) => Err(anyhow!("{function} has not started")),
    };
    // One that has ended by itself is no harm.
    let _ = child.kill();
    let output = child.wait_with_output()?;
    let took = took.with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())?;
    Ok(took.as_secs_f64() * 1000.0)
}

async fn polls_for_invocation(connection: &mut TcpStream) -> anyhow::Result<bool> {
    let mut request = Vec::new();
    while request.len() < NEXT_INVOCATION_REQUEST.len() {
        if connection.read_buf(&mut request).await? == 0 {
            return Ok(false);
        }
    }
    Ok(request.starts_with(NEXT_INVOCATION_REQUEST))
}

fn file_size_mib(path: &Path) -> anyhow::Result<String> {
    let length = fs::metadata(path)
        .with_context(|| format!("there is no {}", path.display()))?
        .len();
    Ok(format!("{:.1} MiB", length as f64 / 1024.0 / 1024.0))
}
