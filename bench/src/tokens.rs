//! A caller that asks for tokens, over many connections that it keeps open, on one thread. It has to be
//! cheaper than what it loads: it sends finished bytes, and of an answer reads the head alone.

mod answer;
mod connection;
mod load;
mod pace;
mod place;
mod requests;
mod tally;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use load::Load;
use pace::Pace;
use place::Place;
use requests::Requests;

/// Asks for tokens, or for anything else over HTTP, and prints how many there were and how long they took.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Whom to ask: `unix:PATH` or `http://127.0.0.1:PORT`.
    #[arg(long)]
    to: Place,
    /// What to ask for; `{}` in it stands for 0, 1, 2 and so on below `--sets`, in turn.
    #[arg(long)]
    path: String,
    /// How many paths there are, where `--path` has `{}`.
    #[arg(long, default_value_t = 1)]
    sets: u32,
    /// File with the body, or `-` for standard input; without it the method is GET, not POST.
    #[arg(long)]
    body: Option<PathBuf>,
    #[arg(long, default_value = "application/json")]
    content_type: String,
    /// Ask for a batch of so many, each as `--body` says; tokens are counted, and one that is missing is
    /// an error.
    #[arg(long)]
    batch: Option<u32>,
    /// Bearer token.
    #[arg(long)]
    token: Option<String>,
    /// A further header, such as `If-None-Match: "1"`.
    #[arg(long)]
    header: Vec<String>,
    /// The status of a good answer; any other is an error.
    #[arg(long, default_value_t = 200)]
    expect: u16,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// For how long to ask; what is under way then is waited for, and counts.
    #[arg(long, required_unless_present = "requests")]
    seconds: Option<f64>,
    /// After how many requests to stop.
    #[arg(long)]
    requests: Option<u64>,
    /// Requests in a second, at even times, whether answers came or not; latencies count from when a
    /// request was due. Without it each connection asks again as soon as it has its answer.
    #[arg(long)]
    rate: Option<f64>,
    /// What the caller does until an answer comes.
    #[arg(long, default_value = "awake")]
    waiting: Waiting,
}

/// What the caller does until an answer comes.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Waiting {
    /// It looks again and again, as callers that have other work; whoever answers need not wake it.
    Awake,
    /// It sleeps. Then whoever answers pays the kernel for waking it, on a virtual machine several
    /// microseconds for each answer.
    Asleep,
}

/// # Errors
///
/// When whoever is asked cannot be reached, hangs up, or does not speak HTTP/1.1 with a `Content-Length`.
/// Answers of a status that was not expected are counted instead.
pub(crate) fn run(arguments: &Arguments) -> Result<Value> {
    if arguments.connections == 0 {
        bail!("--connections must be at least 1");
    }
    let requests = Requests::prepare(arguments)?;
    let pace = Pace::new(arguments.seconds, arguments.requests, arguments.rate)?;
    let mut load = Load::connect(&arguments.to, arguments.connections, requests, pace)?;
    load.run(arguments.waiting).with_context(|| load.report())?;
    Ok(load.report())
}
