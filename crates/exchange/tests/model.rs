//! The protocol on small worlds, all of them: one agent, scripts of every kind, crashes and faults between any two
//! steps.
//!
//! The agent of the model decides with the very [`plan`](bcrlapi_exchange::plan) of the real one. The normal tests
//! explore small worlds; `cargo test --release -p bcrlapi-exchange --test model -- --ignored --nocapture` the large
//! ones.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and reports what it found"
)]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "the search itself may hash and time itself")]
#![allow(clippy::struct_excessive_bools, reason = "states of a search are made of facts")]
#![allow(unreachable_pub, reason = "one program in several files")]

#[path = "model/agent.rs"]
mod agent;
#[path = "model/facts.rs"]
mod facts;
#[path = "model/script.rs"]
mod script;
#[path = "model/search.rs"]
mod search;
#[path = "model/world.rs"]
mod world;

use script::Kind;
use search::{Promise, assert_caught, assert_holds};
use world::{Budget, Mutation, World};

const IN_PLACE: Kind = Kind { locks: false, renames: false };
const BY_RENAME: Kind = Kind { locks: false, renames: true };
const LOCKED: Kind = Kind { locks: true, renames: false };
const LOCKED_BY_RENAME: Kind = Kind { locks: true, renames: true };

/// Small enough for every test run.
const SMALL: Budget = Budget { jobs: 1, turns: 1, crashes: 1, faults: 1, losses: 0, cancels: 0 };
/// A caller who wants a job back.
const WITH_CANCEL: Budget = Budget { faults: 0, cancels: 1, ..SMALL };
/// Somebody removes status.json, and the cloud may not know yet what was in it.
const WITH_LOSS: Budget = Budget { losses: 1, ..SMALL };
/// Two jobs, for what one job cannot show.
const TWO_JOBS: Budget = Budget { jobs: 2, turns: 1, crashes: 0, faults: 0, losses: 0, cancels: 0 };
/// For the large run: everything that can go wrong.
const WITH_FAULTS: Budget = Budget { jobs: 2, turns: 1, crashes: 1, faults: 1, losses: 0, cancels: 1 };
/// For the large run: enough turns and new jobs that several publishes fall into one script's way.
const BUSY: Budget = Budget { jobs: 3, turns: 2, crashes: 0, faults: 0, losses: 0, cancels: 0 };

#[test]
fn one_script_without_a_lock() {
    for (name, kind) in [("one in place", IN_PLACE), ("one by rename", BY_RENAME)] {
        assert_holds(name, &World::new(&[kind], SMALL), Promise::Everything);
        assert_holds(name, &World::new(&[kind], TWO_JOBS), Promise::Everything);
        assert_holds(name, &World::new(&[kind], WITH_CANCEL), Promise::Everything);
        assert_holds(name, &World::new(&[kind], WITH_LOSS), Promise::Everything);
    }
}

#[test]
fn two_scripts_with_the_lock() {
    let with_loss = Budget { faults: 1, crashes: 0, ..WITH_LOSS };
    for budget in [SMALL, WITH_CANCEL, with_loss] {
        assert_holds("two with the lock", &World::new(&[LOCKED, LOCKED], budget), Promise::Everything);
    }
}

#[test]
fn two_scripts_that_overlap_without_a_lock() {
    let start = World::new(&[IN_PLACE, BY_RENAME], Budget { faults: 0, ..SMALL });
    assert_holds("two without a lock", &start, Promise::WhatScriptsCannotBreak);
}

#[test]
fn a_wrong_order_of_steps_is_noticed() {
    let budget = |jobs, turns, crashes, cancels| Budget { jobs, turns, crashes, faults: 0, losses: 0, cancels };
    for (mutation, budget) in [
        (Mutation::NoScanAtStart, budget(1, 1, 1, 0)),
        (Mutation::EntryBeforeRequestFile, budget(1, 1, 0, 0)),
        (Mutation::EntryBeforeTake, budget(1, 1, 0, 1)),
        (Mutation::DoneBeforeUpload, budget(1, 1, 0, 0)),
        (Mutation::CancelAtOnce, budget(1, 1, 0, 1)),
    ] {
        assert_caught(mutation, World::new(&[IN_PLACE], budget));
    }
}

#[test]
fn a_short_memory_is_noticed() {
    let budget = Budget { jobs: 1, turns: 1, crashes: 0, faults: 0, losses: 1, cancels: 0 };
    for (mutation, budget) in [
        (Mutation::ForgetWhatWasSeen, Budget { faults: 1, ..budget }),
        (Mutation::NoJournalAtStart, Budget { crashes: 1, ..budget }),
    ] {
        assert_caught(mutation, World::new(&[LOCKED, LOCKED], budget));
    }
}

#[test]
#[ignore = "takes minutes: cargo test --release -p bcrlapi-exchange --test model -- --ignored --nocapture"]
fn a_careless_publish_is_noticed() {
    for mutation in [
        Mutation::RenameInsteadOfExchange,
        Mutation::NeverLookAtDisplaced,
        Mutation::DiscardAtOnce,
        Mutation::RemoveStagedAtStart,
    ] {
        let crashes = u8::from(mutation == Mutation::RemoveStagedAtStart);
        assert_caught(mutation, World::new(&[IN_PLACE], Budget { crashes, ..BUSY }));
    }
}

#[test]
#[ignore = "takes minutes: cargo test --release -p bcrlapi-exchange --test model -- --ignored --nocapture"]
fn large_worlds() {
    for (name, kinds, budget, promise) in [
        ("one in place, faults", &[IN_PLACE][..], WITH_FAULTS, Promise::Everything),
        ("one in place, busy", &[IN_PLACE], BUSY, Promise::Everything),
        ("one by rename, faults", &[BY_RENAME], WITH_FAULTS, Promise::Everything),
        ("one by rename, busy", &[BY_RENAME], BUSY, Promise::Everything),
        ("two with the lock, two jobs", &[LOCKED, LOCKED], Budget { crashes: 1, ..TWO_JOBS }, Promise::Everything),
        // Not in place with crashes: who dies after emptying the file takes with it what another has just written.
        ("two with the lock, a cancel", &[LOCKED, LOCKED], Budget { cancels: 1, ..TWO_JOBS }, Promise::Everything),
        (
            "two with the lock by rename, a cancel",
            &[LOCKED_BY_RENAME, LOCKED_BY_RENAME],
            Budget { crashes: 1, cancels: 1, ..TWO_JOBS },
            Promise::Everything,
        ),
        (
            "one in place, losses",
            &[IN_PLACE],
            Budget { turns: 2, crashes: 1, losses: 1, ..TWO_JOBS },
            Promise::Everything,
        ),
        ("two without a lock", &[IN_PLACE, BY_RENAME], SMALL, Promise::WhatScriptsCannotBreak),
    ] {
        assert_holds(name, &World::new(kinds, budget), promise);
    }
}
