//! Fuzz target of the saga's state, the input of its functions.

use saga::SagaState;

/// A parsed state has a valid total or returns an error, and keeps its correlation id.
pub fn state(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice::<SagaState>(bytes) else {
        return;
    };
    if let Ok(total) = state.total() {
        assert_eq!(total.amount(), state.total_amount);
        assert!(total.amount() >= 0);
    }
    assert_eq!(state.event_context().correlation_id, state.correlation_id);
}
