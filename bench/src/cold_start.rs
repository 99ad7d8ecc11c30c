//! A function's start: until it first asks for an invocation, and until it has answered the first.

use std::cell::RefCell;

use bcrlapi_domain::JobId;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::harness::{Samples, Scale, Side, alternate, ms};
use crate::lambda::{Function, Language, job_event, submit_event};
use crate::plot::Plot;
use crate::report::{Goal, Report, Table};
use crate::stack::{body, finish, submit};
use crate::system::System;

pub(crate) const FUNCTIONS: [&str; 3] = ["submit", "status", "result"];
const TIMES_FASTER: f64 = 20.0;
const READY_MS: f64 = 10.0;

pub(crate) fn run(scale: Scale) -> anyhow::Result<Report> {
    let rounds = scale.choose(20, 1);
    let runtime = Runtime::new()?;
    let system = runtime.block_on(System::start())?;
    let done = runtime.block_on(a_done_job(&system))?;
    let headings = ["function", "ready (ms)", "first answer (ms)", "Python: ready (ms)", "Python: first answer (ms)"];
    let (mut table, mut goals, mut bars) = (Table::new(&headings), Vec::new(), Vec::new());
    for name in FUNCTIONS {
        let event = event_for(name, done);
        let first_answers = [Language::Rust, Language::Python].map(|_| RefCell::new(Samples::default()));
        let side = |language: Language| -> Side<'_> {
            let (event, first_answers, runtime, system) = (&event, &first_answers, &runtime, &system);
            Box::new(move || {
                let (ready_ms, answered_ms) = runtime.block_on(start_once(language, name, system, event))?;
                first_answers[usize::from(language == Language::Python)].borrow_mut().push(answered_ms);
                Ok(ready_ms)
            })
        };
        let [ours, python] = alternate(rounds, [side(Language::Rust), side(Language::Python)])?;
        let [first, python_first] = first_answers.each_ref().map(|samples| samples.borrow().median());
        let (ready, python_ready) = (ours.median(), python.median());
        table.add(name, &[ready, first, python_ready, python_first]);
        let goal = |what: &str, ours, against, other, limit_ratio| {
            let what = format!("{name}: {what}");
            Goal { what, unit: "ms", ours, against, other, limit_ratio }
        };
        goals.push(goal("ready", ready, "Python with boto3", python_ready, 1.0 / TIMES_FASTER));
        goals.push(goal("ready", ready, "the goal itself", READY_MS, 1.0));
        goals.push(goal("first answer", first, "Python with boto3", python_first, 1.0 / TIMES_FASTER));
        bars.extend([
            (format!("{name}: first answer"), first, true),
            (format!("{name} in Python: first answer"), python_first, false),
        ]);
    }
    let plot = Plot::Bars { title: "From the start of the process to the first answer".to_owned(), unit: "ms", bars };
    Ok(Report { goals, table, plot })
}

/// A job whose row and response are there.
pub(crate) async fn a_done_job(system: &System) -> anyhow::Result<JobId> {
    let (store, response) = (system.stack().store(), system.path("response"));
    std::fs::write(&response, body())?;
    let id = submit(store, &body()).await?.id;
    finish(store, id, &response).await?;
    Ok(id)
}

/// A good call of the function.
pub(crate) fn event_for(name: &str, done: JobId) -> Value {
    if name == "submit" { submit_event(&body()) } else { job_event(name, &done.to_string()) }
}

async fn start_once(language: Language, name: &str, system: &System, event: &Value) -> anyhow::Result<(f64, f64)> {
    let function = Function::start(language, name, system, &[]).await?;
    function.invoke(event).await?;
    Ok((ms(function.ready_after), ms(function.age())))
}
