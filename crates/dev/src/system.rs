//! The running system, from nothing to ready and back.
//!
//! Order of a start: claim the folder, servers, database and migrations, simulator, services, readiness, state file. Each
//! step needs the ones before it, so the first failure ends the start, names what failed and leaves nothing running. A stop
//! goes the other way: services drain while the broker and the database still answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use provision::{
    Broker, BrokerOptions, Claim, Durability, Postgres, PostgresOptions, Process, ProcessId, Tool, ensure_tools,
    free_ports, preferred_port,
};
use rand::Rng;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::SystemArgs;
use crate::environment::{Stripe, environment};
use crate::front::Front;
use crate::keep::{Report, keep};
use crate::paths::Paths;
use crate::secrets::Secrets;
use crate::service::{SERVICES, Service, spec};
use crate::state::State;
use crate::{database, environment};

const PREFERRED_PORT: u16 = 8080;
const MIGRATION_LIMIT: Duration = Duration::from_secs(300);

/// Where a system tells what it does; it is kept for as long as the system runs.
pub type SharedSay = Arc<dyn Fn(&str) + Send + Sync>;

/// What a system is started from.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it is made of.
    pub args: SystemArgs,
    /// Where it keeps its things.
    pub paths: Paths,
    /// The folder of `holdfast` and `holdfast-sim`.
    pub programs: PathBuf,
}

/// A system that was ready when it was handed out. It must be ended with [`System::stop`]; if it is dropped instead, its
/// processes are killed.
pub struct System {
    state: watch::Receiver<State>,
    paths: Paths,
    /// In the order in which they are stopped.
    groups: Vec<Group>,
    writer: JoinHandle<()>,
    front: Option<Front>,
    _claim: Claim,
}

#[derive(Default)]
struct Group {
    stop: CancellationToken,
    members: Vec<JoinHandle<()>>,
}

impl Group {
    async fn end(self) {
        self.stop.cancel();
        for member in self.members {
            drop(member.await);
        }
    }
}

impl System {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// When another system runs in the same folder, and when a step fails; the error shows the log's last lines.
    pub async fn start(options: Options, say: SharedSay) -> anyhow::Result<Self> {
        let Options { args, paths, programs } = options;
        let claim = Claim::take(&paths.up()).await?;
        remove_old_logs(&paths);
        ensure_tools(&[Tool::UtilLinux], &paths.log("apt"), &*say).await?;
        if args.clean {
            drop(std::fs::remove_file(paths.up().join("secrets.json")));
        }
        let secrets = Secrets::kept_in(&paths.up().join("secrets.json"))?;

        let (postgres, broker) = servers(&paths, args.clean, &say).await?;
        let (database_url, migrated_by) = match given("DATABASE_URL") {
            Some(url) => (url, "the role of DATABASE_URL"),
            None => (database::create(postgres.url()).await?, "the superuser"),
        };
        say(&format!("migrating the database as {migrated_by}"));
        let is_ours = given("DATABASE_URL").is_none();
        migrate(&paths, &programs, &database_url, is_ours).await?;
        database::furnish(&database_url, &secrets).await?;

        let port = match args.port {
            Some(0) => free_ports().map(|[port]| port)?,
            Some(port) => port,
            None => preferred_port(PREFERRED_PORT)?,
        };
        let base_url = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .context("an HTTP client")?;
        let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(1..1_000_000));
        let (stripe, simulator) = if args.no_sim {
            (Stripe::of_environment()?, None)
        } else {
            let (stripe, simulator) = simulator(&paths, &programs, &secrets, &base_url, seed, &http, &say).await?;
            (stripe, Some(simulator))
        };

        let service_url = database::url_as(&database_url, "holdfast_service", &secrets.service_password)?;
        let shared = environment(&secrets, &stripe, &service_url, broker.amqp_url(), &base_url);
        let (services, front) = if args.split {
            split(&paths, &programs, &shared, port, &http, &say).await?
        } else {
            let env = environment::listening(&shared, port);
            let mut all = Service::spawn(spec(&paths, &programs, "holdfast", &["holdfast", "run", "all"], env))?;
            say("waiting for the services");
            all.wait_for(&http, &format!("{base_url}/readyz")).await?;
            (vec![all], None)
        };

        let [service_token, admin_token, member_token] = secrets.tokens()?;
        let own = ProcessId::own();
        let first = State {
            base_url,
            auth_jwt_secret: secrets.auth_jwt_secret.clone(),
            org_id: secrets.org_id.to_string(),
            admin_user_id: secrets.admin_user_id.to_string(),
            member_user_id: secrets.member_user_id.to_string(),
            tenant_database_url: database::url_as_tenant(&database_url, &secrets)?,
            service_database_url: service_url,
            database_url,
            amqp_url: broker.amqp_url().to_owned(),
            stripe_api_url: stripe.api_base,
            webhook_secret: stripe.webhook_secret,
            connect_webhook_secret: stripe.connect_webhook_secret,
            reconcile_secret: secrets.reconcile_secret.clone(),
            monitor_secret: secrets.monitor_secret.clone(),
            service_token,
            admin_token,
            member_token,
            pids: BTreeMap::new(),
            supervisor_pid: own.pid,
            supervisor_started: own.started,
            log_folder: paths.log("x").with_file_name("").display().to_string(),
        };

