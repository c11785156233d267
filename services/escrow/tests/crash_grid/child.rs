//! The process that is stopped: an escrow at work, which tells of each step on its standard output and asks there whether to go on.
//!
//! Lines out: `@ready <address>`, `@step <number> <name>`. Lines in: `go <number>`, `die <number>`, `clock <microseconds>`. The end of
//! its input is the end of the process.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::process::{abort, exit};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use escrow::{Escrow, Pace, Step, Steps, Tuning};
use serde::{Deserialize, Serialize};
use service_kit::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::support::{config, serve};

/// The variable that makes the test program this process; holds its [`Settings`] as JSON.
pub const VARIABLE: &str = "CRASH_GRID_CHILD";
/// Work is looked for this often, since a clock that is moved nudges nobody.
const PACE: Duration = Duration::from_millis(25);
/// What is nudged, unless its nudge died with a process, is looked for this often.
const SLOW_PACE: Duration = Duration::from_millis(150);

#[derive(Debug, Serialize, Deserialize)]
pub struct Settings {
    pub database_url: String,
    pub amqp_url: String,
    pub stripe: String,
    pub clock_micros: i64,
    pub has_timer: bool,
}

/// What the parent has answered.
#[derive(Default)]
struct Answers {
    given: Mutex<HashMap<u64, bool>>,
    told: Condvar,
}

impl Answers {
    fn give(&self, number: &str, dies: bool) {
        self.given.lock().unwrap().insert(number.parse().unwrap(), dies);
        self.told.notify_all();
    }

    fn dies(&self, number: u64) -> bool {
        let given = self.given.lock().unwrap();
        let mut given = self
            .told
            .wait_while(given, |given| !given.contains_key(&number))
            .unwrap();
        given.remove(&number).unwrap()
    }
}

/// Works until the parent has it die, or is gone.
pub fn live(settings: &str) {
    let settings: Settings = serde_json::from_str(settings).unwrap();
    testkit::install_tls_provider();
    let micros = Arc::new(AtomicI64::new(settings.clock_micros));
    let answers = Arc::new(Answers::default());
    listen(Arc::clone(&micros), Arc::clone(&answers));
    let numbers = AtomicU64::new(0);
    let ask = move |step: Step| {
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        println!("@step {number} {step}");
        if answers.dies(number) {
            abort();
        }
    };
    let tuning = Tuning {
        steps: Steps::watched_by(ask),
        has_timer: settings.has_timer,
        pace: Pace {
            operations: PACE,
            relay: SLOW_PACE,
            news: SLOW_PACE,
            timer: SLOW_PACE,
            waiting: SLOW_PACE,
        },
        ..Tuning::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let config = config(settings.database_url, settings.amqp_url, &settings.stripe);
        let escrow = Escrow::start(&config, Clock::Manual(micros), tuning, stop.clone()).unwrap();
        let address = serve(&escrow, &stop);
        println!("\n@ready {address}");
        std::future::pending::<()>().await;
    });
}

fn listen(micros: Arc<AtomicI64>, answers: Arc<Answers>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            match line.split_once(' ') {
                Some(("go", number)) => answers.give(number, false),
                Some(("die", number)) => answers.give(number, true),
                Some(("clock", time)) => micros.store(time.parse().unwrap(), Ordering::SeqCst),
                _ => break,
            }
        }
        exit(0);
    });
}
