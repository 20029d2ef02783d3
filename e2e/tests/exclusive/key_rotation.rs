//! Rotation of the signing keys of user tokens while users refresh sessions and sign in.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::future::join_all;
use serde_json::Value;

use e2e::system::{Session, TestSystem, aws::run_shell, eventually};

/// Refreshes a session, reads the account and signs in until `stop`. Returns the ids of the keys that signed
/// the user's tokens.
async fn use_session_until(system: &TestSystem, stop: &AtomicBool) -> BTreeSet<String> {
    let user = system.register_user().await;
    let mut session = system.sign_in(&user).await;
    let first = session.clone();
    let mut kids = BTreeSet::new();
    let mut turns = 0;
    while !stop.load(Ordering::SeqCst) {
        kids.insert(session.kid());
        assert_token_accepted(system, &session).await;
        session = system.refresh(&session).await;
        turns += 1;
        if turns % 5 == 0 {
            kids.insert(system.sign_in(&user).await.kid());
        }
    }
    // Tokens of the old key stay valid until they expire.
    assert_token_accepted(system, &first).await;
    assert_token_accepted(system, &session).await;
    kids.insert(session.kid());
    kids
}

async fn assert_token_accepted(system: &TestSystem, session: &Session) {
    let me = system.get_gateway("/v1/me", &session.access_token).await;
    assert_eq!(me.status, 200, "signed by {}: {me:?}", session.kid());
}

async fn published_key_ids(system: &TestSystem) -> Vec<String> {
    let url = format!("{}/.well-known/jwks.json", system.gateway_url);
    let keys: Value = system.http.get(url).send().await.unwrap().json().await.unwrap();
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    keys["keys"].as_array().unwrap().iter().map(kid).collect()
}

/// The next signing key is published long before it signs, because the gateway reads the JWKS only every two
/// hours.
#[tokio::test]
async fn key_rotation_keeps_all_sessions_valid() {
    let system = TestSystem::exclusive().await;
    let before = published_key_ids(&system).await;
    assert!(
        before.len() >= 2,
        "the JWKS contains the active and the next key: {before:?}"
    );
    let stop = AtomicBool::new(false);
    let sessions = join_all((0..5).map(|_| use_session_until(&system, &stop)));
    let rotation = async {
        let probe = system.register_user().await;
        let old = system.sign_in(&probe).await.kid();
        assert!(before.contains(&old));
        run_shell(
            &std::env::temp_dir(),
            r#""$XTASK" keys rotate --overlap-seconds 0 2>&1"#,
        )
        .await;
        let new = eventually("the next key to sign tokens", async || {
            let kid = system.sign_in(&probe).await.kid();
            (kid != old).then_some(kid)
        })
        .await;
        // Longer than the key cache of the auth functions, so that all their processes use the new key.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        stop.store(true, Ordering::SeqCst);
        (old, new)
    };
    let (kids_by_user, (old, new)) = tokio::join!(sessions, rotation);

    assert!(
        before.contains(&new),
        "the new key was published before it signed"
    );
    for kids in kids_by_user {
        assert_eq!(
            kids,
            BTreeSet::from([old.clone(), new.clone()]),
            "each user got tokens of both keys"
        );
    }
    let after = published_key_ids(&system).await;
    assert!(
        after.contains(&old),
        "the old key stays published while its tokens are valid"
    );
    assert!(after.contains(&new));
    assert!(
        after.iter().any(|kid| !before.contains(kid)),
        "the key after the new one is published: {after:?}"
    );
}
