//! Packages: installed on Debian and Ubuntu as root after saying so, else one message with the command.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Tail, file};
use crate::machine::{Platform, find_program, is_root};
use crate::policy::NoAutostart;
use crate::{Error, Say};

/// What is not there, and the Debian packages that would bring it.
#[derive(Debug)]
pub(crate) struct Needed {
    pub(crate) what: String,
    pub(crate) packages: &'static [&'static str],
}

/// A tool that a stage of the tests needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `setpriv` and `unshare`.
    UtilLinux,
    /// `node` and `npm`.
    Node,
    /// `python3` with `venv` and `pip`.
    Python,
}

impl Tool {
    fn is_there(self) -> bool {
        match self {
            Self::UtilLinux => !cfg!(target_os = "linux") || has(&["setpriv", "unshare"]),
            Self::Node => has(&["node", "npm"]),
            Self::Python => {
                let modules = ["-c", "import ensurepip, pip, venv"];
                find_program("python3").is_some_and(|python| {
                    let mut command = std::process::Command::new(python);
                    command
                        .args(modules)
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null());
                    command.status().is_ok_and(|status| status.success())
                })
            }
        }
    }

    fn needed(self) -> Needed {
        let (what, packages): (_, &'static [&'static str]) = match self {
            Self::UtilLinux => ("setpriv and unshare (util-linux)", &["util-linux"]),
            Self::Node => ("Node with npm", &["nodejs", "npm"]),
            Self::Python => (
                "Python 3 with venv and pip",
                &["python3", "python3-venv", "python3-pip"],
            ),
        };
        Needed {
            what: what.to_owned(),
            packages,
        }
    }
}

fn has(programs: &[&str]) -> bool {
    programs.iter().all(|program| find_program(program).is_some())
}

/// Makes sure that `tools` are there, installing what is missing.
pub async fn ensure_tools(tools: &[Tool], log: &Path, say: Say<'_>) -> Result<(), Error> {
    NoAutostart::repair();
    for tool in tools.iter().filter(|tool| !tool.is_there()) {
        install(&tool.needed(), log, say).await?;
    }
    Ok(())
}

/// Installs what is needed with apt, after saying so; anywhere else, and as an ordinary user, it is an error that says how.
pub(crate) async fn install(needed: &Needed, log: &Path, say: Say<'_>) -> Result<(), Error> {
    let apt = find_program("apt-get").filter(|_| is_root() && Platform::here() == Platform::Debian);
    let Some(apt) = apt else {
        return Err(missing(needed.packages, &needed.what));
    };
    let packages = needed.packages.join(" ");
    say(&format!(
        "{} is missing: installing {packages} with apt-get (log: {})",
        needed.what,
        log.display()
    ));
    let _no_autostart = NoAutostart::begin()?;
    if !has_package_lists() {
        apt_get(&apt, &["update"], log).await?;
    }
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(needed.packages);
    if apt_get(&apt, &install, log).await.is_ok() {
        return Ok(());
    }
    say("apt-get install failed: trying again with fresh package lists");
    apt_get(&apt, &["update"], log).await?;
    apt_get(&apt, &install, log).await
}

fn has_package_lists() -> bool {
    let lists = std::fs::read_dir("/var/lib/apt/lists").into_iter().flatten().flatten();
    lists
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

async fn apt_get(apt: &Path, args: &[&str], log: &Path) -> Result<(), Error> {
    let output = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .map_err(file("opening", log))?;
    let output_again = output.try_clone().map_err(file("opening", log))?;
    let mut command = Command::new(apt);
    command
        .args(["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null()).stdout(output).stderr(output_again);
    let failed = |source| Error::Spawn {
        program: "apt-get".to_owned(),
        source,
    };
    let status = command.status().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Ended {
        what: format!("apt-get {}", args.join(" ")),
        status,
        tail: Tail::of(log),
    })
}

/// The error that says how to get Debian's `packages` here.
pub(crate) fn missing(packages: &[&str], what: &str) -> Error {
    Error::Missing {
        what: what.to_owned(),
        advice: advice(Platform::here(), packages),
    }
}

fn advice(platform: Platform, packages: &[&str]) -> String {
    let renamed = |names: &[(&str, &str)]| -> String {
        let name_of = |package: &str| {
            names
                .iter()
                .find(|(debian, _)| *debian == package)
                .map_or(package, |(_, name)| *name)
                .to_owned()
        };
        let mut words: Vec<String> = packages
            .iter()
            .map(|package| name_of(package))
            .filter(|name| !name.is_empty())
            .collect();
        words.dedup();
        words.join(" ")
    };
    let command = match platform {
        Platform::Debian => format!("sudo apt-get install --yes {}", packages.join(" ")),
        Platform::Fedora => {
            let names = [("postgresql", "postgresql-server"), ("python3-venv", "python3")];
            format!("sudo dnf install --assumeyes {}", renamed(&names))
        }
        Platform::Arch => {
            let names = [
                ("rabbitmq-server", "rabbitmq"),
                ("python3", "python"),
                ("python3-venv", "python"),
                ("python3-pip", "python-pip"),
            ];
            format!("sudo pacman -S --needed {}", renamed(&names))
        }
        Platform::Alpine => {
            let names = [
                ("postgresql", "postgresql16"),
                ("python3-venv", "python3"),
                ("python3-pip", "py3-pip"),
            ];
            format!("sudo apk add {}", renamed(&names))
        }
        Platform::Mac => {
            let names = [
                ("postgresql", "postgresql@17"),
                ("rabbitmq-server", "rabbitmq"),
                ("nodejs", "node"),
                ("npm", ""),
                ("python3-venv", "python3"),
                ("python3-pip", "python3"),
                ("util-linux", ""),
            ];
            format!("brew install {}", renamed(&names))
        }
        Platform::Other => {
            return format!(
                "Install it with your package manager (Debian's name: {}) or start Docker.",
                packages.join(" ")
            );
        }
    };
    format!("Install it with `{command}`, or start Docker, and run the command again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_the_exact_command_of_the_platform() {
        for (platform, packages, expected) in [
            (
                Platform::Debian,
                &["postgresql"][..],
                "`sudo apt-get install --yes postgresql`",
            ),
            (Platform::Mac, &["postgresql"], "`brew install postgresql@17`"),
            (Platform::Mac, &["nodejs", "npm"], "`brew install node`"),
            (
                Platform::Fedora,
                &["rabbitmq-server"],
                "`sudo dnf install --assumeyes rabbitmq-server`",
            ),
            (
                Platform::Arch,
                &["python3", "python3-venv", "python3-pip"],
                "`sudo pacman -S --needed python python-pip`",
            ),
            (Platform::Alpine, &["rabbitmq-server"], "`sudo apk add rabbitmq-server`"),
            (Platform::Other, &["postgresql"], "(Debian's name: postgresql)"),
        ] {
            let advice = advice(platform, packages);
            assert!(advice.contains(expected), "{platform:?}: {advice}");
        }
    }
}
