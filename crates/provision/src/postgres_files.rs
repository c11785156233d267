//! Where Postgres's programs are, and as whom they run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User, chown};

use crate::Error;
use crate::error::file;
use crate::machine::{find_program, is_program, is_root};

/// The oldest major version that will do.
pub(crate) const OLDEST: u32 = 15;

/// Who stands in for a missing `postgres` user; any user but root will do.
const NOBODY: u32 = 65_534;

/// The newest Postgres of this machine that is new enough: the folder of its programs.
pub(crate) fn find() -> Option<PathBuf> {
    let versioned = [
        "/usr/lib/postgresql",
        "/usr/local/lib/postgresql",
        "/opt/homebrew/opt",
        "/usr/local/opt",
        "/usr",
    ];
    let below = versioned
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    let named = below.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("postgresql") || name.starts_with("pgsql-") || name.parse::<u32>().is_ok()
    });
    let on_path =
        find_program("postgres").and_then(|program| program.canonicalize().ok()?.parent().map(Path::to_owned));
    named
        .map(|entry| entry.path().join("bin"))
        .chain(on_path)
        .filter(|folder| is_program(&folder.join("postgres")) && is_program(&folder.join("initdb")))
        .filter_map(|folder| version_of(&folder).map(|version| (version, folder)))
        .filter(|(version, _)| *version >= OLDEST)
        .max()
        .map(|(_, folder)| folder)
}

fn version_of(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    major_version(&String::from_utf8_lossy(&output.stdout))
}

/// Of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` or `postgres (PostgreSQL) 18beta1`.
fn major_version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("(PostgreSQL) ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// As whom Postgres's programs run. They refuse to run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// We are an ordinary user.
    Ourselves,
    /// Root, seen as another user inside a user namespace: files stay root's, and folders that only root may enter work.
    Namespace(u32, u32),
    /// Another user who keeps root's right to enter folders, for containers that forbid user namespaces.
    Dropped(u32, u32),
}

impl RunAs {
    pub(crate) fn here() -> Result<Self, Error> {
        if !is_root() {
            return Ok(Self::Ourselves);
        }
        let postgres = User::from_name("postgres").ok().flatten();
        let (uid, gid) = postgres.map_or((NOBODY, NOBODY), |user| (user.uid.as_raw(), user.gid.as_raw()));
        [Self::Namespace(uid, gid), Self::Dropped(uid, gid)]
            .into_iter()
            .find(|way| way.works())
            .ok_or_else(|| Error::Missing {
                what: "a way to run Postgres as another user than root".to_owned(),
                advice:
                    "Neither `unshare --user` nor `setpriv --reuid` may be used here: run this as an ordinary user."
                        .to_owned(),
            })
    }

    fn works(self) -> bool {
        let mut words = self.wrapper().into_iter();
        let Some(program) = words.next() else { return true };
        let mut command = Command::new(program);
        command
            .args(words)
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// The command that takes Postgres's command as its arguments.
    pub(crate) fn wrapper(self) -> Vec<OsString> {
        let words = match self {
            Self::Ourselves => Vec::new(),
            Self::Namespace(uid, gid) => {
                vec![
                    "unshare".to_owned(),
                    "--user".to_owned(),
                    format!("--map-user={uid}"),
                    format!("--map-group={gid}"),
                ]
            }
            Self::Dropped(uid, gid) => vec![
                "setpriv".to_owned(),
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".to_owned(),
                "--inh-caps=+dac_override".to_owned(),
                "--ambient-caps=+dac_override".to_owned(),
            ],
        };
        words.into_iter().map(Into::into).collect()
    }

    /// Gives `folder` to whom Postgres runs as, which insists on owning its data.
    pub(crate) fn own(self, folder: &Path) -> Result<(), Error> {
        match self {
            Self::Dropped(uid, gid) => chown(folder, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|errno| file("changing the owner of", folder)(errno.into())),
            Self::Ourselves | Self::Namespace(..) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        for (text, expected) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 9.6.24", Some(9)),
            ("something else", None),
        ] {
            assert_eq!(major_version(text), expected, "{text}");
        }
    }
}
