//! Ground floor: ids, random bytes, durations and sizes as people write them, tracked tasks, the shutdown token.
//!
//! Nothing here knows any other room, and nothing here knows what a proxy is.

mod ids;
mod random;
mod shutdown;
mod tasks;
pub mod units;

pub use ids::{RequestId, SessionId};
pub use random::random;
pub use shutdown::Shutdown;
pub use tasks::Tasks;
