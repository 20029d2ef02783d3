//! Attacks that measure response times.

use std::time::Instant;

use argon2::Argon2;
use domain::ids::uuid_v7;
use e2e::system::TestSystem;
use serde_json::{Value, json};

/// Response times must not reveal whether an account exists. The allowed difference is half the time of a
/// password hash: a login that hashes for registered addresses only would differ by a whole hash.
#[tokio::test]
async fn response_times_do_not_reveal_registered_addresses() {
    // Concurrent tests would distort the measurement.
    let system = TestSystem::exclusive().await;
    let mut registered = Vec::new();
    for _ in 0..12 {
        registered.push(system.register_user().await.email);
    }
    let unregistered: Vec<String> = (0..12)
        .map(|_| format!("{}@example.com", uuid_v7(system.now())))
        .collect();
    let measure = async |path: &str, body: &Value, status: u16| {
        let started = Instant::now();
        system.post_gateway(path, body).await.expect_status(status);
        started.elapsed().as_secs_f64()
    };
    let median = |times: &mut [f64]| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };

    // The default parameters are OWASP's minimum, and the auth functions use them too.
    let hash = || {
        let started = Instant::now();
        Argon2::default()
            .hash_password_into(b"not the password", b"of this one test", &mut [0; 32])
            .unwrap();
        started.elapsed().as_secs_f64()
    };

    type Body = fn(&str) -> Value;
    let login: Body = |email| json!({"email": email, "password": "not the password"});
    let forgot: Body = |email| json!({"email": email});
    for (path, status, body) in [
        ("/v1/auth/login", 401, login),
        ("/v1/auth/password/forgot", 202, forgot),
        ("/v1/auth/email/verify", 202, forgot),
    ] {
        let (mut known_times, mut unknown_times, mut hash_times) = (Vec::new(), Vec::new(), Vec::new());
        let (mut difference, mut limit) = (f64::MAX, 0.0);
        // Measure alternately, and repeat if the machine was busy: at most four times, because the login
        // throttle blocks after five failed attempts.
        for _ in 0..4 {
            for (known, unknown) in registered.iter().zip(&unregistered) {
                known_times.push(measure(path, &body(known), status).await);
                unknown_times.push(measure(path, &body(unknown), status).await);
                hash_times.push(hash());
            }
            difference = (median(&mut known_times) - median(&mut unknown_times)).abs();
            limit = median(&mut hash_times) / 2.0;
            if difference < limit {
                break;
            }
        }
        assert!(
            difference < limit,
            "the response times of {path} differ by {difference:.4} s, the limit is {limit:.4} s"
        );
    }
}
