//! The cost of authentication: token verification and login.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::ensure;
use argon2::{Algorithm, Argon2, Params, Version};
use domain::ids::uuid_v7;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokens::{Role, TokenVerifier};

use super::catalog;
use crate::{
    context::Context,
    load_generator,
    report::{Section, Target, format_ratio},
    stats::Summary,
};

/// Number of distinct tokens, more than the verifier's cache holds.
const TOKEN_COUNT: usize = 2_000;

/// Number of verifications of a cached token.
const CACHED_VERIFICATIONS: u32 = 100_000;

/// Concurrent clients that read their account.
const CLIENTS: usize = 64;

/// The argon2id parameters of the auth functions, which are OWASP's minimum: KiB, passes, lanes.
const ARGON2_PARAMS: (u32, u32, u32) = (19 * 1024, 2, 1);

const PASSWORD: &str = "correct horse battery staple";

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let rounds = context.full_or_quick(11, 3);
    let user = context.create_user(Role::Customer).await?;
    let jwks = reqwest::get(format!("{}/.well-known/jwks.json", context.addresses.gateway_url))
        .await?
        .text()
        .await?;
    eprintln!("    tokens");
    let tokens = (0..TOKEN_COUNT)
        .map(|_| user.issue_token(context))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (mut signature_times, mut cached_times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let verifier = TokenVerifier::from_jwks(
            &jwks,
            &context.addresses.gateway_url,
            "matsuri",
            context.clock.clone(),
        )?;
        let started = Instant::now();
        for token in &tokens {
            verifier.verify(token)?;
        }
        signature_times.push(as_micros_f64(started.elapsed()) / TOKEN_COUNT as f64);

        let started = Instant::now();
        for _ in 0..CACHED_VERIFICATIONS {
            black_box(verifier.verify(black_box(&tokens[TOKEN_COUNT - 1]))?);
        }
        cached_times.push(as_micros_f64(started.elapsed()) / f64::from(CACHED_VERIFICATIONS));
    }
    eprintln!("    requests");
    let request = measure_request_cpu_time(context, &tokens[0], rounds).await?;
    eprintln!("    logins");
    let logins = LoginTimings::measure(context, context.full_or_quick(100, 20)).await?;

    let (signature_times, cached_times) = (
        Summary::from_samples(signature_times),
        Summary::from_samples(cached_times),
    );
    let first = signature_times.median / (request.median - cached_times.median + signature_times.median);
    let later = cached_times.median / request.median;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let row = |name: &str, summary: Summary, unit: &str, note: String| {
        vec![name.to_owned(), format!("{summary} {unit}"), note]
    };
    Ok(Section {
        title: "Authentication".to_owned(),
        text: format!(
            "The verifier checks the signature of a token once and caches verified tokens until they \
             expire; it checks the expiry on every use. The request is `GET /v1/me` with a cached token, by \
             {CLIENTS} concurrent clients, in CPU time of core-api only. The shares refer to such a \
             request. Logins go through the API gateway, one after the other. The round trip through the \
             gateway is measured with a function that only returns the OpenID configuration. argon2id has \
             the parameters of the auth functions. Values are median (min–max)."
        ),
        columns: ["", "duration", "notes"].map(str::to_owned).into(),
        rows: vec![
            row(
                "token verification, by signature",
                signature_times,
                "µs",
                format!(
                    "{:.0} per second and core; {} of the first request",
                    1e6 / signature_times.median,
                    percent(first)
                ),
            ),
            row(
                "token verification, cached",
                cached_times,
                "µs",
                format!(
                    "{:.0} per second and core; {} of each later request",
                    1e6 / cached_times.median,
                    percent(later)
                ),
            ),
            row("request `GET /v1/me`", request, "µs", String::new()),
            row("argon2id", logins.argon2, "ms", String::new()),
            row(
                "round trip through the API gateway",
                logins.gateway_round_trip,
                "ms",
                String::new(),
            ),
            row(
                "login",
                logins.login,
                "ms",
                format!(
                    "{} argon2id",
                    format_ratio(logins.login.median / logins.argon2.median)
                ),
            ),
        ],
        targets: vec![
            target_without_goal(
                "share of signature verification in the first request with a token",
                percent(first),
            ),
            target_without_goal(
                "login, against argon2id",
                format_ratio(logins.login.median / logins.argon2.median),
            ),
        ],
    })
}