        let report = Report {
            pids: Arc::new(watch::Sender::default()),
            say,
        };
        let mut groups = [Group::default(), Group::default(), Group::default()];
        let [ours, outside, servers] = &mut groups;
        let keep_in = |group: &Group| (group.stop.clone(), report.clone());
        for service in services {
            let (stop, report) = keep_in(ours);
            ours.members.push(keep(service, stop, report));
        }
        if let Some(simulator) = simulator {
            let (stop, report) = keep_in(outside);
            outside.members.push(keep(simulator, stop, report));
        }
        let (stop, to) = keep_in(servers);
        servers.members.push(keep(broker, stop.clone(), to.clone()));
        servers.members.push(keep(postgres, stop, to));

        let (state, writer) = keep_written(first, report.pids.subscribe(), paths.clone())?;
        Ok(Self {
            state,
            paths,
            groups: groups.into(),
            writer,
            front,
            _claim: claim,
        })
    }

    /// What others may know, with the numbers of the processes as they are now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Stops everything in order and returns when nothing runs any more.
    pub async fn stop(self) {
        if let Some(front) = self.front {
            front.stop().await;
        }
        for group in self.groups {
            group.end().await;
        }
        self.writer.abort();
        drop(self.writer.await);
        State::remove(&self.paths);
    }
}

fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The logs of the last run, except the supervisor's, which has begun already.
fn remove_old_logs(paths: &Paths) {
    let folder = paths.log("supervisor").with_file_name("");
    for file in std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        if file != paths.log("supervisor") {
            drop(std::fs::remove_file(file));
        }
    }
}

async fn servers(paths: &Paths, clean: bool, say: &SharedSay) -> anyhow::Result<(Postgres, Broker)> {
    let postgres = PostgresOptions {
        folder: paths.up().join("postgres"),
        given: given("DATABASE_URL"),
        durability: Durability::Durable,
        clean,
        log: paths.log("postgres"),
    };
    let broker = BrokerOptions {
        folder: paths.up().join("rabbitmq"),
        given: given("AMQP_URL"),
        management: false,
        clean,
        log: paths.log("rabbitmq"),
    };
    // One after the other until both are found, because either may install packages; their starts are what takes time.
    let postgres = Postgres::start(postgres, &**say).await?;
    let broker = Broker::start(broker, &**say).await?;
    Ok((postgres, broker))
}

async fn migrate(paths: &Paths, programs: &Path, database_url: &str, is_ours: bool) -> anyhow::Result<()> {
    let env = vec![("MIGRATOR_DATABASE_URL".to_owned(), database_url.to_owned())];
    let mut process = Process::spawn(spec(paths, programs, "migrate", &["holdfast", "migrate"], env))?;
    let ended = tokio::time::timeout(MIGRATION_LIMIT, process.wait()).await;
    let status = ended.map_err(|_| process.not_ready_error(MIGRATION_LIMIT))?;
    if status.success() {
        return Ok(());
    }
    let error = process.ended_error(status);
    if is_ours {
        bail!(
            "{error}\nIf these data are of another version of the sources, `cargo dev up --clean` begins without them."
        );
    }
    Err(error.into())
}

async fn simulator(
    paths: &Paths,
    programs: &Path,
    secrets: &Secrets,
    base_url: &str,
    seed: u64,
    http: &reqwest::Client,
    say: &SharedSay,
) -> anyhow::Result<(Stripe, Service)> {
    let [port] = free_ports()?;
    let stripe = Stripe::simulated(secrets, port);
    say(&format!("starting the Stripe simulator with seed {seed}"));
    let env = environment::of_simulator(secrets, base_url, port, seed);
    let mut simulator = Service::spawn(spec(paths, programs, "holdfast-sim", &["holdfast-sim"], env))?;
    simulator
        .wait_for(http, &format!("{}/_sim/ledger", stripe.api_base))
        .await?;
    Ok((stripe, simulator))
}

async fn split(
    paths: &Paths,
    programs: &Path,
    shared: &[(String, String)],
    port: u16,
    http: &reqwest::Client,
    say: &SharedSay,
) -> anyhow::Result<(Vec<Service>, Option<Front>)> {
    let ports: [u16; SERVICES.len()] = free_ports()?;
    // First, so that nobody takes its port while the services start.
    let front = Front::start(port, SERVICES.into_iter().zip(ports).collect())?;
    let mut services = Vec::new();
    for (name, port) in SERVICES.into_iter().zip(ports) {
        let mut env = environment::listening(shared, port);
        env.push(("HOLDFAST_TRUSTED_PROXIES".to_owned(), "127.0.0.1".to_owned()));
        services.push(Service::spawn(spec(
            paths,
            programs,
            name,
            &["holdfast", "run", name],
            env,
        ))?);
    }
    for ((service, name), port) in services.iter_mut().zip(SERVICES).zip(ports) {
        say(&format!("waiting for {name}"));
        service
            .wait_for(http, &format!("http://127.0.0.1:{port}/readyz"))
            .await?;
    }
    Ok((services, Some(front)))
}

/// Writes the state file now and whenever a process gets another number.
fn keep_written(
    mut state: State,
    mut pids: watch::Receiver<BTreeMap<String, u32>>,
    paths: Paths,
) -> anyhow::Result<(watch::Receiver<State>, JoinHandle<()>)> {
    state.pids = pids.borrow_and_update().clone();
    state.write(&paths)?;
    let (sender, receiver) = watch::channel(state.clone());
    let writer = tokio::spawn(async move {
        while pids.changed().await.is_ok() {
            state.pids = pids.borrow_and_update().clone();
            if let Err(error) = state.write(&paths) {
                eprintln!("{error:#}");
            }
            sender.send_replace(state.clone());
        }
    });
    Ok((receiver, writer))
}
