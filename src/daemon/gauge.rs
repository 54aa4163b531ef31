//! What a jail uses, asked of its keeper only when somebody looks.
//!
//! ```text
//!   ask --whoever attends to the keeper: Look--> keeper --Looked: tell--> after
//! ```

use std::cell::Cell;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::wire::privsep::Usage;

/// One jail's.
#[derive(Default)]
pub struct Gauge {
    asked: Notify,
    news: Notify,
    // How often it was told.
    count: Cell<u64>,
    usage: Cell<Option<Usage>>,
}

impl Gauge {
    /// Has it looked at, and gives what [`Gauge::after`] takes.
    pub fn ask(&self) -> u64 {
        self.asked.notify_one();
        self.count.get()
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// The keeper says this.
    pub fn tell(&self, usage: Usage) {
        self.usage.set(Some(usage));
        self.count.set(self.count.get() + 1);
        self.news.notify_waiters();
    }

    /// What was said after `count`; when nothing is until `until`, what was said last.
    pub async fn after(&self, count: u64, until: Instant) -> Option<Usage> {
        loop {
            let news = self.news.notified();
            if self.count.get() > count || timeout_at(until, news).await.is_err() {
                return self.usage.get();
            }
        }
    }
}
