//! Busy loops that compete with the tests for the CPU, to simulate a slow or busy machine.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

/// How many iterations a loop runs before it checks whether to stop: less than a millisecond.
const ITERATIONS_PER_CHECK: u32 = 1 << 14;

/// Running busy loops. Each one occupies a core at normal priority.
///
/// The loops are threads of this process, so they end with it in any case: they stop when this value is
/// dropped, which includes an error and Ctrl-C, and the operating system ends them when the process is
/// killed.
#[derive(Debug)]
pub struct CpuHogs {
    stop_requested: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl CpuHogs {
    /// Starts `count` busy loops.
    ///
    /// # Errors
    /// When the operating system cannot create a thread; the loops that have started are stopped.
    pub fn start(count: usize) -> Result<Self> {
        let mut hogs = Self {
            stop_requested: Arc::new(AtomicBool::new(false)),
            threads: Vec::with_capacity(count),
        };
        for index in 0..count {
            let stop_requested = Arc::clone(&hogs.stop_requested);
            let thread = thread::Builder::new()
                .name(format!("cpu-hog-{index}"))
                .spawn(move || burn_cpu(&stop_requested))
                .context("cannot start a busy loop")?;
            hogs.threads.push(thread);
        }
        Ok(hogs)
    }
}

impl Drop for CpuHogs {
    /// Stops the loops and waits for their threads.
    fn drop(&mut self) {
        self.stop_requested.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A busy loop cannot panic, and drop must not.
            let _ = thread.join();
        }
    }
}

fn burn_cpu(stop_requested: &AtomicBool) {
    let mut value = 1_u64;
    while !stop_requested.load(Ordering::Relaxed) {
        for _ in 0..ITERATIONS_PER_CHECK {
            // Real work and no `spin_loop`, which would leave the core to its other hardware thread.
            value = hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_stops_every_busy_loop() {
        let hogs = CpuHogs::start(2).unwrap();
        let stop_requested = Arc::clone(&hogs.stop_requested);
        assert_eq!(hogs.threads.len(), 2);
        assert!(hogs.threads.iter().all(|thread| !thread.is_finished()));
        drop(hogs);
        assert_eq!(
            Arc::strong_count(&stop_requested),
            1,
            "no thread holds the flag any more"
        );
    }
}
