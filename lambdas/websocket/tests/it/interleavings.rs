//! Property test: whatever the interleaving of connections, messages, sign-outs and pushes, no connection
//! receives anything of another user, and none receives anything after its user has signed out.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use domain::{OrderId, Timestamp, UserId};
use proptest::{prelude::*, test_runner::TestCaseResult};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::gateway::{Gateway, new_address, now};

const USERS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Action {
    /// A device opens a connection with its present token, or with one from before the last sign-out.
    Connect {
        user: usize,
        with_old_token: bool,
    },
    /// Each connection of `user` asks for the order of `owner`.
    Subscribe {
        user: usize,
        owner: usize,
    },
    Disconnect {
        user: usize,
    },
    SignOut {
        user: usize,
    },
    /// A message in the queue names the order of `owner` as one of `user`.
    Push {
        user: usize,
        owner: usize,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let user = || 0..USERS;
    prop_oneof![
        4 => (user(), any::<bool>()).prop_map(|(user, with_old_token)| Action::Connect { user, with_old_token }),
        2 => (user(), user()).prop_map(|(user, owner)| Action::Subscribe { user, owner }),
        1 => user().prop_map(|user| Action::Disconnect { user }),
        2 => user().prop_map(|user| Action::SignOut { user }),
        2 => user().prop_map(|user| Action::Push { user, owner: user }),
        1 => (user(), user()).prop_map(|(user, owner)| Action::Push { user, owner }),
    ]
}

struct User {
    id: UserId,
    order_id: OrderId,
    /// The tokens that the user has had. The last one is valid.
    tokens: Vec<Timestamp>,
}

struct OpenedConnection {
    user: usize,
    token: Timestamp,
    /// Whether its user has signed out since. From then on it must receive nothing.
    is_revoked: bool,
}

struct World<'a> {
    gateway: &'a Gateway,
    users: Vec<User>,
    connections: BTreeMap<String, OpenedConnection>,
}

impl World<'_> {
    /// The result of the action: the id of a new connection.
    async fn perform(&self, action: Action) -> Option<(String, OpenedConnection)> {
        let gateway = self.gateway;
        match action {
            Action::Connect { user, with_old_token } => {
                let tokens = &self.users[user].tokens;
                let token = if with_old_token {
                    tokens[0]
                } else {
                    tokens[tokens.len() - 1]
                };
                let opened = gateway.connect(self.users[user].id, token, &new_address()).await;
                let connection = OpenedConnection {
                    user,
                    token,
                    is_revoked: false,
                };
                return opened.ok().map(|id| (id, connection));
            }
            Action::Subscribe { user, owner } => {
                let orders = json!([{"order_id": self.users[owner].order_id}]);
                for (id, connection) in self.of_user(user) {
                    let message = json!({"action": "subscribe", "orders": orders});
                    gateway
                        .receive(id, self.users[user].id, connection.token, &message)
                        .await;
                }
            }
            Action::Disconnect { user } => {
                if let Some((id, connection)) = self.of_user(user).next() {
                    gateway
                        .disconnect(id, self.users[user].id, connection.token)
                        .await;
                }
            }
            Action::SignOut { user } => {
                let valid_from = self.valid_from(user);
                assert!(gateway.revoke_tokens(self.users[user].id, valid_from).await);
            }
            Action::Push { user, owner } => {
                assert!(
                    gateway
                        .push(self.users[user].id, self.users[owner].order_id)
                        .await
                );
            }
        }
        None
    }

    fn of_user(&self, user: usize) -> impl Iterator<Item = (&String, &OpenedConnection)> {
        let open = self.gateway.api.state().open.clone();
        self.connections
            .iter()
            .filter(move |(id, connection)| connection.user == user && open.contains(*id))
    }

    /// The revocation of the user's present tokens.
    fn valid_from(&self, user: usize) -> Timestamp {
        let tokens = &self.users[user].tokens;
        tokens[tokens.len() - 1] + TimeDelta::milliseconds(1)
    }

    /// Performs one action, or two concurrent ones, and checks what the connections have received meanwhile.
    async fn step(&mut self, first: Action, concurrent: Option<Action>) -> TestCaseResult {
        self.gateway.api.state().received.clear();
        let opened = match concurrent {
            Some(second) => {
                let (first, second) = tokio::join!(self.perform(first), self.perform(second));
                first.into_iter().chain(second).collect::<Vec<_>>()
            }
            None => self.perform(first).await.into_iter().collect(),
        };
        self.connections.extend(opened);
        let received = std::mem::take(&mut self.gateway.api.state().received);
        for (id, message) in &received {
            // A connection that is still opening receives nothing.
            let connection = &self.connections[id];
            prop_assert!(
                !connection.is_revoked,
                "{id} received {message} after the sign-out"
            );
            if message["type"] == "ORDER_STATUS_UPDATE" {
                let own = self.users[connection.user].order_id.to_string();
                prop_assert_eq!(&message["order_id"], &json!(own), "{} is of another user", id);
            }
        }
        if let (Action::Push { user, owner }, None) = (first, concurrent)
            && user == owner
        {
            for (id, connection) in self
                .of_user(user)
                .filter(|(_, connection)| !connection.is_revoked)
            {
                let informed = received.iter().any(|(receiver, _)| receiver == id);
                prop_assert!(
                    informed,
                    "{} with a token of {} was not informed",
                    id,
                    connection.token
                );
            }
        }
        for action in [Some(first), concurrent].into_iter().flatten() {
            if let Action::SignOut { user } = action {
                let valid_from = self.valid_from(user);
                for connection in self.connections.values_mut().filter(|open| open.user == user) {
                    connection.is_revoked |= connection.token < valid_from;
                }
                self.users[user].tokens.push(valid_from);
            }
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Vec<(Action, Option<Action>)>> {
    prop::collection::vec((action(), prop::option::of(action())), 1..25)
}

#[test]
fn no_connection_receives_what_it_must_not() {
    let runtime = Runtime::new().unwrap();
    let gateway = runtime.block_on(Gateway::start());
    let config = ProptestConfig {
        cases: 40,
        max_shrink_iters: 100,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in steps())| {
        let outcome: TestCaseResult = runtime.block_on(async {
            let mut users = Vec::new();
            for _ in 0..USERS {
                let id = UserId::new(now());
                let order_id = gateway.place_order(id).await;
                users.push(User { id, order_id, tokens: vec![now()] });
            }
            let mut world = World { gateway: &gateway, users, connections: BTreeMap::new() };
            for (first, concurrent) in steps {
                world.step(first, concurrent).await?;
            }
            Ok(())
        });
        outcome?;
    });
}
