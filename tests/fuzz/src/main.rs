//! Each parser that reads what strangers send, and what it promises. libFuzzer makes the inputs; `FUZZ_TARGET` says
//! which target gets them. How to run it: README.md.

#![no_main]

mod answer;
mod config;
mod fields;
mod frame;
mod offer;
mod path;
mod record;
mod text;

use std::sync::LazyLock;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 7] = [
    ("answer", answer::target),
    ("config", config::target),
    ("fields", fields::target),
    ("frame", frame::target),
    ("offer", offer::target),
    ("path", path::target),
    ("record", record::target),
];

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|(name, _)| *name == wanted);
    target.unwrap_or_else(|| panic!("FUZZ_TARGET={wanted:?} is none of {:?}", TARGETS.map(|(name, _)| name))).1
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
