//! Answers that did not arrive.
//!
//! Before Linux 5.19 any signal interrupts a call that waits for the broker, and since then one that comes before its
//! question was read. A name may have been made by then; the call is restarted, asks again, and would be told that the
//! name is there already. So the broker keeps what it could not deliver, and gives it when the same thread next asks the
//! same. Must not keep what changed nothing: that is decided anew.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::asking::Asked;
use super::judging::Answer;
use crate::sys::seccomp::Notification;

/// Most answers that are kept; a thread has one at most.
const MOST: usize = 64;

/// A question as it can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pid: u32,
    number: i32,
    arguments: [u64; 6],
    names: Vec<PathBuf>,
}

impl Question {
    /// What `asked` asks, and who.
    pub fn new(notification: &Notification, asked: &Asked) -> Question {
        Question {
            pid: notification.pid,
            number: notification.number,
            arguments: notification.arguments,
            names: asked.names(),
        }
    }
}

/// Answers by the question that they are for, oldest first.
#[derive(Default)]
pub struct Lost {
    kept: VecDeque<(Question, Answer)>,
}

impl Lost {
    /// Keeps what was done and could not be told.
    pub fn keep(&mut self, question: Question, answer: Answer) {
        if !matches!(answer, Answer::Done | Answer::Opened(..)) {
            return;
        }
        if self.kept.len() >= MOST {
            self.kept.pop_front();
        }
        self.kept.push_back((question, answer));
    }

    /// What was kept for this question. Whatever else was kept for its thread is forgotten: it has gone on.
    pub fn take(&mut self, question: &Question) -> Option<Answer> {
        let at = self.kept.iter().position(|(kept, _)| kept.pid == question.pid)?;
        let (kept, answer) = self.kept.remove(at)?;
        (kept == *question).then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Lost, MOST, Question};

    fn question(pid: u32, name: &str) -> Question {
        Question { pid, number: 83, arguments: [1, 2, 3, 4, 5, 6], names: vec![name.into()] }
    }

    #[test]
    fn an_answer_is_given_once_to_the_same_question_of_the_same_thread() {
        let mut lost = Lost::default();
        lost.keep(question(7, "/w/a"), Answer::Done);
        assert!(lost.take(&question(8, "/w/a")).is_none(), "another thread");
        assert!(matches!(lost.take(&question(7, "/w/a")), Some(Answer::Done)));
        assert!(lost.take(&question(7, "/w/a")).is_none(), "a second time");
    }

    #[test]
    fn a_thread_that_asks_something_else_has_gone_on() {
        let mut lost = Lost::default();
        lost.keep(question(7, "/w/a"), Answer::Done);
        assert!(lost.take(&question(7, "/w/b")).is_none());
        assert!(lost.take(&question(7, "/w/a")).is_none());
    }

    #[test]
    fn what_changed_nothing_is_not_kept_and_what_is_kept_is_bounded() {
        let mut lost = Lost::default();
        lost.keep(question(7, "/w/a"), Answer::Errno(nix::errno::Errno::EACCES));
        assert!(lost.take(&question(7, "/w/a")).is_none());
        for pid in 0..=u32::try_from(MOST).unwrap_or(0) {
            lost.keep(question(pid, "/w/a"), Answer::Done);
        }
        assert!(lost.take(&question(0, "/w/a")).is_none(), "the oldest is gone");
        assert!(lost.take(&question(1, "/w/a")).is_some());
    }
}
