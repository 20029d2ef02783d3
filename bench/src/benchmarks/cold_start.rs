//! Cold starts: time from the start of a function's process to its first request for an invocation, against a
//! function that does nothing.

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
    stats::Summary,
};

/// The functions by executable.
const FAMILIES: [(&str, &[&str]); 2] = [
    (
        "processors",
        &["order-processor", "notification-sender", "order-reconciler"],
    ),
    (
        "saga",
        &[
            "create-payment",
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

/// A function that only makes one AWS call during init, as each of our functions must. It has no goal.
const BASELINE_WITH_AWS_CALL: &str = "baseline_aws_call";

/// The request of a Lambda runtime for its next invocation.
const NEXT_INVOCATION_REQUEST: &[u8] = b"GET /2018-06-01/runtime/invocation/next";

/// Debian's CA certificates in one file. Debian also has each certificate in its own file, which Lambda's
/// image has not. Reading three hundred files would take half of a cold start.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Lambda's limit for the init phase.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let variables = function_environment(context)?;
    let baseline = context.executable("baseline_function");
    let rounds = context.full_or_quick(41, 11);
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (family, functions) in FAMILIES
        .into_iter()
        .chain([(BASELINE_WITH_AWS_CALL, [BASELINE_WITH_AWS_CALL].as_slice())])
    {
        let executable = context.executable(family);
        for function in functions {
            eprintln!("    {function}");
            // The first start of each executable reads it from the disk, so it does not count.
            measure_cold_start(&baseline, function, &[]).await?;
            measure_cold_start(&executable, function, &variables).await?;
            let (mut function_times, mut baseline_times) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                baseline_times.push(measure_cold_start(&baseline, function, &[]).await?);
                function_times.push(measure_cold_start(&executable, function, &variables).await?);
            }
            let (measured, baseline_summary) = (
                Summary::from_samples(function_times),
                Summary::from_samples(baseline_times),
            );
            let ratio = measured.median / baseline_summary.median;
            rows.push(vec![
                (*function).to_owned(),
                measured.to_string(),
                baseline_summary.to_string(),
                format_ratio(ratio),
            ]);
            if family != BASELINE_WITH_AWS_CALL {
                targets.push(Target::at_most(format!("cold start of {function}"), 1.5, ratio));
            }
        }
    }
    let mut sizes = Vec::new();
    for (family, _) in FAMILIES {
        let archive = context.addresses.system_dir.join("deploy/lambdas").join(family);
        sizes.push(format!(
            "{family} {} (zip {})",
            file_size_mib(&context.executable(family))?,
            file_size_mib(&archive)?
        ));
    }
    Ok(Section {
        title: "Cold starts".to_owned(),
        text: format!(
            "Milliseconds from the start of the process to its first request for an invocation, as Lambda's \
             runtime API sees them. Before that, our functions read their configuration, create their \
             clients and receive responses from AWS (secrets, the orders table, the state machine), over \
             connections that the first invocation reuses. AWS is a local stub that responds immediately \
             over HTTP; the functions still load their TLS configuration, from one file of CA certificates \
             as in Lambda's image. The baseline is a `lambda_runtime` that does nothing; \
             `{BASELINE_WITH_AWS_CALL}` is the baseline with one AWS client and one AWS call. {rounds} \
             alternating starts of each.\n\nExecutables: {}, baseline function {}. The zips are those of \
             the local deployment, compressed for speed.",
            sizes.join(", "),
            file_size_mib(&baseline)?,
        ),
        columns: ["", "function, ms", "baseline, ms", "Ratio"]
            .map(str::to_owned)
            .into(),
        rows,
        targets,
    })
}

/// Returns the environment of all functions.
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
            ("MAILS_PER_SECOND", "14"),
            ("CONCURRENT_INVOCATIONS", "2"),
            (
                "NOTIFICATION_QUEUE_URL",
                "http://sqs.ap-northeast-1.amazonaws.com/000000000000/notification-queue",
            ),
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
            ("PAYMENT_RETURN_URL", "https://shop.test/payment"),
            ("PAYMENT_ACTION_TIMEOUT_SECONDS", "600"),
            (
                "STATUS_PUSH_QUEUE_URL",
                "http://sqs.ap-northeast-1.amazonaws.com/000000000000/status-push-queue",
            ),
        ]
        .map(|(name, value)| (name, value.to_owned())),
    );
    if Path::new(CA_BUNDLE).exists() {
        all.push(("SSL_CERT_FILE", CA_BUNDLE.to_owned()));
    }
    Ok(all)
}

/// Returns the saga's signing key in the format of its Secrets Manager secret.
fn signing_key(context: &Context) -> anyhow::Result<String> {
    let set: Value = serde_json::from_slice(&fs::read(context.service_jwks_path())?)?;
    let pem = fs::read_to_string(context.addresses.keys_dir.join("services.pem"))?;
    Ok(json!({"kid": set["keys"][0]["kid"], "private_key_pem": pem}).to_string())
}

/// Starts a function once. Returns the milliseconds until its first request for an invocation.
async fn measure_cold_start(
    executable: &Path,
    function: &str,
    variables: &[(&str, String)],
) -> anyhow::Result<f64> {
    let runtime_api = TcpListener::bind("127.0.0.1:0").await?;
    let mut command = Command::new(executable);
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
        .with_context(|| format!("cannot run {}", executable.display()))?;
    let polled = async {
        let (mut connection, _) = runtime_api.accept().await?;
        ensure!(
            polls_for_invocation(&mut connection).await?,
            "{function} sent a different request"
        );
        anyhow::Ok(started.elapsed())
    };
    let took = tokio::select! {
        polled = polled => polled,
        () = sleep(INIT_TIMEOUT) => Err(anyhow!("{function} did not start in time")),
    };
    // Killing a process that has already exited fails, which is fine.
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
        .with_context(|| format!("cannot read {}", path.display()))?
        .len();
    Ok(format!("{:.1} MiB", length as f64 / 1024.0 / 1024.0))
}
