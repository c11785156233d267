//! `cargo dev demo`: the system with a story in it.
//!
//! A system is started, a shop's life is played through the Stripe simulator by its HTTP API, as an outsider would, and then
//! every promise is checked: what the simulator and a witness between it and the front door remember is compared with the
//! database and the broker. Nothing of the checks shares code with what it checks.

mod cast;
mod door;
mod evidence;
mod listener;
mod narrator;
mod paper;
mod promises;
mod report;
mod sabotage;
mod stage;
mod story;
mod stripe;
mod truth;
mod witness;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::build;
use crate::cli::{SystemArgs, progress};
use crate::paths::Paths;
use crate::signals::EndRequests;
use crate::state::State;
use crate::system::{Options, System};
use crate::up;
use cast::Cast;
use door::Door;
use listener::Listener;
use narrator::Narrator;
use paper::Ink;
use promises::Facts;
use sabotage::Sabotage;
use stage::Stage;
use stripe::{Stripe, text};
use witness::Witness;

/// Lines of each log that are shown under an error.
const TAIL: usize = 12;
const TAIL_WIDTH: usize = 240;

/// How the demo runs.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Stop everything afterwards; exit code 0 only if every promise held.
    #[arg(long)]
    pub once: bool,
    /// Remove the data of earlier runs first.
    #[arg(long)]
    pub clean: bool,
    /// The simulator's seed, which decides every id and every chance; a random one when absent. The ids of an earlier run with
    /// the same seed are taken, so it needs a clean start.
    #[arg(long, requires = "clean")]
    pub seed: Option<u64>,
    /// Break something before the promises are checked, to see that they notice.
    #[arg(long, hide = true, value_enum)]
    sabotage: Option<Sabotage>,
}

/// Runs the demo.
///
/// # Errors
/// When the system cannot be started or the story cannot be told.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let paths = Paths::here()?;
    if let Some(state) = State::running(&paths) {
        bail!(
            "Holdfast runs already at {}: `cargo dev down` stops it, then start the demo again",
            state.base_url
        );
    }
    let mut requests = EndRequests::listen()?;
    let narrator = Narrator::new();
    let system = async {
        build::programs(false, &progress(std::time::Instant::now())).await?;
        narrator.chapter("The house is built");
        start(&paths, &narrator, args.clean, args.seed).await
    };
    let system = tokio::select! {
        system = system => system,
        () = requests.next() => Err(anyhow!("interrupted while starting; nothing was left running")),
    };
    narrator.rest();
    let system = system?;
    let state = system.state();
    let played = tokio::select! {
        played = play(&state, &narrator, args.sabotage) => played,
        () = requests.next() => Err(anyhow!("interrupted")),
    };
    narrator.rest();
    let every_promise_held = match played {
        Ok(held) => held,
        Err(error) => {
            up::stop(system, &mut requests).await;
            return Err(error);
        }
    };
    if !args.once {
        stay(&narrator, &state, &mut requests).await;
    }
    narrator.doing("stopping everything");
    up::stop(system, &mut requests).await;
    narrator.rest();
    narrator.print("Everything has stopped.");
    Ok(if every_promise_held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn start(paths: &Paths, narrator: &Narrator, clean: bool, seed: Option<u64>) -> anyhow::Result<System> {
    let options = Options {
        args: SystemArgs {
            clean,
            seed,
            ..SystemArgs::default()
        },
        paths: paths.clone(),
        programs: paths.programs(false),
    };
    let system = System::start(options, narrator.shared()).await?;
    let state = system.state();
    narrator.told("Postgres and RabbitMQ of our own, the schema, the Stripe simulator, every service");
    narrator.told(&format!(
        "it is ready at {} after {:.1} s",
        state.base_url,
        narrator.seconds()
    ));
    Ok(system)
}

/// Plays and checks; whether every promise held.
async fn play(state: &State, narrator: &Narrator, sabotage: Option<Sabotage>) -> anyhow::Result<bool> {
    let since = chrono::Utc::now();
    let mut stage = set(state, narrator).await.context("the stage could not be set")?;
    let parked_before = stage.listener.queues().await?;
    if let Err((title, error)) = story::play(&mut stage).await {
        let error = error.context(format!(
            "the chapter {title:?} failed after {:.1} s",
            narrator.seconds()
        ));
        return Err(with_logs(error, &state.log_folder));
    }
    if let Some(sabotage) = sabotage {
        sabotage.act(&stage).await?;
    }
    narrator.doing("asking the database, the broker and Stripe what happened");
    let checked = async {
        let facts = Facts::gather(&stage, since, parked_before).await?;
        report::tell(&stage, &facts).await?;
        promises::check(&stage, &facts).await
    };
    let groups = checked.await.map_err(|error| with_logs(error, &state.log_folder))?;
    narrator.chapter("The promises");
    let paper = narrator.paper();
    narrator.print(&report::promises(paper, &groups));
    let (held, all) = report::score(&groups);
    let verdict = if held == all {
        paper.ink(
            Ink::Good,
            &format!(
                "  All {all} promises held, {:.1} s after the start.",
                narrator.seconds()
            ),
        )
    } else {
        paper.ink(Ink::Bad, &format!("  {} of {all} promises did not hold.", all - held))
    };
    narrator.print(&format!("{verdict}\n"));
    leave(stage).await?;
    Ok(held == all)
}

async fn set(state: &State, narrator: &Narrator) -> anyhow::Result<Stage> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .context("an HTTP client")?;
    let stripe = Stripe::new(http.clone(), &state.stripe_api_url);
    let witness = Witness::start(state, narrator.clone())?;
    point(&stripe, |path| witness.url(path)).await?;
    let run = format!("{:04x}", rand::random::<u16>());
    let database = evidence::connect(&state.database_url).await?;
    Ok(Stage {
        before: evidence::baseline(&database).await?,
        narrator: narrator.clone(),
        door: Door::new(http, state),
        listener: Listener::start(&state.amqp_url).await?,
        database,
        cast: Cast::new(run, state.org_id.clone()),
        prices: stage::Prices::default(),
        marks: Mutex::default(),
        state: state.clone(),
        stripe,
        witness,
    })
}

