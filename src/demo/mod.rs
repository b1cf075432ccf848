//! The embedded default: a small backend (chat, echo, SSE stream, long-poll) for the proxy to stand in front of.
//!
//! A guest: it knows nothing of the proxy, of routes or of configuration, and speaks RFC 6455 by a library,
//! so that what works in front of it works in front of a stranger's server. Not a place for proxy features.

mod answers;
mod backend;
mod chat;
mod echo;
mod events;
mod invitation;
mod poll;
mod socket;
mod traffic;

pub use backend::Backend;
pub use invitation::invitation;

#[cfg(test)]
mod tests;
