//! What this machine is and has: its programs, its distribution, and which processes live on it.
#![allow(
    clippy::disallowed_methods,
    reason = "finding programs needs PATH; this crate is a tool of development, not a configured service"
)]

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, Uid};

/// Folders that a user's PATH often lacks.
const ALSO: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The first `name` on PATH or in the system's own folders.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(ALSO.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

/// The PATH that private servers get.
pub(crate) fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:{}:/usr/local/bin:/usr/bin:/bin", ALSO.join(":"))
}

pub(crate) fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

pub(crate) fn is_root() -> bool {
    Uid::effective().is_root()
}

/// How packages are installed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    Debian,
    Fedora,
    Arch,
    Alpine,
    Mac,
    Other,
}

impl Platform {
    pub(crate) fn here() -> Self {
        if cfg!(target_os = "macos") {
            return Self::Mac;
        }
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self::of_release(&release)
    }

    fn of_release(release: &str) -> Self {
        let ids: Vec<&str> = release
            .lines()
            .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
            .flat_map(|value| value.trim_matches('"').split_whitespace())
            .collect();
        let any = |names: &[&str]| ids.iter().any(|id| names.contains(id));
        if any(&["debian", "ubuntu"]) {
            Self::Debian
        } else if any(&["fedora", "rhel", "centos"]) {
            Self::Fedora
        } else if any(&["arch"]) {
            Self::Arch
        } else if any(&["alpine"]) {
            Self::Alpine
        } else {
            Self::Other
        }
    }
}

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId {
    /// The process number.
    pub pid: i32,
    /// When it started, in the kernel's ticks since boot; 0 where the kernel does not say.
    pub started: u64,
}

impl ProcessId {
    /// The process that has this number now, if there is one that still runs.
    pub fn running(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        if Path::new("/proc/self/stat").exists() {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            return start_time(&stat).map(|started| Self { pid, started });
        }
        let answer = kill(Pid::from_raw(pid), None);
        matches!(answer, Ok(()) | Err(Errno::EPERM)).then_some(Self { pid, started: 0 })
    }

    /// This process.
    pub fn own() -> Self {
        Self::running(std::process::id()).unwrap_or(Self {
            pid: Pid::this().as_raw(),
            started: 0,
        })
    }

    /// Whether it is still the same process and still runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        u32::try_from(self.pid).ok().and_then(Self::running) == Some(*self)
    }

    pub(crate) fn group(&self) -> Pid {
        Pid::from_raw(self.pid)
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

impl std::str::FromStr for ProcessId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, started) = text.trim().split_once(' ').ok_or(())?;
        Ok(Self {
            pid: pid.parse().map_err(drop)?,
            started: started.parse().map_err(drop)?,
        })
    }
}

/// Field 22 of `/proc/<pid>/stat`, counted behind the name (which may contain anything); nothing for a zombie.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_known_by_its_release_file() {
        for (release, expected) in [
            ("ID=debian\n", Platform::Debian),
            ("ID=ubuntu\nID_LIKE=debian\n", Platform::Debian),
            ("NAME=Mint\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Platform::Debian),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Platform::Fedora),
            ("ID=alpine\n", Platform::Alpine),
            ("ID=arch\n", Platform::Arch),
            ("", Platform::Other),
        ] {
            assert_eq!(Platform::of_release(release), expected, "{release}");
        }
    }

    #[test]
    fn a_start_time_is_read_behind_any_process_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(start_time(&format!("77 (a) b (c)) {fields}")), Some(4242));
        assert_eq!(start_time(&format!("77 (gone) {}", fields.replace('S', "Z"))), None);
        assert_eq!(start_time("nonsense"), None);
    }

    #[test]
    fn a_number_that_was_given_to_another_process_is_not_the_same_process() {
        let own = ProcessId::own();
        assert!(own.is_alive());
        assert!(
            !ProcessId {
                started: own.started + 1,
                ..own
            }
            .is_alive()
        );
        assert_eq!(own.to_string().parse(), Ok(own));
    }
}