/// The simulator posts to the front door itself again.
async fn leave(stage: Stage) -> anyhow::Result<()> {
    let base_url = stage.state.base_url.clone();
    point(&stage.stripe, |path| format!("{base_url}{path}")).await?;
    stage.listener.stop().await;
    stage.witness.stop().await;
    Ok(())
}

/// Changes where the simulator's endpoints are, by the path that each has now.
async fn point(stripe: &Stripe, to: impl Fn(&str) -> String) -> anyhow::Result<()> {
    for endpoint in stripe.list("/v1/webhook_endpoints", &[]).await? {
        let (id, url) = (text(&endpoint, "/id")?, text(&endpoint, "/url")?);
        let path = reqwest::Url::parse(&url)
            .context("an endpoint's URL")?
            .path()
            .to_owned();
        stripe
            .post(&format!("/v1/webhook_endpoints/{id}"), &[("url", &to(&path))])
            .await?;
    }
    Ok(())
}

async fn stay(narrator: &Narrator, state: &State, requests: &mut EndRequests) {
    let paper = narrator.paper();
    narrator.print(&format!("Holdfast goes on at {}. In another terminal:", state.base_url));
    for command in [
        "cargo dev status --json".to_owned(),
        format!(
            "curl {}/_sim/clock -H 'content-type: application/json' -d '{{\"advance_seconds\": 2678400}}'",
            state.stripe_api_url
        ),
        format!(
            "DATABASE_URL={} target/debug/holdfast events list --limit 20",
            state.service_database_url
        ),
    ] {
        narrator.print(&format!("  {}", paper.ink(Ink::Accent, &command)));
    }
    narrator.print("Ctrl-C, or q and Enter, stops it.");
    tokio::select! {
        () = requests.next() => {}
        () = quit() => {}
    }
}

/// A line with nothing but a q. Without a terminal nobody types one.
async fn quit() {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim().eq_ignore_ascii_case("q") {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// The error with the last lines of what our processes said.
fn with_logs(error: anyhow::Error, folder: &str) -> anyhow::Error {
    let mut text = String::new();
    for name in ["holdfast", "holdfast-sim"] {
        let path = Path::new(folder).join(format!("{name}.log"));
        let Ok(log) = std::fs::read(&path) else { continue };
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<String> = log.lines().map(|line| paper::cut(line, TAIL_WIDTH)).collect();
        let last = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
        text.push_str(&format!(
            "\nthe last lines of {}:\n    {}",
            path.display(),
            last.join("\n    ")
        ));
    }
    let message = format!("{error}");
    let causes: Vec<String> = error
        .chain()
        .skip(1)
        .map(|cause| format!("  because: {cause}"))
        .collect();
    anyhow!("{message}\n{}{text}", causes.join("\n"))
}
