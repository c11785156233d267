//! Stripe's own packages for Node and Python, from their registries, at the versions that `sdk/` locks.
//!
//! Need `node` with `npm`, and `python3` with `pip`; `cargo dev test` installs them on a bare Debian or Ubuntu. The packages are
//! installed once, below `target`, and again when the lock files or the interpreters change.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use uuid::Uuid;

const NODE_HINT: &str = "install Node.js 18 or newer with npm (Debian, Ubuntu: apt-get install nodejs npm)";
const PYTHON_HINT: &str = "install Python 3.9 or newer with pip (Debian, Ubuntu: apt-get install python3 python3-pip)";

/// The lock files, and scripts that sign and verify.
#[must_use]
pub fn sdk_sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk")
}

/// Has the package for Node sign and verify: the job and its answer are described in `sdk/sign.mjs`.
#[must_use]
pub fn sign_with_node(job: &Value) -> Value {
    let script = sdk_sources().join("sign.mjs");
    serde_json::from_str(&run_node(&script, &[], &job.to_string())).expect("the answer of sign.mjs")
}

/// Runs a script of Node's with the folder of the package as its first argument, and gives what it prints.
#[must_use]
pub fn run_node(script: &Path, args: &[&str], input: &str) -> String {
    let version = run(Command::new("node").arg("--version"), "", NODE_HINT);
    let files = ["package.json", "package-lock.json", ".npmrc"];
    let folder = installed("node", &version, &files, |folder| {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-engine-strict", "--fetch-retries", "5"])
            .current_dir(folder);
        run(&mut npm, "", NODE_HINT);
    });
    run(
        Command::new("node").arg(script).arg(folder).args(args),
        input,
        NODE_HINT,
    )
}

/// As [`sign_with_node`], by the package for Python.
#[must_use]
pub fn sign_with_python(job: &Value) -> Value {
    let version = run(Command::new("python3").arg("--version"), "", PYTHON_HINT);
    let folder = installed("python", &version, &["requirements.txt"], |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--retries", "10"])
            .args(["--requirement", "requirements.txt", "--target", "packages"])
            .current_dir(folder);
        // A folder of our own is no business of the system's packages (PEP 668); older pips do not know the flag, but all
        // ignore the variable.
        pip.env("PIP_BREAK_SYSTEM_PACKAGES", "1")
            .env("PIP_ROOT_USER_ACTION", "ignore");
        run(&mut pip, "", PYTHON_HINT);
    });
    let mut command = Command::new("python3");
    command
        .arg("-I")
        .arg(sdk_sources().join("sign.py"))
        .arg(folder.join("packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    serde_json::from_str(&run(&mut command, &job.to_string(), PYTHON_HINT)).expect("the answer of sign.py")
}

/// A folder with a package in it. It is made under another name and moved when it is complete, so that a broken installation is
/// never taken for a good one and two test programs do not meet.
fn installed(name: &str, recipe: &str, files: &[&str], install: impl FnOnce(&Path)) -> PathBuf {
    let read = |file: &&str| fs::read_to_string(sdk_sources().join(file)).expect("a lock file");
    let wanted: String = files.iter().map(read).chain([recipe.to_owned()]).collect();
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/holdfast/official-packages");
    // What is installed from other files has another name, so that nothing is ever replaced under whoever uses it.
    let mut hasher = DefaultHasher::new();
    wanted.hash(&mut hasher);
    let folder = cache.join(format!("{name}-{:016x}", hasher.finish()));
    if folder.exists() {
        return folder;
    }
    let fresh = cache.join(format!("{name}-{}", Uuid::new_v4().simple()));
    fs::create_dir_all(&fresh).expect("a folder for a package");
    for file in files {
        fs::copy(sdk_sources().join(file), fresh.join(file)).expect("a lock file");
    }
    install(&fresh);
    // Another program may have been quicker.
    if let Err(error) = fs::rename(&fresh, &folder) {
        assert!(
            folder.exists(),
            "{} cannot be put in its place: {error}",
            folder.display()
        );
        drop(fs::remove_dir_all(&fresh));
    }
    folder
}

/// Runs a command and gives its standard output; fails with its last words, and with what to install when it is not there.
fn run(command: &mut Command, input: &str, hint: &str) -> String {
    let shown = format!("{command:?}");
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{shown} cannot be started ({error}): {hint}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the end of a child");
    let written = writer.join().expect("a thread that only writes");
    let errors = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(status.success(), "{shown} failed with {status}: {hint}\n{errors}");
    written.expect("it reads its input");
    String::from_utf8(output.stdout).expect("text")
}
