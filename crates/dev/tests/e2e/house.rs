//! The house: private servers, and one process per service, all of which die with the test.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use provision::{
    Broker, BrokerOptions, Claim, Durability, Postgres, PostgresOptions, Process, Signal, Spec, free_ports,
};
use service_kit::auth::{Claims, Role, sign};
use service_kit::secret::SecretString;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

pub const PLATFORM_SECRET: &str = "whsec_e2e_platform_0123456789";
pub const CONNECT_SECRET: &str = "whsec_e2e_connect_0123456789";
pub const PLATFORM_PATH: &str = "/webhooks/stripe";
pub const CONNECT_PATH: &str = "/webhooks/stripe/connect";

const JWT_SECRET: &str = "e2e-jwt-secret-0123456789-0123456789";
const SERVICE_PASSWORD: &str = "e2eservice";
/// Another build to prove, for example a release build.
const PROGRAM: &str = "HOLDFAST_E2E_PROGRAM";
/// Within this everything that is going to happen has happened, also on a busy machine.
pub const PATIENCE: Duration = testkit::PATIENCE;
/// Above the deadline of the services' own drain and close.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// One service in a process of its own.
pub struct Service {
    spec: Spec,
    port: u16,
    process: Option<Process>,
}

impl Service {
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().map(Process::pid).expect("the service runs")
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.spec.log).unwrap_or_default()
    }

    /// Starts it without waiting, as a supervisor does.
    pub fn start(&mut self) {
        self.process = None;
        self.process = Some(Process::spawn(self.spec.clone()).unwrap());
    }

    pub async fn ready(&mut self) {
        let url = format!("{}/readyz", self.base());
        let http = client();
        let process = self.process.as_mut().expect("the service was started");
        let answers = || async {
            let answer = http.get(&url).timeout(Duration::from_secs(5)).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        process
            .wait_until(PATIENCE, answers)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// `kill -9`, and at once a new process in its place.
    pub fn crash_and_start(&mut self) {
        let process = self.process.as_mut().expect("the service runs");
        assert!(process.ended().is_none(), "{} had ended by itself", self.spec.name);
        process.kill();
        self.start();
    }

    pub fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }

    /// Waits for the end after [`Self::terminate`].
    pub async fn ended(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("the service was started");
        match tokio::time::timeout(STOP_LIMIT, process.wait()).await {
            Ok(status) => status,
            Err(_) => panic!("{} did not end within {STOP_LIMIT:?} of SIGTERM", self.spec.name),
        }
    }

    /// Resident memory in KiB: now, and the most so far.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// Everything that runs. The order of the fields is the order of the end.
pub struct House {
    pub ingest: Service,
    pub billing: Service,
    pub escrow: Service,
    pub admin: Service,
    pub broker: Broker,
    pub postgres: Postgres,
    _folders: Folders,
}

impl House {
    /// Builds it and waits until every service is ready.
    pub async fn start() -> Self {
        testkit::install_tls_provider();
        let begun = Instant::now();
        let program = program();
        let folders = Folders::new().await;
        let (postgres, broker) = tokio::join!(postgres(&folders), broker(&folders));
        migrate(&program, &folders, &postgres).await;
        let [ingest, billing, escrow, admin] = free_ports().unwrap();
        let env = environment(&postgres, &broker);
        let service = |name: &str, port: u16| {
            let mut env = env.clone();
            env.push(("HOLDFAST_LISTEN".to_owned(), format!("127.0.0.1:{port}")));
            let spec = folders.spec(&program, name, &["run", name], env);
            let mut service = Service {
                spec,
                port,
                process: None,
            };
            service.start();
            service
        };
        let mut house = Self {
            ingest: service("webhook-ingest", ingest),
            billing: service("billing", billing),
            escrow: service("escrow", escrow),
            admin: service("admin", admin),
            broker,
            postgres,
            _folders: folders,
        };
        for service in house.services() {
            service.ready().await;
        }
        println!("the house was ready after {} ms", begun.elapsed().as_millis());
        house
    }

    pub fn services(&mut self) -> [&mut Service; 4] {
        [&mut self.ingest, &mut self.billing, &mut self.escrow, &mut self.admin]
    }

    /// A connection as superuser.
    pub async fn database(&self) -> Client {
        connect(self.postgres.url()).await
    }

    /// Holds every write to the archive, and waits until a batch of this service waits half-way for its end. Dropping what is
    /// returned, or [`Held::release`], lets it go on.
    pub async fn hold_a_batch(&self, service: &str) -> Held {
        let held = Held(self.database().await);
        held.0
            .batch_execute("BEGIN; LOCK TABLE billing_events IN SHARE MODE")
            .await
            .unwrap();
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'";
        until("a batch is half-way", PATIENCE, || async {
            held.0.query_one(waits, &[&service]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
        held
    }

    /// Stops every service and asserts that each leaves cleanly and that none has ever panicked.
    pub async fn close(&mut self) {
        for service in self.services() {
            service.terminate();
        }
        for service in self.services() {
            let status = service.ended().await;
            assert_eq!(status.code(), Some(0), "{} ended with {status}", service.spec.name);
            let log = service.log();
            assert!(!log.contains("panicked"), "{} panicked:\n{log}", service.spec.name);
        }
    }
}

/// Writes to the archive wait for as long as this lives.
pub struct Held(Client);

impl Held {
    pub async fn release(self) {
        self.0.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// The folders of one house, removed with it unless the test failed; what a killed test left goes with the next one.
struct Folders {
    home: PathBuf,
    postgres: PathBuf,
    broker: PathBuf,
    _claim: Claim,
}

impl Folders {
    async fn new() -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
        provision::sweep(&parent).await.unwrap();
        let name = Uuid::new_v4().simple().to_string();
        let home = parent.join(&name);
        let claim = Claim::take(&home).await.unwrap();
        Self {
            postgres: parent.join(format!("{name}-postgres")),
            broker: parent.join(format!("{name}-rabbitmq")),
            home,
            _claim: claim,
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.log"))
    }

    fn spec(&self, program: &Path, name: &str, words: &[&str], env: Vec<(String, String)>) -> Spec {
        Spec {
            name: name.to_owned(),
            program: program.to_owned(),
            args: words.iter().map(Into::into).collect(),
            env,
            inherit_env: false,
            wrapper: Vec::new(),
            folder: self.home.clone(),
            log: self.log(name),
            pid_folder: self.home.clone(),
            death_signal: Signal::SIGKILL,
        }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the logs of this test are in {}", self.home.display());
            return;
        }
        for folder in [&self.home, &self.postgres, &self.broker] {
            if let Err(error) = std::fs::remove_dir_all(folder) {
                eprintln!("removing {}: {error}", folder.display());
            }
        }
    }
}

fn program() -> PathBuf {
    let program = std::env::var_os(PROGRAM).map_or_else(
        || Path::new(env!("CARGO_BIN_EXE_dev")).with_file_name("holdfast"),
        PathBuf::from,
    );
    assert!(
        program.is_file(),
        "{} is not there. Build it first: cargo build --workspace --bins (`cargo dev test` does)",
        program.display()
    );
    program
}

async fn postgres(folders: &Folders) -> Postgres {
    let options = PostgresOptions {
        folder: folders.postgres.clone(),
        given: None,
        // A commit that was answered has to outlive a kill.
        durability: Durability::Durable,
        clean: true,
        log: folders.log("postgres"),
    };
    Postgres::start(options, &|_| ())
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn broker(folders: &Folders) -> Broker {
    let options = BrokerOptions {
        folder: folders.broker.clone(),
        given: None,
        management: false,
        clean: true,
        log: folders.log("rabbitmq"),
    };
    Broker::start(options, &|_| ())
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn migrate(program: &Path, folders: &Folders, postgres: &Postgres) {
    let env = vec![("MIGRATOR_DATABASE_URL".to_owned(), postgres.url().to_owned())];
    let mut process = Process::spawn(folders.spec(program, "migrate", &["migrate"], env)).unwrap();
    let status = process.wait().await;
    assert!(status.success(), "{}", process.ended_error(status));
    let login = format!("ALTER ROLE holdfast_service LOGIN PASSWORD '{SERVICE_PASSWORD}'");
    connect(postgres.url()).await.batch_execute(&login).await.unwrap();
}

fn environment(postgres: &Postgres, broker: &Broker) -> Vec<(String, String)> {
    let mut database = reqwest::Url::parse(postgres.url()).unwrap();
    database.set_username("holdfast_service").unwrap();
    database.set_password(Some(SERVICE_PASSWORD)).unwrap();
    [
        ("DATABASE_URL", database.as_str()),
        ("AMQP_URL", broker.amqp_url()),
        ("STRIPE_LIVEMODE", "false"),
        ("STRIPE_SECRET_KEY", "sk_test_e2e_0123456789"),
        ("STRIPE_WEBHOOK_SECRET", PLATFORM_SECRET),
        ("STRIPE_CONNECT_WEBHOOK_SECRET", CONNECT_SECRET),
        ("AUTH_JWT_SECRET", JWT_SECRET),
        ("RECONCILE_SECRET", "fedcba9876543210-fedcba9876543210"),
        ("HOLDFAST_METRICS_LISTEN", "shared"),
        // On a busy machine a broker takes its time now and then, and a 503 would be right.
        ("WEBHOOK_CONFIRM_TIMEOUT_MS", "8000"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A token of our own systems.
pub fn service_token() -> String {
    let claims = Claims {
        sub: "e2e".to_owned(),
        email: None,
        role: Role::Service,
        exp: unix_now() + 3_600,
    };
    sign(&SecretString::from(JWT_SECRET.to_owned()), &claims).unwrap()
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub fn unix_now() -> i64 {
    chrono::Utc::now().timestamp()
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// Waits for a condition with a word for the message, and says how long it took.
pub async fn until<F, Fut>(what: &str, at_most: Duration, mut condition: F) -> Duration
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < at_most, "{what}: not within {at_most:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    started.elapsed()
}
