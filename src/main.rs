//! The binary: exit codes, logging, runtime. Everything else is the library's.

fn main() {}
