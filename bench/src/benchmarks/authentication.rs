//! What it costs to know who is asking: verifying a token, and signing in.

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
    spread::Summary,
};

/// Tokens that are verified once each; more than a verifier recognises.
const TOKEN_COUNT: usize = 2_000;

/// How often a token is verified that is recognised.
const CACHED_VERIFICATIONS: u32 = 100_000;

/// Clients that read their account at once.
const CLIENTS: usize = 64;

/// What the auth functions ask of argon2id: OWASP's least. KiB, passes, lanes.
const ARGON2_PARAMS: (u32, u32, u32) = (19 * 1024, 2, 1);

const PASSWORD: &str = "correct horse battery staple";

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let rounds = context.full_or_quick(11, 3);
    let person = context.create_user(Role::Customer).await?;
    let jwks = reqwest::get(format!("{}/.well-known/jwks.json", context.addresses.front_door))
        .await?
        .text()
        .await?;
    eprintln!("    tokens");
    let tokens = (0..TOKEN_COUNT)
        .map(|_| person.issue_token(context))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (mut checked, mut recognised) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let verifier = TokenVerifier::from_jwks(
            &jwks,
            &context.addresses.front_door,
            "matsuri",
            context.clock.clone(),
        )?;
        let started = Instant::now();
        for token in &tokens {
            verifier.verify(token)?;
        }
        checked.push(as_micros_f64(started.elapsed()) / TOKEN_COUNT as f64);

        let started = Instant::now();
        for _ in 0..CACHED_VERIFICATIONS {
            black_box(verifier.verify(black_box(&tokens[TOKEN_COUNT - 1]))?);
        }
        recognised.push(as_micros_f64(started.elapsed()) / f64::from(CACHED_VERIFICATIONS));
    }
    eprintln!("    requests");
    let request = measure_request_cpu_time(context, &tokens[0], rounds).await?;
    eprintln!("    sign-ins");
    let sign_ins = LoginTimings::measure(context, context.full_or_quick(100, 20)).await?;

    let (checked, recognised) = (Summary::from_samples(checked), Summary::from_samples(recognised));
    let first = checked.median / (request.median - recognised.median + checked.median);
    let later = recognised.median / request.median;
    let share = |part: f64| format!("{:.0} %", part * 100.0);
    let row = |name: &str, spread: Summary, unit: &str, more: String| {
        vec![name.to_owned(), format!("{spread} {unit}"), more]
    };
    Ok(Section {
        title: "Identity".to_owned(),
        text: format!(
            "A token is verified by its signature once, and then recognised until it ends; time is asked each time. The \
             request is `GET /v1/me`\nwith a token that is recognised, by {CLIENTS} clients, in CPU time of core-api and of \
             nothing else. The shares are of such a request.\nSigning in goes by the front door as clients do, one after \
             the other; what stands in its way there is seen at a function that\nonly tells what it knows. argon2id has the \
             parameters of the functions. Median (least–greatest)."
        ),
        columns: ["", "takes", "which is"].map(str::to_owned).into(),
        rows: vec![
            row(
                "a token, by its signature",
                checked,
                "µs",
                format!(
                    "{:.0} per second and core; {} of its first request",
                    1e6 / checked.median,
                    share(first)
                ),
            ),
            row(
                "a token that is recognised",
                recognised,
                "µs",
                format!(
                    "{:.0} per second and core; {} of each later one",
                    1e6 / recognised.median,
                    share(later)
                ),
            ),
            row("a request for one's account", request, "µs", String::new()),
            row("argon2id", sign_ins.argon2, "ms", String::new()),
            row(
                "a function behind the front door",
                sign_ins.gateway_round_trip,
                "ms",
                String::new(),
            ),
            row(
                "a sign-in",
                sign_ins.login,
                "ms",
                format!(
                    "{} argon2id",
                    format_ratio(sign_ins.login.median / sign_ins.argon2.median)
                ),
            ),
        ],
        targets: vec![
            target_without_goal(
                "share of a token's verification in its first request",
                share(first),
            ),
            target_without_goal(
                "a sign-in, against argon2id",
                format_ratio(sign_ins.login.median / sign_ins.argon2.median),
            ),
        ],
    })
}

fn target_without_goal(what: &str, reached: String) -> Target {
    Target {
        what: what.to_owned(),
        goal: "measured".to_owned(),
        reached,
        met: true,
    }
}

fn as_micros_f64(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The CPU time of a request with a token that is recognised, in microseconds.
async fn measure_request_cpu_time(context: &Context, token: &str, rounds: usize) -> anyhow::Result<Summary> {
    let core_api = catalog::start_core_api(context).await?;
    let text = format!("GET /v1/me HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\n\r\n");
    let during = Duration::from_secs(1);
    let mut taken = Vec::new();
    for _ in 0..=rounds {
        let before = core_api.cpu_time()?;
        let answers = load_generator::run(&core_api.address, CLIENTS, during, |request| {
            request.extend_from_slice(text.as_bytes());
            true
        })
        .await?;
        ensure!(
            answers.statuses.len() == 1 && answers.count(200) > 0,
            "not every answer was 200: {:?}",
            answers.statuses
        );
        taken.push(as_micros_f64(core_api.cpu_time()? - before) / answers.count(200) as f64);
    }
    // In the first round connections were made, and the account was read.
    Ok(Summary::from_samples(taken.split_off(1)))
}

/// Milliseconds.
struct LoginTimings {
    argon2: Summary,
    gateway_round_trip: Summary,
    login: Summary,
}

impl LoginTimings {
    async fn measure(context: &Context, times: usize) -> anyhow::Result<Self> {
        let http = reqwest::Client::new();
        let url = |path: &str| format!("{}{path}", context.addresses.front_door);
        let email = format!("{}@example.com", uuid_v7(context.clock.now()));
        let body = json!({"email": email, "password": PASSWORD, "name": "Bench"});
        let registered = http
            .post(url("/v1/auth/register"))
            .json(&body)
            .send()
            .await?
            .status();
        ensure!(
            registered == StatusCode::ACCEPTED,
            "nobody can register: {registered}"
        );

        let (memory, passes, lanes) = ARGON2_PARAMS;
        let parameters =
            Params::new(memory, passes, lanes, None).map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
        let (mut hashes, mut doors, mut logins) = (Vec::new(), Vec::new(), Vec::new());
        let millis = |since: Instant| since.elapsed().as_secs_f64() * 1000.0;
        for time in 0..=times {
            let started = Instant::now();
            let mut hash = [0; 32];
            argon2
                .hash_password_into(PASSWORD.as_bytes(), b"sixteen bytes it", &mut hash)
                .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
            black_box(hash);
            let hashed = millis(started);

            let started = Instant::now();
            let answer = http.get(url("/.well-known/openid-configuration")).send().await?;
            answer.error_for_status()?.bytes().await?;
            let door = millis(started);

            let started = Instant::now();
            let body = json!({"email": email, "password": PASSWORD});
            let answer = http.post(url("/v1/auth/login")).json(&body).send().await?;
            let tokens: Value = answer.error_for_status()?.json().await?;
            let login = millis(started);
            ensure!(tokens["access_token"].is_string(), "a sign-in gives no token");
            // The first of each starts its function.
            if time > 0 {
                hashes.push(hashed);
                doors.push(door);
                logins.push(login);
            }
        }
        Ok(Self {
            argon2: Summary::from_samples(hashes),
            gateway_round_trip: Summary::from_samples(doors),
            login: Summary::from_samples(logins),
        })
    }
}
