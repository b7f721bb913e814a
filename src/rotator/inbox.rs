//! What was said to the rotator, in the order in which it is heard: revocations overtake everything
//! else.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{Message, Request};

/// What was said and not heard yet.
pub(super) struct Inbox {
    messages: Receiver<Message>,
    revocations: VecDeque<Request>,
    others: VecDeque<Message>,
}

impl Inbox {
    pub(super) fn of(messages: Receiver<Message>) -> Self {
        Self { messages, revocations: VecDeque::new(), others: VecDeque::new() }
    }

    /// What is to be heard next, if anything was said.
    pub(super) fn next(&mut self) -> Option<Message> {
        let revocation = self.next_revocation().map(Message::Command);
        revocation.or_else(|| self.others.pop_front())
    }

    /// The next revocation, if one was asked for.
    pub(super) fn next_revocation(&mut self) -> Option<Request> {
        for message in self.messages.try_iter() {
            match message {
                Message::Command(request) if request.command.is_revocation() => {
                    self.revocations.push_back(request);
                }
                other => self.others.push_back(other),
            }
        }
        self.revocations.pop_front()
    }

    /// Waits until something is said; nothing may be left to hear.
    pub(super) fn wait(&mut self, longest: Duration) -> Result<Message, RecvTimeoutError> {
        self.messages.recv_timeout(longest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use jwksd_keystore::lifecycle::RotateAt;
    use jwksd_keystore::time::Time;

    use super::*;
    use crate::rotator::{Actor, Command};

    fn said(command: Command) -> Message {
        Message::Command(Request {
            keyset: "default".parse().unwrap(),
            command,
            actor: Actor { name: "admin".into(), request_id: None },
            reply: channel().0,
            in_effect: None,
            gone: Vec::new(),
        })
    }

    fn heard(message: &Message) -> &'static str {
        match message {
            Message::Command(request) => request.command.name(),
            Message::Serving(_) => "serving",
            Message::Stop => "stop",
            _ => "another",
        }
    }

    #[test]
    fn revocations_are_heard_first_and_all_else_in_its_order() {
        let (say, messages) = channel();
        let mut inbox = Inbox::of(messages);
        let expect = || "kid".parse().unwrap();
        let rotate = || Command::Rotate { expect: expect(), when: RotateAt::Now };
        let revoke = || Command::Revoke { kid: expect(), reason: "stolen".into() };
        let all = Command::RevokeAll { expect: None, reason: "stolen".into() };
        for message in [Message::Serving(Time::EPOCH), said(rotate()), said(revoke()), said(all)] {
            say.send(message).unwrap();
        }
        assert_eq!(inbox.next().as_ref().map(heard), Some("revoke"));
        say.send(Message::Stop).unwrap();
        say.send(said(revoke())).unwrap();
        let rest: Vec<_> = std::iter::from_fn(|| inbox.next()).collect();
        let rest: Vec<_> = rest.iter().map(heard).collect();
        assert_eq!(rest, ["revoke-all", "revoke", "serving", "rotate", "stop"]);
    }
}
