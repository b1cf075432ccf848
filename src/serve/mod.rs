//! The conductor: a connection's journey from accept to close, top to bottom.
//!
//! The one room that knows the timetable of all stations. It parses no bytes and knows no TOML.

mod settings;

pub use settings::{HeadLimits, Settings, Times};
