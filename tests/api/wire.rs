//! [`Wire`]: a connection without a client on it, for what no client would do.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use jwksd::config::Listen;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// After which time a test gives up.
pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    socket: OwnedFd,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Wire {
    pub(crate) async fn to(place: &Listen) -> Self {
        match place {
            Listen::Unix(path) => {
                let stream = UnixStream::connect(path).await.unwrap();
                let socket = stream.as_fd().try_clone_to_owned().unwrap();
                Self { stream: Box::new(stream), socket }
            }
            Listen::Tcp(address) => {
                let stream = TcpStream::connect(address).await.unwrap();
                let socket = stream.as_fd().try_clone_to_owned().unwrap();
                Self { stream: Box::new(stream), socket }
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends what the other side may not want to hear to the end.
    pub(crate) async fn pour_once(&mut self, bytes: &[u8]) {
        // Closed early, it has its reasons; what is read next tells them.
        let _ = tokio::time::timeout(LONG, self.stream.write_all(bytes)).await.expect("it stands");
    }

    /// The head of an answer.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(LONG, self.stream.read_u8());
            head.push(byte.await.expect("no answer").unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// An answer, whose body is as long as its head says.
    pub(crate) async fn answer(&mut self) -> (String, Vec<u8>) {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.stream.read_exact(&mut body).await.unwrap();
        (head, body)
    }

    /// Sends a byte, again and again, until the other side closes. Returns what it said before.
    pub(crate) async fn dribble(&mut self) -> String {
        let mut said = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let dribbling = async {
            let mut buffer = [0; 4096];
            loop {
                tokio::select! {
                    read = self.stream.read(&mut buffer) => match read {
                        Ok(0) | Err(_) => break,
                        Ok(count) => said.extend_from_slice(&buffer[..count]),
                    },
                    // It may be closed by now; the next read tells.
                    _ = ticks.tick() => drop(self.stream.write(b"1").await),
                }
            }
        };
        tokio::time::timeout(LONG, dribbling).await.expect("it is not closed");
        String::from_utf8(said).unwrap()
    }

    /// Sends the same again and again and reads nothing, until the other side closes.
    pub(crate) async fn pour(&mut self, bytes: &[u8]) -> usize {
        let pouring = async {
            let mut count = 0;
            while self.stream.write_all(bytes).await.is_ok() {
                count += 1;
            }
            count
        };
        tokio::time::timeout(LONG, pouring).await.expect("it is not closed")
    }

    /// Waits until the other side closes, and reads nothing.
    pub(crate) async fn closed(&self) {
        let socket = self.socket.try_clone().unwrap();
        let long = Timespec { tv_sec: 60, tv_nsec: 0 };
        let closed = tokio::task::spawn_blocking(move || {
            let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
            rustix::event::poll(&mut fds, Some(&long)).unwrap()
        });
        assert_eq!(closed.await.unwrap(), 1, "it is not closed");
    }

    /// Whether anything was said that is not read yet.
    pub(crate) fn has_said_something(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }
}
