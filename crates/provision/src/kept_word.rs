//! A random word that is made once and kept in a file: the credentials of a private server.

use std::path::Path;

use rand::Rng;
use rand::distr::Alphanumeric;

use crate::Error;
use crate::claim::write_private;
use crate::error::file;

const LENGTH: usize = 32;

/// The word in `path`, made if it is not there. Letters and digits only, so that it fits into a URL and an Erlang cookie.
pub(crate) fn kept_word(path: &Path, mode: u32) -> Result<String, Error> {
    match std::fs::read_to_string(path) {
        Ok(word) => Ok(word),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let word: String = rand::rng()
                .sample_iter(Alphanumeric)
                .take(LENGTH)
                .map(char::from)
                .collect();
            write_private(path, &word, mode)?;
            Ok(word)
        }
        Err(error) => Err(file("reading", path)(error)),
    }
}
