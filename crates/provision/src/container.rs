//! Servers from Docker, for machines that have it and no server binaries.
//!
//! The container runs in the foreground of a `docker run` that is our child: when we die the client gets its parent-death
//! signal and passes it on to the container, and `--rm` removes it. A container that was left over is removed by its name
//! before a new one starts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::machine::find_program;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The Docker client and the name of one container, made from the server's folder.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) docker: PathBuf,
    pub(crate) name: String,
}

impl Container {
    /// `None` when there is no Docker client or its daemon does not answer.
    pub(crate) async fn available(kind: &str, folder: &Path) -> Option<Self> {
        let docker = find_program("docker")?;
        let mut hasher = DefaultHasher::new();
        folder.hash(&mut hasher);
        let container = Self {
            docker,
            name: format!("holdfast-{kind}-{:016x}", hasher.finish()),
        };
        container.docker(&["info"]).await.then_some(container)
    }

    /// The arguments that every `docker run` of ours begins with: in the foreground, removed afterwards, a volume for the
    /// data that outlives it, and each port on loopback only.
    pub(crate) fn run_args(&self, data: &str, ports: &[(u16, u16)]) -> Vec<String> {
        let mut args: Vec<String> = ["run", "--rm", "--name", &self.name].map(str::to_owned).into();
        args.extend(["--volume".to_owned(), format!("{}:{data}", self.name)]);
        for (here, inside) in ports {
            args.extend(["--publish".to_owned(), format!("127.0.0.1:{here}:{inside}")]);
        }
        args
    }

    /// Removes the container, running or not.
    pub(crate) async fn remove(&self) {
        self.docker(&["rm", "--force", &self.name]).await;
    }

    /// The same from a `Drop`, which cannot await.
    pub(crate) fn remove_now(&self) {
        let mut command = std::process::Command::new(&self.docker);
        command
            .args(["rm", "--force", &self.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        drop(command.status());
    }

    /// Removes the container's data.
    pub(crate) async fn remove_data(&self) {
        self.remove().await;
        self.docker(&["volume", "rm", "--force", &self.name]).await;
    }

    async fn docker(&self, args: &[&str]) -> bool {
        let mut command = Command::new(&self.docker);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let ended = tokio::time::timeout(ANSWER_LIMIT, command.status()).await;
        matches!(ended, Ok(Ok(status)) if status.success())
    }
}
