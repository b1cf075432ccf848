//! linger
