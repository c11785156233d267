//! A private server process that can be stopped and started again on the same data and ports.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;
use crate::container::Container;
use crate::process::{Process, Spec};

const GRACE: Duration = Duration::from_secs(30);
const QUIT_GRACE: Duration = Duration::from_secs(5);

/// How to start a server, and the running process if there is one.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) spec: Spec,
    pub(crate) stop_signal: Signal,
    /// Ends it at once, with its own children, when this value is dropped.
    pub(crate) quit_signal: Signal,
    pub(crate) container: Option<Container>,
    pub(crate) process: Option<Process>,
}

impl Server {
    /// Starts it unless it runs, and waits until `ready` says that it is usable.
    pub(crate) async fn start<F, Fut>(&mut self, limit: Duration, ready: F) -> Result<(), Error>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = bool>,
    {
        if self.is_running() {
            return Ok(());
        }
        if let Some(container) = &self.container {
            container.remove().await;
        }
        let mut process = Process::spawn(self.spec.clone())?;
        process.wait_until(limit, ready).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Whether the process lives.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Lets it end cleanly, with data on disk.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(self.stop_signal, GRACE).await;
        }
        if let Some(container) = &self.container {
            container.remove().await;
        }
    }

    /// Ends it as a power failure of its process would.
    pub(crate) async fn kill(&mut self) {
        if let Some(container) = &self.container {
            container.remove().await;
        }
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if let Some(container) = &self.container {
            container.remove_now();
        }
        if let Ok(pid) = i32::try_from(process.pid())
            && process.ended().is_none()
        {
            let _gone = kill(Pid::from_raw(pid), self.quit_signal);
            let asked = Instant::now();
            while process.ended().is_none() && asked.elapsed() < QUIT_GRACE {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
