//! "From every reachable state an end is reachable", which a checker of invariants does not show: the whole graph is built, and the
//! ends are walked back from.

use std::collections::{HashMap, VecDeque};

use stateright::Model;

use super::model::{State, World, hash};

/// What a walk over the whole graph came to.
pub struct Walk {
    pub states: usize,
    pub steps: usize,
    pub ends: usize,
    /// A state from which no end can be reached.
    pub stuck: Option<State>,
}

/// The graph, its states known by their hash. That stateright, with another hash, counts as many says that no two fell together.
struct Graph {
    /// From where each state is reached.
    into: Vec<Vec<u32>>,
    ends: Vec<u32>,
    steps: usize,
}

pub fn walk(world: &World) -> Walk {
    let mut graph = Graph {
        into: Vec::new(),
        ends: Vec::new(),
        steps: 0,
    };
    visit(world, &mut graph, |_, _| {});
    let mut leads_to_an_end = vec![false; graph.into.len()];
    let mut back = graph.ends.clone();
    while let Some(state) = back.pop() {
        if !std::mem::replace(&mut leads_to_an_end[state as usize], true) {
            back.extend(&graph.into[state as usize]);
        }
    }
    let mut stuck = None;
    if let Some(number) = leads_to_an_end.iter().position(|leads| !leads) {
        let mut again = Graph {
            into: Vec::new(),
            ends: Vec::new(),
            steps: 0,
        };
        visit(world, &mut again, |at, state| {
            if at as usize == number {
                stuck = Some(state.clone());
            }
        });
    }
    Walk {
        states: graph.into.len(),
        steps: graph.steps,
        ends: graph.ends.len(),
        stuck,
    }
}

fn visit(world: &World, graph: &mut Graph, mut see: impl FnMut(u32, &State)) {
    let mut number: HashMap<u64, u32> = HashMap::new();
    let mut queue = VecDeque::new();
    for state in world.init_states() {
        number.insert(hash(&state), 0);
        graph.into.push(Vec::new());
        queue.push_back((0, state));
    }
    while let Some((from, state)) = queue.pop_front() {
        see(from, &state);
        if state.is_an_end() {
            graph.ends.push(from);
        }
        for next in world
            .next_states(&state)
            .into_iter()
            .filter(|next| world.within_boundary(next))
        {
            graph.steps += 1;
            let to = *number.entry(hash(&next)).or_insert_with(|| {
                let new = u32::try_from(graph.into.len()).expect("fewer than four billion");
                graph.into.push(Vec::new());
                queue.push_back((new, next));
                new
            });
            graph.into[to as usize].push(from);
        }
    }
}
