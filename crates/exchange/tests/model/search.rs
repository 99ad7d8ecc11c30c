//! Breadth-first through all worlds, so that the first trace to a broken rule is a shortest one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::time::Instant;

use bcrlapi_exchange::promise::{ALWAYS, AT_REST, AT_REST_WITH_TURNS, FROM_STEP_TO_STEP, Facts, WITH_TURNS, broken};

use crate::world::{Mutation, World};

/// What is promised of a world's scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// One at a time, or all with the lock: everything holds.
    Everything,
    /// They overlap without a lock, so that two may take the same job and one may undo what the other has written.
    WhatScriptsCannotBreak,
}

/// What a search came to.
pub struct Report {
    pub states: usize,
    pub depth: usize,
    /// The rule that was broken, and the steps that led there.
    pub broken: Option<(&'static str, Vec<String>)>,
}

/// Where a world was reached from, and by which step.
type Origin = (u32, String);

/// Explores every world from here; stops at the first broken rule.
pub fn explore(start: &World, promise: Promise) -> Report {
    // Two hashes of 64 bits tell worlds apart: a mix-up among a hundred million has a chance of 1 in 10^22.
    let hashers = (RandomState::new(), RandomState::new());
    let key = |world: &World| (hashers.0.hash_one(world), hashers.1.hash_one(world));
    let mut seen: HashMap<(u64, u64), u32> = HashMap::new();
    let mut origins: Vec<Origin> = vec![(0, "the beginning".to_owned())];
    let mut waiting = VecDeque::from([(start.clone(), 0_u32, 0_usize)]);
    let mut depth = 0;
    seen.insert(key(start), 0);
    while let Some((world, number, level)) = waiting.pop_front() {
        depth = level;
        if let Some(rule) = broken_rule(&world, promise) {
            return Report { states: seen.len(), depth, broken: Some((rule, trace(&origins, number))) };
        }
        for step in world.steps() {
            let next = u32::try_from(origins.len()).unwrap();
            if let Some(rule) = broken_on_the_way(&world, &step.world) {
                let steps = [trace(&origins, number), vec![step.name]].concat();
                return Report { states: seen.len(), depth, broken: Some((rule, steps)) };
            }
            if let Entry::Vacant(vacant) = seen.entry(key(&step.world)) {
                vacant.insert(next);
                origins.push((number, step.name));
                waiting.push_back((step.world, next, level + 1));
            }
        }
    }
    Report { states: seen.len(), depth, broken: None }
}

fn broken_rule(world: &World, promise: Promise) -> Option<&'static str> {
    let takes_turns = promise == Promise::Everything;
    let mut rules = ALWAYS.to_vec();
    rules.extend(WITH_TURNS.into_iter().filter(|_| takes_turns));
    if world.is_at_rest() {
        rules.push(AT_REST);
        rules.extend(AT_REST_WITH_TURNS.into_iter().filter(|_| takes_turns));
    }
    world.facts().find_map(|job| broken(&rules, &job))
}

fn broken_on_the_way(before: &World, after: &World) -> Option<&'static str> {
    if before.rows == after.rows {
        return None;
    }
    let pairs: Vec<(Facts, Facts)> = before.facts().zip(after.facts()).collect();
    pairs.iter().find_map(|pair| broken(&FROM_STEP_TO_STEP, pair))
}

fn trace(origins: &[Origin], mut number: u32) -> Vec<String> {
    let mut steps = Vec::new();
    while number != 0 {
        let (from, name) = &origins[number as usize];
        steps.push(name.clone());
        number = *from;
    }
    steps.reverse();
    steps
}

/// Explores, says what it found, and fails with the trace if a rule is broken.
pub fn assert_holds(name: &str, start: &World, promise: Promise) {
    let started = Instant::now();
    let report = explore(start, promise);
    let (states, depth, took) = (report.states, report.depth, started.elapsed());
    // Not `println!`, which the harness keeps to itself: a search of half a minute would look as if it hung.
    let _ = writeln!(io::stderr(), "{name}: {states} worlds, {depth} steps deep, {:.1} s", took.as_secs_f64());
    if let Some((rule, steps)) = report.broken {
        panic!("{name}: {rule}: broken after {} steps:\n  {}", steps.len(), steps.join("\n  "));
    }
}

/// Explores a world in which something is done wrong; prints the shortest trace that shows it, and fails if none does.
pub fn assert_caught(mutation: Mutation, start: World) {
    let report = explore(&start.mutated(mutation), Promise::Everything);
    let (rule, steps) =
        report.broken.unwrap_or_else(|| panic!("{mutation:?} is not noticed in {} worlds", report.states));
    println!("{mutation:?} breaks \"{rule}\" in {} steps:\n  {}", steps.len(), steps.join("\n  "));
}
