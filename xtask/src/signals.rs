//! Signal handlers that set flags; commands check the flags between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1};

/// A request to stop: from Ctrl-C, from `down`, or from a terminal that closes.
#[derive(Debug, Clone)]
pub struct Interrupt {
    stop_requested: Arc<AtomicUsize>,
    restart_requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// Installs the signal handlers.
    ///
    /// # Errors
    /// When the operating system rejects a handler.
    pub fn listen() -> Result<Self> {
        let stop_requested = Arc::new(AtomicUsize::new(0));
        let restart_requested = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_usize(signal, Arc::clone(&stop_requested), 1)?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&restart_requested))?;
        Ok(Self {
            stop_requested,
            restart_requested,
        })
    }

    pub fn is_set(&self) -> bool {
        self.stop_requested.load(Ordering::Relaxed) != 0
    }

    /// # Errors
    /// [`Interrupted`] when a stop was requested.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { bail!(Interrupted) } else { Ok(()) }
    }

    /// Whether `deploy` has rebuilt executables since the last call; `deploy` sends SIGUSR1.
    pub fn take_restart_request(&self) -> bool {
        self.restart_requested.swap(false, Ordering::Relaxed)
    }
}

/// Lets SIGPIPE end the process, so that a command that only prints ends quietly when its reader closes the
/// pipe (`cargo xtask logs | head`).
///
/// # Errors
/// When the operating system rejects the handler.
pub fn restore_default_sigpipe() -> Result<()> {
    signal_hook::flag::register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true)))?;
    Ok(())
}

/// A signal interrupted the command. `main` prints nothing for this error.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
