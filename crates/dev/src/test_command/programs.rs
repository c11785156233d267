//! The test programs of the workspace: built by one `cargo test --no-run`, which names them, and then started as
//! `cargo test` would start them, from the folder of their package and with what Cargo tells them about it.

use std::io::BufReader;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::Context;
use cargo_metadata::{Artifact, Message, Metadata, MetadataCommand, Package};
use provision::{Signal, tied_command};

use crate::build::{Tied, cargo};
use crate::paths::Paths;

/// A program of tests.
pub(super) struct TestProgram {
    /// The package and the file that it was built from, such as `bus tests/alerts.rs`.
    pub(super) title: String,
    /// How to start it, without arguments yet.
    pub(super) command: Command,
    is_cargo: bool,
}

impl TestProgram {
    /// Adds what the user gave: parts of the names of the tests to run, or options of libtest.
    pub(super) fn add_words(&mut self, words: &[String]) {
        if self.is_cargo && !words.is_empty() {
            self.command.arg("--");
        }
        self.command.args(words);
    }
}

/// The command that builds them; the compiler's messages go to the terminal.
pub(super) fn build_command() -> anyhow::Result<Command> {
    let format = "--message-format=json-render-diagnostics";
    cargo(&["test", "--workspace", "--no-run", format])
}

/// Builds them with [`build_command`]. They are there only if it ended well.
pub(super) async fn build(mut command: Command) -> anyhow::Result<(ExitStatus, Vec<TestProgram>)> {
    command.stdout(Stdio::piped());
    let mut cargo = Tied::spawn(command)?;
    let output = cargo.take_output().context("the messages of cargo")?;
    let reading = tokio::task::spawn_blocking(move || artifacts(output));
    let status = cargo.ended().await?;
    let built = reading.await.context("reading the messages of cargo")??;
    if !status.success() {
        return Ok((status, Vec::new()));
    }
    let metadata = workspace()?;
    let programs = built.iter().filter_map(|artifact| program(artifact, &metadata));
    Ok((status, programs.collect::<anyhow::Result<_>>()?))
}

fn artifacts(output: impl std::io::Read) -> anyhow::Result<Vec<Artifact>> {
    let mut built = Vec::new();
    for message in Message::parse_stream(BufReader::new(output)) {
        match message.context("reading the messages of cargo")? {
            Message::CompilerArtifact(artifact) => built.push(artifact),
            Message::TextLine(line) => println!("{line}"),
            _ => {}
        }
    }
    Ok(built)
}

fn workspace() -> anyhow::Result<Metadata> {
    let mut question = MetadataCommand::new();
    question.no_deps().manifest_path(Paths::workspace().join("Cargo.toml"));
    question.exec().context("asking cargo for the packages")
}

fn program(artifact: &Artifact, metadata: &Metadata) -> Option<anyhow::Result<TestProgram>> {
    let executable = artifact.executable.as_ref().filter(|_| artifact.profile.test)?;
    let members = metadata.workspace_packages();
    let package = members.into_iter().find(|package| package.id == artifact.package_id)?;
    let folder = package.manifest_path.parent()?;
    let source = &artifact.target.src_path;
    let source = source.strip_prefix(folder).unwrap_or(source);
    let tied = tied_command(executable.as_str(), Signal::SIGKILL);
    Some(tied.map_err(anyhow::Error::new).map(|mut command| {
        command.current_dir(folder).stdin(Stdio::null());
        tell(&mut command, package);
        TestProgram {
            title: format!("{} {source}", package.name),
            command,
            is_cargo: false,
        }
    }))
}

/// What Cargo sets for the programs that it runs (The Cargo Book, "Environment variables Cargo sets for crates"). `OUT_DIR`
/// is missing: no package of the workspace has a build script.
fn tell(command: &mut Command, package: &Package) {
    let version = &package.version;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let folder = package.manifest_path.parent().map(ToString::to_string);
    command.envs([
        ("CARGO_MANIFEST_DIR", folder.unwrap_or_default()),
        ("CARGO_MANIFEST_PATH", package.manifest_path.to_string()),
        ("CARGO_PKG_NAME", package.name.to_string()),
        ("CARGO_PKG_VERSION", version.to_string()),
        ("CARGO_PKG_VERSION_MAJOR", version.major.to_string()),
        ("CARGO_PKG_VERSION_MINOR", version.minor.to_string()),
        ("CARGO_PKG_VERSION_PATCH", version.patch.to_string()),
        ("CARGO_PKG_VERSION_PRE", version.pre.to_string()),
        ("CARGO_PKG_AUTHORS", package.authors.join(":")),
        ("CARGO_PKG_DESCRIPTION", text(&package.description)),
        ("CARGO_PKG_HOMEPAGE", text(&package.homepage)),
        ("CARGO_PKG_REPOSITORY", text(&package.repository)),
        ("CARGO_PKG_LICENSE", text(&package.license)),
        (
            "CARGO_PKG_LICENSE_FILE",
            text(&package.license_file.as_ref().map(ToString::to_string)),
        ),
        (
            "CARGO_PKG_README",
            text(&package.readme.as_ref().map(ToString::to_string)),
        ),
        (
            "CARGO_PKG_RUST_VERSION",
            text(&package.rust_version.as_ref().map(ToString::to_string)),
        ),
    ]);
}

/// The doc tests of every library, which only Cargo can run; they count as one more program.
pub(super) fn doc_tests() -> anyhow::Result<TestProgram> {
    let mut command = cargo(&["test", "--workspace", "--doc"])?;
    if cfg!(target_os = "linux") {
        command.env(runner_variable()?, "setpriv --pdeathsig KILL");
    }
    command.stdin(Stdio::null());
    Ok(TestProgram {
        title: "doc tests".to_owned(),
        command,
        is_cargo: true,
    })
}

/// `CARGO_TARGET_<TRIPLE>_RUNNER` of the machine.
fn runner_variable() -> anyhow::Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("asking rustc for its host")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc names no host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.replace('-', "_").to_uppercase()))
}
