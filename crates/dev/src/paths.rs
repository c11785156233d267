//! Where things are: the workspace, its programs, and what `cargo dev` writes below `target/holdfast/`.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The folders of this checkout.
#[derive(Debug, Clone)]
pub struct Paths {
    target: PathBuf,
}

impl Paths {
    /// Of the running program: it stands in `<target>/<profile>/`.
    ///
    /// # Errors
    /// When the operating system does not say where the program is.
    pub fn here() -> anyhow::Result<Self> {
        let program = Self::this_program()?;
        let target = program
            .ancestors()
            .nth(2)
            .context("this program is not inside a target folder")?;
        Ok(Self {
            target: target.to_owned(),
        })
    }

    /// The running program, also after a build has replaced its file: the system then names the file that is gone.
    ///
    /// # Errors
    /// When the operating system does not say where the program is.
    pub fn this_program() -> anyhow::Result<PathBuf> {
        let program = std::env::current_exe().context("where this program is")?;
        let replaced = program.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
        Ok(replaced.map_or_else(|| program.clone(), PathBuf::from))
    }

    /// With another target folder.
    #[must_use]
    pub fn in_target(target: PathBuf) -> Self {
        Self { target }
    }

    /// The root of the checkout.
    #[must_use]
    pub fn workspace() -> PathBuf {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.ancestors().nth(2).unwrap_or(here).to_owned()
    }

    /// The folder of built programs.
    #[must_use]
    pub fn programs(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" })
    }

    /// Everything that `cargo dev` writes.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.target.join("holdfast")
    }

    /// The data and credentials of `cargo dev up`; also the folder whose lock says that it runs.
    #[must_use]
    pub fn up(&self) -> PathBuf {
        self.home().join("up")
    }

    /// The servers of `cargo dev test`.
    #[must_use]
    pub fn test(&self) -> PathBuf {
        self.home().join("test")
    }

    /// The servers of `cargo dev test --servers`, which may run beside it.
    #[must_use]
    pub fn test_servers(&self) -> PathBuf {
        self.home().join("test-servers")
    }

    /// What a running system tells others.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.home().join("state.json")
    }

    /// The log of one process of `cargo dev up`.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.home().join("log").join(format!("{name}.log"))
    }
}
