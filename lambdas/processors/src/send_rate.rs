//! Limits the rate at which mails are sent.

use std::{num::NonZeroU32, time::Duration};

use tokio::{sync::Mutex, time::sleep};

/// The rate of one process. SES limits the rate of the whole account, but processes do not know of each
/// other. So each of the concurrent invocations gets an equal share, and an invocation lasts until the
/// interval after its last mail has passed: the next invocation, in this process or another one, sends no
/// earlier. The event source mapping bounds the number of concurrent invocations (`ScalingConfig`).
#[derive(Debug)]
pub struct SendRate {
    interval: Duration,
    slot: Mutex<()>,
}

impl SendRate {
    /// `concurrent_invocations` together send at most `mails_per_second`.
    pub fn new(mails_per_second: NonZeroU32, concurrent_invocations: NonZeroU32) -> Self {
        Self {
            interval: Duration::from_secs(concurrent_invocations.get().into()) / mails_per_second.get(),
            slot: Mutex::new(()),
        }
    }

    /// Runs `send` when the interval after the previous mail has passed. Returns when `send` has completed
    /// and the interval has passed again.
    pub async fn run<T>(&self, send: impl Future<Output = T>) -> T {
        let slot = self.slot.lock().await;
        let hold_slot = async {
            sleep(self.interval).await;
            drop(slot);
        };
        tokio::join!(send, hold_slot).0
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use tokio::time::Instant;

    use super::*;

    fn non_zero(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    /// Two invocations share four mails per second, so each sends one every half second.
    #[tokio::test(start_paused = true)]
    async fn concurrent_mails_start_one_interval_apart_and_the_last_one_waits() {
        let rate = SendRate::new(non_zero(4), non_zero(2));
        let started = Instant::now();
        let starts: Vec<u128> = stream::iter(0..3)
            .map(|_| rate.run(async { started.elapsed().as_millis() }))
            .buffer_unordered(3)
            .collect()
            .await;
        assert_eq!(starts, [0, 500, 1000]);
        assert_eq!(
            started.elapsed().as_millis(),
            1500,
            "the invocation keeps its share"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn slow_mail_does_not_delay_the_next_one() {
        let rate = SendRate::new(non_zero(2), non_zero(2));
        let started = Instant::now();
        let slow = rate.run(sleep(Duration::from_secs(5)));
        let next = rate.run(async { started.elapsed().as_secs() });
        let ((), next_start) = tokio::join!(slow, next);
        assert_eq!((next_start, started.elapsed().as_secs()), (1, 5));
    }
}
