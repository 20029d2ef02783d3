//! Signals of the operating system, as flags that are looked at between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1};

/// The wish of a person (Ctrl-C), of `down` or of a closing terminal that we stop.
#[derive(Debug, Clone)]
pub struct Interrupt {
    stop_requested: Arc<AtomicUsize>,
    restart_requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the operating system refuses to.
    pub fn listen() -> Result<Self> {
        let stop = Arc::new(AtomicUsize::new(0));
        let deployed = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_usize(signal, Arc::clone(&stop), 1)?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&deployed))?;
        Ok(Self {
            stop_requested: stop,
            restart_requested: deployed,
        })
    }

    /// Whether we are to stop.
    pub fn is_set(&self) -> bool {
        self.stop_requested.load(Ordering::Relaxed) != 0
    }

    /// # Errors
    /// When we are to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { bail!(Interrupted) } else { Ok(()) }
    }

    /// Whether `deploy` has built programs anew since this was last asked (it sends SIGUSR1).
    pub fn take_restart_request(&self) -> bool {
        self.restart_requested.swap(false, Ordering::Relaxed)
    }
}

/// Lets a command that only prints end quietly when its reader has seen enough (`cargo xtask logs | head`).
///
/// # Errors
/// When the operating system refuses to.
pub fn restore_default_sigpipe() -> Result<()> {
    signal_hook::flag::register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true)))?;
    Ok(())
}

/// The error that is none: somebody asked us to stop.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
