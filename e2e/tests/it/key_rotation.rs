//! Another key takes over while people come and go.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::future::join_all;
use serde_json::Value;

use e2e::system::{Session, TestSystem, aws::run_shell, eventually};

/// Refreshes, reads and signs in anew until `stop`; the keys that signed for this person.
async fn use_session_until(system: &TestSystem, stop: &AtomicBool) -> BTreeSet<String> {
    let person = system.register_user().await;
    let mut session = system.sign_in(&person).await;
    let first = session.clone();
    let mut kids = BTreeSet::new();
    let mut turns = 0;
    while !stop.load(Ordering::SeqCst) {
        kids.insert(session.kid());
        assert_token_accepted(system, &session).await;
        session = system.refresh(&session).await;
        turns += 1;
        if turns % 5 == 0 {
            kids.insert(system.sign_in(&person).await.kid());
        }
    }
    // What the key of before signed is good until it ends.
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

/// The key that takes over has been published from the beginning, so that the gateway, which reads keys every two hours,
/// knows it as well.
#[tokio::test]
async fn nobody_loses_a_session_when_the_key_is_rotated() {
    let system = TestSystem::exclusive().await;
    let before = published_key_ids(&system).await;
    assert!(before.len() >= 2, "one signs, another waits: {before:?}");
    let stop = AtomicBool::new(false);
    let people = join_all((0..5).map(|_| use_session_until(&system, &stop)));
    let rotation = async {
        let probe = system.register_user().await;
        let old = system.sign_in(&probe).await.kid();
        assert!(before.contains(&old));
        run_shell(
            &std::env::temp_dir(),
            r#""$XTASK" keys rotate --overlap-seconds 0 2>&1"#,
        )
        .await;
        let new = eventually("the next key at work", async || {
            let kid = system.sign_in(&probe).await.kid();
            (kid != old).then_some(kid)
        })
        .await;
        // Long enough for every process of every function to read the keys again.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        stop.store(true, Ordering::SeqCst);
        (old, new)
    };
    let (kids_of_people, (old, new)) = tokio::join!(people, rotation);

    assert!(before.contains(&new), "it was published before it signed");
    for kids in kids_of_people {
        assert_eq!(
            kids,
            BTreeSet::from([old.clone(), new.clone()]),
            "everybody saw both"
        );
    }
    let after = published_key_ids(&system).await;
    assert!(after.contains(&old), "its tokens are around");
    assert!(after.contains(&new));
    assert!(
        after.iter().any(|kid| !before.contains(kid)),
        "the next one waits: {after:?}"
    );
}