fn target_without_goal(what: &str, reached: String) -> Target {
    Target {
        what: what.to_owned(),
        goal: "no goal".to_owned(),
        reached,
        met: true,
    }
}

fn as_micros_f64(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Returns core-api's CPU time per request with a cached token, in microseconds.
async fn measure_request_cpu_time(context: &Context, token: &str, rounds: usize) -> anyhow::Result<Summary> {
    let core_api = catalog::start_core_api(context).await?;
    let text = format!("GET /v1/me HTTP/1.1\r\nhost: core-api\r\nauthorization: Bearer {token}\r\n\r\n");
    let duration = Duration::from_secs(1);
    let mut cpu_times = Vec::new();
    for _ in 0..=rounds {
        let before = core_api.cpu_time()?;
        let result = load_generator::run(&core_api.address, CLIENTS, duration, |request| {
            request.extend_from_slice(text.as_bytes());
            true
        })
        .await?;
        ensure!(
            result.statuses.len() == 1 && result.count(200) > 0,
            "not every response was 200: {:?}",
            result.statuses
        );
        cpu_times.push(as_micros_f64(core_api.cpu_time()? - before) / result.count(200) as f64);
    }
    // The first round also establishes connections and loads the account, so it does not count.
    Ok(Summary::from_samples(cpu_times.split_off(1)))
}

/// Login timings in milliseconds.
struct LoginTimings {
    argon2: Summary,
    gateway_round_trip: Summary,
    login: Summary,
}

impl LoginTimings {
    async fn measure(context: &Context, iterations: usize) -> anyhow::Result<Self> {
        let http = reqwest::Client::new();
        let url = |path: &str| format!("{}{path}", context.addresses.gateway_url);
        let email = format!("{}@example.com", uuid_v7(context.clock.now()));
        let body = json!({"email": email, "password": PASSWORD, "name": "Bench"});
        let status = http
            .post(url("/v1/auth/register"))
            .json(&body)
            .send()
            .await?
            .status();
        ensure!(
            status == StatusCode::ACCEPTED,
            "registration failed with {status}"
        );

        let (memory, passes, lanes) = ARGON2_PARAMS;
        let parameters =
            Params::new(memory, passes, lanes, None).map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
        let (mut hashes, mut round_trips, mut logins) = (Vec::new(), Vec::new(), Vec::new());
        let millis = |since: Instant| since.elapsed().as_secs_f64() * 1000.0;
        for iteration in 0..=iterations {
            let started = Instant::now();
            let mut hash = [0; 32];
            argon2
                .hash_password_into(PASSWORD.as_bytes(), b"sixteen bytes it", &mut hash)
                .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
            black_box(hash);
            let hashed = millis(started);

            let started = Instant::now();
            let response = http.get(url("/.well-known/openid-configuration")).send().await?;
            response.error_for_status()?.bytes().await?;
            let round_trip = millis(started);

            let started = Instant::now();
            let body = json!({"email": email, "password": PASSWORD});
            let response = http.post(url("/v1/auth/login")).json(&body).send().await?;
            let tokens: Value = response.error_for_status()?.json().await?;
            let login = millis(started);
            ensure!(
                tokens["access_token"].is_string(),
                "the login response has no access token"
            );
            // The first iteration starts the functions, so it does not count.
            if iteration > 0 {
                hashes.push(hashed);
                round_trips.push(round_trip);
                logins.push(login);
            }
        }
        Ok(Self {
            argon2: Summary::from_samples(hashes),
            gateway_round_trip: Summary::from_samples(round_trips),
            login: Summary::from_samples(logins),
        })
    }
}
