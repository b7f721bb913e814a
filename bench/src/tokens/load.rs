//! The loop: sends what is due on connections that are free, and takes answers.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mio::{Events, Poll, Token};
use serde_json::Value;

use super::Waiting;
use super::connection::Connection;
use super::pace::{Next, Pace};
use super::place::Place;
use super::requests::Requests;
use super::tally::Tally;
use crate::clock::Stopwatch;

/// How long nobody may answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// All connections, and what came of them.
pub(super) struct Load {
    poll: Poll,
    connections: Vec<Connection>,
    /// Those without a request under way; the first is next, so that all take their turn.
    free: VecDeque<usize>,
    requests: Requests,
    pace: Pace,
    tally: Tally,
    watch: Stopwatch,
    took: Duration,
}

impl Load {
    /// # Errors
    ///
    /// When a connection cannot be had.
    pub(super) fn connect(
        to: &Place,
        count: usize,
        requests: Requests,
        pace: Pace,
    ) -> Result<Self> {
        let poll = Poll::new().context("epoll")?;
        let open = |number| Connection::open(to, Token(number), poll.registry());
        let connections = (0..count).map(open).collect::<Result<Vec<_>>>()?;
        let tally = Tally::new(requests.good)?;
        let (free, watch) = ((0..count).collect(), Stopwatch::start());
        Ok(Self { poll, connections, free, requests, pace, tally, watch, took: Duration::ZERO })
    }

    /// Asks until the pace says that it is over and the last answer is there.
    ///
    /// # Errors
    ///
    /// When a connection breaks, or nobody answers for a minute.
    pub(super) fn run(&mut self, waiting: Waiting) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut space = vec![0; 256 * 1024];
        self.watch = Stopwatch::start();
        let mut last_answer = Duration::ZERO;
        while let Some(wait) = self.send_what_is_due()? {
            let wait = if waiting == Waiting::Awake { Duration::ZERO } else { wait };
            self.poll.poll(&mut events, Some(wait)).or_else(unless_interrupted)?;
            for event in &events {
                let number = event.token().0;
                if event.is_writable() {
                    self.connections[number].go_on_sending()?;
                }
                if self.take_answer(number, &mut space)? {
                    last_answer = self.watch.elapsed();
                    // At once, not after all events: the other side is to have something to do.
                    self.send_what_is_due()?;
                }
            }
            let under_way = self.free.len() < self.connections.len();
            if under_way && self.watch.elapsed() > last_answer + PATIENCE {
                bail!("no answer for {} s", PATIENCE.as_secs());
            }
        }
        self.took = self.watch.elapsed();
        Ok(())
    }

    /// What came of it.
    pub(super) fn report(&self) -> Value {
        self.tally.report(self.took)
    }

    /// For how long to wait for the next event; `None` when all is done.
    fn send_what_is_due(&mut self) -> Result<Option<Duration>> {
        loop {
            let now = self.watch.elapsed();
            match self.pace.next(self.tally.begun, now) {
                Next::Send(due) => {
                    let Some(number) = self.free.pop_front() else {
                        return Ok(Some(PATIENCE));
                    };
                    let request = self.requests.of(self.tally.begun);
                    self.connections[number].send(request, due, self.poll.registry())?;
                    self.tally.begun += 1;
                }
                Next::Wait(due) => return Ok(Some(whole_milliseconds(due.saturating_sub(now)))),
                Next::Over if self.free.len() == self.connections.len() => return Ok(None),
                Next::Over => return Ok(Some(PATIENCE)),
            }
        }
    }

    /// Whether there was a whole one.
    fn take_answer(&mut self, number: usize, space: &mut [u8]) -> Result<bool> {
        let Some(answer) = self.connections[number].receive(space)? else {
            return Ok(false);
        };
        let latency = self.watch.elapsed().saturating_sub(answer.due);
        self.tally.count(answer.status, answer.body, latency);
        self.free.push_back(number);
        Ok(true)
    }
}

/// `epoll` waits whole milliseconds, and would be late: the rest is spent in asking again and again.
fn whole_milliseconds(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

fn unless_interrupted(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
