//! Keeps Debian's packages from starting their services while they are installed.
//!
//! A package's script asks `/usr/sbin/policy-rc.d` whether it may start its service; 101 means no. What was there is moved
//! aside and comes back when this guard is dropped, or at the next installation if this process was killed in between.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::claim::write_private;
use crate::error::file;

const POLICY: &str = "/usr/sbin/policy-rc.d";
const PROGRAM: &str =
    "#!/bin/sh\n# Written by Holdfast's provisioning for the time of one apt-get install.\nexit 101\n";

/// While it lives no package starts a service.
#[derive(Debug)]
pub(crate) struct NoAutostart {
    policy: PathBuf,
}

impl NoAutostart {
    pub(crate) fn begin() -> Result<Self, Error> {
        Self::at(Path::new(POLICY))
    }

    /// Puts back what a killed run moved aside.
    pub(crate) fn repair() {
        drop(Self {
            policy: PathBuf::from(POLICY),
        });
    }

    fn at(policy: &Path) -> Result<Self, Error> {
        let guard = Self {
            policy: policy.to_owned(),
        };
        guard.restore().map_err(file("restoring", policy))?;
        if policy.exists() {
            std::fs::rename(policy, guard.saved()).map_err(file("moving aside", policy))?;
        }
        write_private(policy, PROGRAM, 0o755)?;
        Ok(guard)
    }

    fn saved(&self) -> PathBuf {
        self.policy.with_extension("d.before-holdfast")
    }

    /// Back to what was there before, if the file that is there now is ours.
    fn restore(&self) -> std::io::Result<()> {
        if std::fs::read_to_string(&self.policy).is_ok_and(|text| text == PROGRAM) {
            std::fs::remove_file(&self.policy)?;
        }
        if self.saved().exists() && !self.policy.exists() {
            std::fs::rename(self.saved(), &self.policy)?;
        }
        Ok(())
    }
}

impl Drop for NoAutostart {
    fn drop(&mut self) {
        // What fails here is repaired by the next installation.
        drop(self.restore());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_comes_back_also_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy-rc.d");
        drop(NoAutostart::at(&policy).unwrap());
        assert!(!policy.exists());

        std::fs::write(&policy, "the user's").unwrap();
        let guard = NoAutostart::at(&policy).unwrap();
        assert_eq!(std::fs::read_to_string(&policy).unwrap(), PROGRAM);
        drop(guard);
        assert_eq!(std::fs::read_to_string(&policy).unwrap(), "the user's");

        std::mem::forget(NoAutostart::at(&policy).unwrap());
        drop(NoAutostart::at(&policy).unwrap());
        assert_eq!(std::fs::read_to_string(&policy).unwrap(), "the user's");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
