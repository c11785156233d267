//! A private Postgres.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio_postgres::NoTls;

use crate::claim::{Claim, make_private_folder, remove_folder, write_private};
use crate::container::Container;
use crate::error::{Tail, file};
use crate::kept_word::kept_word;
use crate::packages::{self, Needed};
use crate::ports::free_ports;
use crate::postgres_files::{self, OLDEST, RunAs};
use crate::process::{Process, Spec};
use crate::server::Server;
use crate::{Error, Say};

const IMAGE: &str = "postgres:17";
const SUPERUSER: &str = "postgres";
const INITDB_LIMIT: Duration = Duration::from_secs(300);
const START_LIMIT: Duration = Duration::from_secs(180);
/// What Postgres says about the memory of a killed server whose children still end.
const STILL_IN_USE: &str = "pre-existing shared memory block";
const STILL_IN_USE_PAUSE: Duration = Duration::from_millis(100);
const STILL_IN_USE_LIMIT: Duration = Duration::from_secs(10);
/// The first start from an image has to download it.
const START_LIMIT_DOCKER: Duration = Duration::from_secs(600);

/// What a commit is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk before it is confirmed, as in production.
    Durable,
    /// Gone with a power failure, and faster: for tests.
    Volatile,
}

/// How a Postgres is provided.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The folder of its data, log and password. It keeps its data from one start to the next.
    pub folder: PathBuf,
    /// The URL of a superuser to use instead of starting anything (from `DATABASE_URL`).
    pub given: Option<String>,
    /// What a commit is worth.
    pub durability: Durability,
    /// Whether a database that is there is removed first.
    pub clean: bool,
    /// Where its log goes.
    pub log: PathBuf,
}

/// A Postgres that answers.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    server: Server,
    durability: Durability,
    start_limit: Duration,
    _claim: Claim,
}

impl Postgres {
    /// Provides it in the order that the crate's documentation names, and waits until it answers.
    pub async fn start(options: PostgresOptions, say: Say<'_>) -> Result<Self, Error> {
        if let Some(url) = options.given {
            say("Postgres: using the server that DATABASE_URL names");
            answer(&url).await.map_err(|reason| Error::Given {
                variable: "DATABASE_URL",
                reason,
            })?;
            return Ok(Self { url, private: None });
        }
        let claim = Claim::take(&options.folder).await?;
        let data = options.folder.join("data");
        let port = free_ports::<1>().map(|[port]| port)?;
        let (spec, container) = match provide(&options.folder, say).await? {
            Source::Binaries(programs) => {
                if options.clean {
                    remove_folder(&data)?;
                }
                (native(&programs, &options, port, say).await?, None)
            }
            Source::Docker(container) => {
                // The password is taken by the first start on new data only, so without it the data cannot be opened.
                if options.clean || !options.folder.join("password").exists() {
                    container.remove_data().await;
                }
                say(&format!("Postgres: starting {IMAGE} in Docker"));
                (in_docker(&container, &options, port)?, Some(container))
            }
        };
        let start_limit = if container.is_some() {
            START_LIMIT_DOCKER
        } else {
            START_LIMIT
        };
        let url = format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{port}/postgres",
            password(&options.folder)?
        );
        let server = Server {
            spec,
            stop_signal: Signal::SIGINT,
            quit_signal: Signal::SIGQUIT,
            container,
            process: None,
        };
        let private = Private {
            server,
            durability: options.durability,
            start_limit,
            _claim: claim,
        };
        let mut postgres = Self {
            url,
            private: Some(private),
        };
        postgres.start_again().await?;
        Ok(postgres)
    }

    /// The superuser's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The private server's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.private.as_ref()?.server.pid()
    }

    /// Whether it runs; a server that was given always counts as running.
    pub fn is_running(&mut self) -> bool {
        self.private.as_mut().is_none_or(|private| private.server.is_running())
    }

    /// Starts it again after [`Postgres::stop`] or [`Postgres::kill9`] or a crash: same data, port and URL.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        let url = self.url.clone();
        let ready = || async { answer(&url).await.is_ok() };
        let private = self.ours()?;
        let begun = Instant::now();
        loop {
            match private.server.start(private.start_limit, &ready).await {
                // After a kill the old server's own children need a moment to notice it; until then a new one refuses.
                Err(Error::Ended { tail, .. })
                    if tail.contains(STILL_IN_USE) && begun.elapsed() < STILL_IN_USE_LIMIT =>
                {
                    tokio::time::sleep(STILL_IN_USE_PAUSE).await;
                }
                ended => return ended,
            }
        }
    }

    /// Lets it end cleanly, ending its connections.
    pub async fn stop(&mut self) -> Result<(), Error> {
        self.ours()?.server.stop().await;
        Ok(())
    }

    /// Kills it with signal 9.
    pub async fn kill9(&mut self) -> Result<(), Error> {
        self.ours()?.server.kill().await;
        Ok(())
    }

    /// Ends it for good, as fast as its durability allows. A server that was given is left alone.
    pub async fn end(mut self) {
        if let Some(private) = &mut self.private {
            if private.durability == Durability::Volatile {
                private.server.stop_signal = private.server.quit_signal;
            }
            private.server.stop().await;
        }
    }

    fn ours(&mut self) -> Result<&mut Private, Error> {
        self.private.as_mut().ok_or(Error::NotOurs { what: "Postgres" })
    }
}

enum Source {
    Binaries(PathBuf),
    Docker(Container),
}

