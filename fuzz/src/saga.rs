//! What a state machine hands to the steps of the saga.

use saga::SagaState;

/// A state that is read has a price or is refused, and names its cause.
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
