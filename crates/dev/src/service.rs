//! One process of ours: the simulator, or `holdfast run` with one service or all of them.

use std::path::Path;
use std::time::Duration;

use provision::{Error, Process, Signal, Spec};

use crate::keep::Keep;
use crate::paths::Paths;

/// Above the drain of the services themselves, which finish what they have begun.
const GRACE: Duration = Duration::from_secs(35);
const START_LIMIT: Duration = Duration::from_secs(60);
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// The services, as `holdfast run` names them.
pub(crate) const SERVICES: [&str; 5] = ["webhook-ingest", "billing", "escrow", "retry", "admin"];

/// A process of ours and how to start it.
#[derive(Debug)]
pub(crate) struct Service {
    spec: Spec,
    process: Option<Process>,
}

impl Service {
    pub(crate) fn spawn(spec: Spec) -> Result<Self, Error> {
        let process = Process::spawn(spec.clone())?;
        Ok(Self {
            spec,
            process: Some(process),
        })
    }

    /// Waits until `url` answers with success; fails at once when the process ends.
    pub(crate) async fn wait_for(&mut self, http: &reqwest::Client, url: &str) -> Result<(), Error> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let ready = || async {
            let answer = http.get(url).timeout(PROBE_LIMIT).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        process.wait_until(START_LIMIT, ready).await
    }
}

impl Keep for Service {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    async fn start_again(&mut self) -> Result<(), Error> {
        // The dead one goes first: dropping it removes its pid file.
        self.process = None;
        self.process = Some(Process::spawn(self.spec.clone())?);
        Ok(())
    }

    async fn end(mut self) {
        if let Some(process) = &mut self.process {
            process.stop(Signal::SIGTERM, GRACE).await;
        }
    }
}

/// The spec of a program of ours in `programs`.
pub(crate) fn spec(paths: &Paths, programs: &Path, name: &str, command: &[&str], env: Vec<(String, String)>) -> Spec {
    let mut words = command.iter();
    Spec {
        name: name.to_owned(),
        program: programs.join(words.next().unwrap_or(&name)),
        args: words.map(Into::into).collect(),
        env,
        inherit_env: true,
        wrapper: Vec::new(),
        folder: Paths::workspace(),
        log: paths.log(name),
        pid_folder: paths.up(),
        death_signal: Signal::SIGKILL,
    }
}
