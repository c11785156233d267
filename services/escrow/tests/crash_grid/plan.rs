//! Which cells there are: from the steps that the scenarios went through to the places at which a process is stopped, and in which way.

use std::collections::BTreeMap;

use crate::watch::{Mode, Place, Target};

/// Every step in every way, by scenario.
pub fn every(scenarios: &[Vec<Place>]) -> Vec<Vec<Target>> {
    let ways = |steps: &Vec<Place>| {
        let places = (0..steps.len()).map(|position| (position, call_at(steps, position)));
        let targets = places.flat_map(|(position, ask)| {
            let modes = Mode::ALL
                .into_iter()
                .filter(move |mode| !mode.is_fault() || ask.is_some());
            modes.map(move |mode| target(steps, position, mode))
        });
        targets.collect()
    };
    scenarios.iter().map(ways).collect()
}

/// Every step as it is, and each kind of step in every way that it can be had in, each time at another place.
pub fn some(scenarios: &[Vec<Place>]) -> Vec<Vec<Target>> {
    let mut kinds: BTreeMap<(&str, bool), Vec<(usize, usize)>> = BTreeMap::new();
    let mut cells: Vec<Vec<Target>> = scenarios.iter().map(|_| Vec::new()).collect();
    for (scenario, steps) in scenarios.iter().enumerate() {
        for (position, place) in steps.iter().enumerate() {
            cells[scenario].push(target(steps, position, Mode::Plain));
            let calls = call_at(steps, position).is_some();
            kinds
                .entry((&place.step, calls))
                .or_default()
                .push((scenario, position));
        }
    }
    for ((_, calls), places) in kinds {
        let modes: Vec<Mode> = Mode::ALL
            .into_iter()
            .filter(|mode| *mode != Mode::Plain && (calls || !mode.is_fault()))
            .collect();
        for (turn, mode) in modes.into_iter().enumerate() {
            let (scenario, position) = places[turn % places.len()];
            cells[scenario].push(target(&scenarios[scenario], position, mode));
        }
    }
    cells
}

fn target(steps: &[Place], position: usize, mode: Mode) -> Target {
    Target {
        place: steps[position].clone(),
        mode,
        ask: call_at(steps, position).map(ToOwned::to_owned),
    }
}

/// The call that goes wrong: the one whose answer has just come, or the next one. Where there is none, none can.
fn call_at(steps: &[Place], position: usize) -> Option<&str> {
    let own = steps[position].step.strip_prefix("asked.");
    own.or_else(|| {
        steps[position..]
            .iter()
            .find_map(|place| place.step.strip_prefix("asking."))
    })
}
