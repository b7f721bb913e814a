//! Requests over raw sockets, and every byte that came back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::place::Place;

/// The listeners of a daemon, and all that they ever answered.
pub(super) struct Wire {
    folder: PathBuf,
    public: String,
    internal: String,
    admin: String,
    heard: Mutex<Vec<u8>>,
}

/// To whom a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Public,
    /// By the Unix socket: the test's own user.
    Internal,
    /// With a body that is said to be a form.
    InternalForm,
    Admin,
    /// With these lines in its head in place of `Host`.
    AdminWith(&'static str),
    Metrics,
    /// By TCP: whoever has the bearer token.
    InternalTcp(&'static str),
    AdminTcp(&'static str),
}

/// A request that was sent.
pub(super) struct Sent(Box<dyn Read>);

/// An answer: its status, and the `code` of its problem, or what else it says.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Wire {
    pub(super) fn to(place: &Place, daemon: &Daemon) -> Self {
        let tcp = |listener| daemon.addresses(listener).pop().unwrap();
        Self {
            folder: place.path(""),
            public: tcp("public"),
            internal: tcp("internal"),
            admin: tcp("admin"),
            heard: Mutex::default(),
        }
    }

    /// All that was ever answered, heads and bodies.
    pub(super) fn heard(self) -> Vec<u8> {
        self.heard.into_inner().unwrap()
    }

    pub(super) fn ask(&self, to: To, method: &str, path: &str, body: &str) -> Answer {
        self.hear(self.send(to, method, path, body))
    }

    /// Begins to ask; [`Wire::hear`] has the answer.
    pub(super) fn send(&self, to: To, method: &str, path: &str, body: &str) -> Sent {
        let token = match to {
            To::InternalTcp(token) | To::AdminTcp(token) => {
                format!("Authorization: Bearer {token}\r\n")
            }
            To::Public
            | To::Internal
            | To::InternalForm
            | To::Admin
            | To::AdminWith(_)
            | To::Metrics => String::new(),
        };
        let content_type = match to {
            To::InternalForm => "application/x-www-form-urlencoded",
            _ => "application/json",
        };
        let host = match to {
            To::AdminWith(lines) => lines,
            _ => "Host: localhost",
        };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{host}\r\nConnection: close\r\n{token}\
             Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        match to {
            To::Public => sent(TcpStream::connect(&self.public).unwrap(), &request),
            To::InternalTcp(_) => sent(TcpStream::connect(&self.internal).unwrap(), &request),
            To::AdminTcp(_) => sent(TcpStream::connect(&self.admin).unwrap(), &request),
            To::Internal | To::InternalForm => sent(self.unix("sign.sock"), &request),
            To::Admin | To::AdminWith(_) => sent(self.unix("admin.sock"), &request),
            To::Metrics => sent(self.unix("metrics.sock"), &request),
        }
    }

    pub(super) fn hear(&self, mut sent: Sent) -> Answer {
        let mut bytes = Vec::new();
        let _ = sent.0.read_to_end(&mut bytes);
        self.heard.lock().unwrap().extend(&bytes);
        let answer = String::from_utf8(bytes).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap_or_else(|| panic!("{answer}")), body: body.to_owned() }
    }

    fn unix(&self, socket: &str) -> UnixStream {
        UnixStream::connect(self.folder.join("data").join(socket)).unwrap()
    }
}

fn sent(mut stream: impl Read + Write + 'static, request: &str) -> Sent {
    // Who refuses a long body may close before it has read it.
    let _ = stream.write_all(request.as_bytes());
    Sent(Box::new(stream))
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    #[track_caller]
    pub(super) fn is_problem(&self, code: &str) {
        assert_eq!(self.json()["code"], code, "{}", self.body);
    }

    #[track_caller]
    pub(super) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }
}
