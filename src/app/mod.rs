//! Assembly: settings become rooms, rooms become a running process. The only room that knows all rooms.
//!
//! It knows no protocol. `build` opens nothing; `run` binds, serves, reloads and ends.

mod build;
mod check;
mod demo;
mod reload;
mod run;
mod signals;
mod threads;

pub use build::{App, BuildErrors, FileProblem};
pub use check::{check, load};
pub use demo::demo;
pub use reload::Reload;
pub use run::{Places, Running, StartError, run, start};
pub use threads::Threads;
