//! Ground floor: ids, random bytes, durations and sizes as people write them, tracked tasks, the shutdown token.
//!
//! Nothing here knows any other room, and nothing here knows what a proxy is.

mod heap;
mod ids;
mod random;
mod shutdown;
mod tasks;
mod time;
mod turn;
pub mod units;
mod worker;

pub use heap::{Ebb, give_back};
pub use ids::{RequestId, SessionId};
pub use random::{random, unforeseen};
pub use shutdown::Shutdown;
pub use tasks::{Hold, Tasks};
pub use time::{Moment, instant, millis};
pub use turn::{OthersFirst, others_first};
pub use worker::{be_worker, worker};
