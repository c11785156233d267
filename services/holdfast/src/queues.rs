//! `holdfast queues`: how many messages are at work, wait for another attempt, or are parked (RET-3).

use std::process::ExitCode;
use std::time::Duration;

use bus::Topology;
use bus::depths::{Depth, depths};
use serde_json::json;

use crate::cli::Form;
use crate::{output, tools};

pub(crate) async fn run(form: Form) -> anyhow::Result<ExitCode> {
    let depths = depths(&tools::broker()?, &Topology::holdfast()).await?;
    if form.json {
        output::json(&depths.iter().map(object).collect::<Vec<_>>())?;
    } else {
        output::print(&text(&depths))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn object(depth: &Depth) -> serde_json::Value {
    let waiting = depth.waiting.iter();
    let waiting = waiting.map(|(delay, count)| json!({"delay_seconds": delay.as_secs(), "count": count}));
    json!({
        "queue": depth.queue,
        "ready": depth.ready,
        "consumers": depth.consumers,
        "waiting": waiting.collect::<Vec<_>>(),
        "parked": depth.parked,
    })
}

fn text(depths: &[Depth]) -> String {
    let title = ["QUEUE", "CONSUMERS", "READY", "WAITING", "PARKED"].map(str::to_owned);
    let rows = depths.iter().map(|depth| {
        [
            depth.queue.clone(),
            depth.consumers.to_string(),
            depth.ready.to_string(),
            waiting(depth),
            depth.parked.to_string(),
        ]
    });
    output::columns(std::iter::once(title).chain(rows))
}

/// `0`, or how many wait out which delay: `2 for 5 s, 1 for 2 min`.
fn waiting(depth: &Depth) -> String {
    let some = depth.waiting.iter().filter(|(_, count)| *count > 0);
    let words: Vec<String> = some
        .map(|(delay, count)| format!("{count} for {}", words(*delay)))
        .collect();
    if words.is_empty() {
        "0".to_owned()
    } else {
        words.join(", ")
    }
}

fn words(delay: Duration) -> String {
    match delay.as_secs() {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
