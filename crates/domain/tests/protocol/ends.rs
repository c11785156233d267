//! "From every reachable state an end is reachable", which a checker of invariants does not show: the whole graph is built, and the
//! ends are walked back from.

use std::collections::{HashMap, VecDeque};

use stateright::Model;

use super::model::{State, World};

/// What a walk over the whole graph came to.
pub struct Walk {
    pub states: usize,
    pub steps: usize,
    pub ends: usize,
    /// A state from which no end can be reached.
    pub stuck: Option<State>,
}

pub fn walk(world: &World) -> Walk {
    let mut number: HashMap<State, u32> = HashMap::new();
    let mut into: Vec<Vec<u32>> = Vec::new();
    let mut queue = VecDeque::new();
    for state in world.init_states() {
        number.insert(state.clone(), 0);
        into.push(Vec::new());
        queue.push_back(state);
    }
    let mut ends = Vec::new();
    let mut steps = 0;
    while let Some(state) = queue.pop_front() {
        let from = number[&state];
        if state.is_an_end() {
            ends.push(from);
        }
        for next in world
            .next_states(&state)
            .into_iter()
            .filter(|next| world.within_boundary(next))
        {
            steps += 1;
            let to = *number.entry(next).or_insert_with_key(|next| {
                into.push(Vec::new());
                queue.push_back(next.clone());
                u32::try_from(into.len() - 1).expect("fewer than four billion")
            });
            into[to as usize].push(from);
        }
    }
    let mut leads_to_an_end = vec![false; into.len()];
    let mut back: Vec<u32> = ends.clone();
    while let Some(state) = back.pop() {
        if !std::mem::replace(&mut leads_to_an_end[state as usize], true) {
            back.extend(&into[state as usize]);
        }
    }
    Walk {
        states: into.len(),
        steps,
        ends: ends.len(),
        stuck: number
            .into_iter()
            .find(|(_, at)| !leads_to_an_end[*at as usize])
            .map(|(state, _)| state),
    }
}
