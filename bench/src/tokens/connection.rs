//! One connection: at most one request is under way on it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mio::{Interest, Registry, Token};

use super::answer::{self, Head};
use super::place::{Place, Stream};

/// An open connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    token: Token,
    /// When the request that is under way was due.
    due: Option<Duration>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
    received: Vec<u8>,
    head: Option<Head>,
}

/// An answer, whole.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
    pub(super) due: Duration,
}

impl Connection {
    /// # Errors
    ///
    /// When nobody listens there.
    pub(super) fn open(place: &Place, token: Token, registry: &Registry) -> Result<Self> {
        let mut stream = place.connect()?;
        registry.register(&mut stream, token, Interest::READABLE)?;
        let (unsent, received) = (Vec::new(), Vec::new());
        Ok(Self { stream, token, due: None, unsent, received, head: None })
    }

    /// Sends a request that was due then; the last one must have been answered.
    ///
    /// # Errors
    ///
    /// When the other side hung up.
    pub(super) fn send(
        &mut self,
        request: &[u8],
        due: Duration,
        registry: &Registry,
    ) -> Result<()> {
        self.received.clear();
        self.head = None;
        self.due = Some(due);
        let sent = self.write(request)?;
        if sent < request.len() {
            self.unsent.extend_from_slice(&request[sent..]);
            // Only from the first time on that it is needed: being told costs time.
            let both = Interest::READABLE | Interest::WRITABLE;
            registry.reregister(&mut self.stream, self.token, both)?;
        }
        Ok(())
    }

    /// Sends what was left over.
    ///
    /// # Errors
    ///
    /// When the other side hung up.
    pub(super) fn go_on_sending(&mut self) -> Result<()> {
        let unsent = std::mem::take(&mut self.unsent);
        let sent = self.write(&unsent)?;
        self.unsent.extend_from_slice(&unsent[sent..]);
        Ok(())
    }

    /// Takes what has come, and hands the answer out when it is whole.
    ///
    /// # Errors
    ///
    /// When the other side hung up, or sent what is no answer to one request.
    pub(super) fn receive(&mut self, space: &mut [u8]) -> Result<Option<Answer<'_>>> {
        loop {
            match self.stream.read(space) {
                Ok(0) => bail!("the other side hung up"),
                Ok(count) => {
                    self.received.extend_from_slice(&space[..count]);
                    // Less than there is room for: there was no more, and more would be told anew.
                    if count < space.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the other side hung up"),
            }
        }
        self.answer()
    }

    fn answer(&mut self) -> Result<Option<Answer<'_>>> {
        if self.received.is_empty() {
            return Ok(None);
        }
        if self.head.is_none() {
            self.head = answer::head(&self.received)?;
        }
        let Some(head) = self.head.filter(|head| self.received.len() >= head.whole) else {
            return Ok(None);
        };
        let due = self.due.take();
        let (Some(due), true) = (due, self.received.len() == head.whole) else {
            bail!("more came than was asked for");
        };
        Ok(Some(Answer { status: head.status, body: &self.received[head.body..], due }))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the other side hung up"),
            }
        }
        Ok(sent)
    }
}
