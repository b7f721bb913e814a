//! The files that JWK Sets are written to, for whoever serves them besides jwksd.
//!
//! Each file has a thread of its own, which may wait for its disk for ever and hold up nobody.
//! It keeps the file as it was last told: what is there already is left alone, what cannot be
//! written is tried again, and what others change is put right. What that means for the keys is
//! the rotator's to decide, from what the threads report.

mod content;
mod disk;
mod keeper;
mod standing;

use std::sync::Arc;
use std::time::Duration;

pub use content::Content;
pub use disk::{Disk, DiskError, OnDisk, check};
pub(crate) use keeper::{Event, Keeper, Report, Ticket, Wanted};
pub use standing::{Held, PATIENCE, Standing, Standings};

/// What files are kept with.
#[derive(Clone)]
pub struct Means {
    /// Where they are.
    pub disk: Arc<dyn Disk>,
    /// When they are looked at.
    pub pace: Pace,
}

/// When a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first wait before what failed is tried again; each is twice the one before.
    pub retry_first: Duration,
    /// The longest of them.
    pub retry_longest: Duration,
    /// How long a file that is as it shall be is left alone.
    pub look_every: Duration,
}

impl Default for Means {
    /// The disk, once a minute; what fails, after a second, two, four, up to a minute.
    fn default() -> Self {
        let pace = Pace {
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_mins(1),
            look_every: Duration::from_mins(1),
        };
        Self { disk: Arc::new(OnDisk), pace }
    }
}
