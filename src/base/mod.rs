//! Ground floor: ids, random bytes, bytes eight at a time, durations and sizes as people write them, tracked tasks and
//! their turns, the heap, the shutdown token.
//!
//! Nothing here knows any other room, and nothing here knows what a proxy is.

pub mod eight;
mod heap;
mod ids;
mod random;
mod shutdown;
mod spares;
mod tasks;
mod time;
mod turn;
pub mod units;
mod worker;

pub use heap::{Ebb, give_back};
pub use ids::{RequestId, SessionId};
pub use random::{random, unforeseen};
pub use shutdown::Shutdown;
pub use spares::{Heap, free_spares, keep_spares};
pub use tasks::{Hold, Tasks};
pub use time::{Moment, Turn, instant, millis, now};
pub use turn::{OthersFirst, crowd_first, others_first};
pub use worker::{be_worker, worker};