async fn provide(folder: &Path, say: Say<'_>) -> Result<Source, Error> {
    if let Some(programs) = postgres_files::find() {
        return Ok(Source::Binaries(programs));
    }
    if let Some(container) = Container::available("postgres", folder).await {
        return Ok(Source::Docker(container));
    }
    let needed = Needed {
        what: format!("Postgres {OLDEST} or newer"),
        packages: &["postgresql"],
    };
    packages::install(&needed, &folder.join("apt.log"), say).await?;
    postgres_files::find()
        .map(Source::Binaries)
        .ok_or_else(|| Error::Missing {
            what: needed.what,
            advice: "The distribution's package is older: add apt.postgresql.org, or set DATABASE_URL.".to_owned(),
        })
}

async fn native(programs: &Path, options: &PostgresOptions, port: u16, say: Say<'_>) -> Result<Spec, Error> {
    let run_as = RunAs::here()?;
    let data = options.folder.join("data");
    let spec = Spec {
        name: "postgres".to_owned(),
        program: programs.join("postgres"),
        args: Vec::new(),
        env: vec![("LC_ALL".to_owned(), "C".to_owned())],
        inherit_env: false,
        wrapper: run_as.wrapper(),
        folder: options.folder.clone(),
        log: options.log.clone(),
        pid_folder: options.folder.clone(),
        death_signal: Signal::SIGINT,
    };
    if !data.join("PG_VERSION").exists() {
        say("Postgres: making a database cluster");
        initdb(programs, &spec, options, run_as, &data).await?;
    }
    say(&format!(
        "Postgres: starting {} on 127.0.0.1:{port}",
        spec.program.display()
    ));
    let mut args = vec!["-D".into(), data.into_os_string()];
    let network = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
    ];
    for setting in network.into_iter().chain(settings(options.durability)) {
        args.extend(["-c".into(), setting.into()]);
    }
    Ok(Spec { args, ..spec })
}

/// Makes the cluster in a folder of another name and renames it when it is complete, so that an interrupted run leaves none.
async fn initdb(
    programs: &Path,
    server: &Spec,
    options: &PostgresOptions,
    run_as: RunAs,
    data: &Path,
) -> Result<(), Error> {
    remove_folder(data)?;
    let unfinished = options.folder.join("data.unfinished");
    remove_folder(&unfinished)?;
    make_private_folder(&unfinished)?;
    run_as.own(&unfinished)?;
    let password_file = options.folder.join("password.initdb");
    write_private(&password_file, &password(&options.folder)?, 0o600)?;
    let words = ["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"];
    let mut args: Vec<_> = words.into_iter().map(Into::into).collect();
    args.extend([
        "-U".into(),
        SUPERUSER.into(),
        "-D".into(),
        unfinished.clone().into_os_string(),
    ]);
    args.extend(["--pwfile".into(), password_file.clone().into_os_string()]);
    let log = options.folder.join("initdb.log");
    let spec = Spec {
        name: "initdb".to_owned(),
        program: programs.join("initdb"),
        args,
        log: log.clone(),
        death_signal: Signal::SIGKILL,
        ..server.clone()
    };
    let mut process = Process::spawn(spec)?;
    let ended = tokio::time::timeout(INITDB_LIMIT, process.wait()).await;
    let status = ended.map_err(|_| process.not_ready_error(INITDB_LIMIT))?;
    drop(std::fs::remove_file(&password_file));
    if !status.success() {
        return Err(Error::Ended {
            what: "initdb".to_owned(),
            status,
            tail: Tail::of(&log),
        });
    }
    std::fs::rename(&unfinished, data).map_err(file("renaming", &unfinished))
}

fn in_docker(container: &Container, options: &PostgresOptions, port: u16) -> Result<Spec, Error> {
    let mut args = container.run_args("/var/lib/postgresql/data", &[(port, 5432)]);
    args.extend([
        "--env".to_owned(),
        "POSTGRES_PASSWORD".to_owned(),
        IMAGE.to_owned(),
        "postgres".to_owned(),
    ]);
    for setting in settings(options.durability) {
        args.extend(["-c".to_owned(), setting]);
    }
    Ok(Spec {
        name: "postgres".to_owned(),
        program: container.docker.clone(),
        args: args.into_iter().map(Into::into).collect(),
        env: vec![("POSTGRES_PASSWORD".to_owned(), password(&options.folder)?)],
        inherit_env: true,
        wrapper: Vec::new(),
        folder: options.folder.clone(),
        log: options.log.clone(),
        pid_folder: options.folder.clone(),
        death_signal: Signal::SIGINT,
    })
}

fn settings(durability: Durability) -> impl Iterator<Item = String> {
    let common = [
        "max_connections=200",
        "timezone=UTC",
        "jit=off",
        "max_wal_size=4GB",
        "log_checkpoints=off",
    ];
    let particular: &[&str] = match durability {
        Durability::Durable => &[
            "fsync=on",
            "synchronous_commit=on",
            "full_page_writes=on",
            "shared_buffers=256MB",
        ],
        Durability::Volatile => &["fsync=off", "full_page_writes=off", "shared_buffers=128MB"],
    };
    common.into_iter().chain(particular.iter().copied()).map(str::to_owned)
}

/// The superuser's password: made once per data folder.
fn password(folder: &Path) -> Result<String, Error> {
    kept_word(&folder.join("password"), 0o600)
}

/// One query, or why not.
async fn answer(url: &str) -> Result<(), String> {
    let attempt = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(connection);
        let answered = client.simple_query("SELECT 1").await.map(drop);
        drop(client);
        drop(driver.await);
        answered
    };
    match tokio::time::timeout(Duration::from_secs(5), attempt).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(match (error.as_db_error(), std::error::Error::source(&error)) {
            (Some(refusal), _) => refusal.message().to_owned(),
            (None, Some(source)) => format!("{error}: {source}"),
            (None, None) => error.to_string(),
        }),
        Err(_) => Err("no answer within 5 s".to_owned()),
    }
}
