//! A document that is written by a test and compared with the committed file.

use std::path::Path;

/// Fails while `docs/<file>` differs from `told`; with `UPDATE_DOCS` set, writes it.
pub fn check(file: &str, test: &str, told: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, told).expect("the document can be written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = committed.lines().zip(told.lines()).enumerate();
    if let Some((number, (old, new))) = lines.find(|(_, (old, new))| old != new) {
        panic!(
            "docs/{file} differs from the rules in line {}\n  the file says  {old}\n  the rules say  {new}\n\
             UPDATE_DOCS=1 cargo test -p domain --test {test} rewrites it.",
            number + 1
        );
    }
    assert_eq!(committed, told, "docs/{file} is shorter or longer than the rules");
}
